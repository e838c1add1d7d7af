"""`meminspect why` as it is typed: a type, an address, its errors, and the document against its schema."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
PLANTED = "class Kept: pass\nclass Box: pass\nbox = Box()\nbox.kept = [Kept() for _ in range(20000)]"


def why(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "why", *words], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def checked(text: str) -> dict[str, Any]:
    """A document that its schema accepts."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", "why-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def test_help_has_every_option_and_an_example() -> None:
    text = why("--help").stdout
    for option in ("TARGET", "--json", "--output", "--no-color", "--top", "--max-pause"):
        assert option in text
    assert "meminspect why Order app.py" in text


def test_json_tells_of_all_objects_of_a_type(tmp_path: Path) -> None:
    path = tmp_path / "why.json"
    done = why("Kept", "--json", "-o", str(path), "-c", f"{PLANTED}; print('mine'); raise SystemExit(7)", status=7)
    assert (done.stdout, done.stderr) == ("mine\n", "")
    document = checked(path.read_text())
    assert (document["program"], document["target"], document["objects"]) == ("-c", "Kept", 20000)
    assert document["retained_objects"] >= 20000
    assert document["retained_bytes"] >= document["own_bytes"] >= 20000 * 32
    assert document["path_to_root"]["root"] == "modules"
    assert document["path_to_root"]["text"].startswith("module __main__.box.kept[")
    assert {(row["type"], row["count"]) for row in document["holders"]} == {("list", 20000)}
    if FREE_THREADED:
        assert document["arenas"] is document["arenas_pinned"] is document["all_arenas"] is None
        assert any("mimalloc" in remark for remark in document["remarks"])
        return
    assert document["arenas"] >= document["arenas_pinned"] >= document["arenas_that_would_return"]
    assert sum(document["all_arenas"].values()) == document["arenas"]
    assert "__main__.Kept" in [row["type"] for pin in document["pinned"] for row in pin["types"]]


def test_the_page_tells_of_one_address(tmp_path: Path) -> None:
    path, page = tmp_path / "where", tmp_path / "page"
    script = tmp_path / "script.py"
    script.write_text(f"{PLANTED}\nprint(hex(id(box)))")
    # an address is the same in two runs where the addresses of a process are not randomised
    switch = ["setarch", "-R"] if not subprocess.call(["sh", "-c", "setarch -R true 2>/dev/null"]) else None
    if switch is None:
        pytest.skip("needs setarch -R")
    command = [*switch, sys.executable, "-m", "meminspect", "why"]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    first = subprocess.run([*command, "Box", str(script)], capture_output=True, text=True, env=env, check=True)
    address = first.stdout.strip()
    path.write_text(address)
    done = subprocess.run(
        [*command, address, "-o", str(page), str(script)], capture_output=True, text=True, env=env, check=True
    )
    if done.stdout.strip() != address:
        pytest.skip("the second run had the object elsewhere")
    text = page.read_text()
    assert f"__main__.Box at {address} retains" in text
    assert "module __main__.box (Box)" in text
    assert "Holders" in text


def test_the_page_without_a_program_is_about_this_interpreter() -> None:
    done = why("module")
    assert "objects of module retain" in done.stdout
    assert "Held by way of" in done.stdout
    assert ("mimalloc" if FREE_THREADED else "What keeps all arenas") in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "Missing argument"),
        (["Kept", "/no/such/script.py"], 2, "cannot run"),
        (["Kept", "a.mi"], 1, "a.mi cannot be read"),
        (["x" * 2000], 2, "TARGET is the name of a type"),
    ],
)
def test_errors_are_one_line(words: list[str], status: int, text: str) -> None:
    if "a.mi" in words:
        pytest.importorskip("pyarrow")
    done = why(*words, status=status)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_such_type_is_an_answer() -> None:
    done = why("NoSuchType", "--json")
    document = checked(done.stdout)
    assert document["objects"] == 0
    assert document["reason"] is not None
    assert document["retained_bytes"] is None


def test_a_pause_that_is_too_short_is_said_and_the_status_is_the_programs() -> None:
    done = why("Kept", "--max-pause", "0", "-c", f"{PLANTED}; raise SystemExit(5)", status=5)
    assert "max_pause was reached" in done.stderr


def test_hostile_names_are_shown_as_text() -> None:
    done = why("--json", "Evil\x1b[31m", "-c", "x = [type('Evil\\x1b[31m', (), {})() for _ in range(3)]")
    assert "\x1b" not in done.stderr
    assert checked(done.stderr)["objects"] == 3


def test_a_bar_is_drawn_on_a_terminal_and_taken_away() -> None:
    """What the bar's clock says is not tested: only that it appears behind the second, and that the page follows."""
    from meminspect.commands import _waiting

    program = (
        "import time\nfrom meminspect.commands._waiting import Waiting\n"
        "waiting = Waiting('reading')\nwaiting.look(True)\ntime.sleep(1.2)\n"
        "waiting.look(True)\nwaiting.look(True)\nwaiting.look(False)\nassert waiting._bar is None"
    )
    main, other = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=other, env={**os.environ, "TERM": "xterm"}, check=False
    )
    os.close(other)
    drawn = os.read(main, 65536).decode()
    os.close(main)
    assert done.returncode == 0, drawn
    assert "reading" in drawn
    quiet = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert quiet.stderr == ""
    assert _waiting.AFTER_S == 1.0


def test_an_extension_of_other_sources_is_said_in_a_line() -> None:
    from meminspect import _native
    from meminspect.errors import StaleCoreError
    from meminspect.probes.references import build_why

    raw = _native.why_capture("module", None)
    assert build_why("module", raw).targets > 10
    del raw["consistent"]  # as an extension had it that was built before there was such a thing
    with pytest.raises(StaleCoreError, match=r"'consistent'.*build it again") as refused:
        build_why("module", raw)
    assert "\n" not in str(refused.value)
