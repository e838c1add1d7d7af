"""`report --objects`: what an unlikely share of the heap hangs under, among the findings of the report."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
of_another = pytest.mark.skipif(FREE_THREADED, reason="another free-threaded process cannot be held still")

# One object, by way of an attribute, under which far more hangs than all else that a bare interpreter has.
HOARD = """
import sys
class Hoard: pass
hoard = Hoard()
hoard.rows = {number: [str(number)] for number in range(150_000)}
"""
WAITING = "print('ready', flush=True); sys.stdin.read()"


def report(*words: str) -> str:
    command = [sys.executable, "-m", "meminspect", "report", *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stderr


def findings(text: str) -> dict[str, dict[str, Any]]:
    return {found["id"]: found for found in json.loads(text)["findings"]}


def test_a_hoard_is_a_finding_when_objects_are_asked_for() -> None:
    bare = findings(report("--json", "-c", HOARD))
    assert not any(name.startswith("suspect") for name in bare)
    assert "report --objects" in bare["rss_composition"]["try"]
    all_found = findings(report("--json", "--objects", "--max-pause", "60", "-c", HOARD))
    assert "findings below" in all_found["rss_composition"]["try"]
    found = all_found["suspect_object"]
    assert "__main__.hoard" in found["text"]
    assert found["figures"]["retained_bytes"] > 150_000 * (56 + 56)
    assert found["figures"]["share"] > 0.5
    page = report("--objects", "--max-pause", "60", "-c", HOARD)
    assert "hang under one object" in " ".join(page.split())


@pytest.mark.skipif(FREE_THREADED, reason="mimalloc has no arenas that go back as wholes")
def test_what_keeps_arenas_is_a_finding() -> None:
    scattered = "texts = [str(number) * 4 for number in range(600_000)]\nsurvivors = texts[::100]\ndel texts"
    found = findings(report("--json", "--objects", "--max-pause", "60", "-c", scattered))["pinning_objects"]
    assert "__main__.survivors" in found["text"]
    figures = found["figures"]
    heap = json.loads(report("--json", "-c", scattered + "\ndel survivors"))["pymalloc"]
    returned = figures["arenas"] - len(heap["arenas"])
    assert 0.8 * returned <= figures["arenas_that_would_return"] <= returned + 1, (figures, len(heap["arenas"]))
    assert figures["bytes"] == figures["arenas_that_would_return"] * heap["arena_size"]


@of_another
def test_of_another_process(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", HOARD + WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    try:
        program.stdout.readline()
        path = tmp_path / "report.json"
        report("--json", "--objects", "-o", str(path), "--pid", str(program.pid))
    finally:
        program.communicate()
    found = findings(path.read_text())["suspect_object"]
    assert found["figures"]["retained_bytes"] > 150_000 * (56 + 56)
