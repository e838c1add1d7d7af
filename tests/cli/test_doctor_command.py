"""`meminspect doctor` on the interpreter that runs the tests."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest


def doctor(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meminspect", "doctor", *args],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env=os.environ | env,
        check=False,
    )


def schema_of(document: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", f"{document}-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_json_tells_what_the_interpreter_says_of_itself() -> None:
    run = doctor("--json")
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    schema_of("doctor").validate(document)
    assert document["python"]["version"] == platform.python_version()
    assert document["python"]["free_threaded"] == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert document["python"]["debug"] == hasattr(sys, "gettotalrefcount")
    assert document["machine"]["kernel"] == os.uname().release
    assert document["machine"]["page_size"] == os.sysconf("SC_PAGE_SIZE")
    assert document["build"]["python"].split("+")[0].split(".")[:2] == list(platform.python_version_tuple()[:2])


def test_the_layout_in_use_was_verified_by_facts() -> None:
    document = json.loads(doctor("--json").stdout)
    assert document["layout_reason"] is None
    facts = document["layouts"][-1]["facts"]
    assert document["layouts"][-1]["verified"] is True
    assert not [fact for fact in facts if fact["verdict"] is False]
    assert sum(fact["verdict"] is True for fact in facts) >= 10


def test_text_goes_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "doctor.txt"
    run = doctor("-o", str(target))
    assert (run.returncode, run.stdout) == (0, "")
    assert target.read_text("utf-8").startswith("meminspect doctor · ")


def test_an_unknown_option_is_one_line() -> None:
    run = doctor("--nonsense")
    assert run.returncode == 2
    assert len(run.stderr.strip().split("\n")) == 1


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_locale(locale: str) -> None:
    run = doctor(LC_ALL=locale, TERM="dumb")
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout
