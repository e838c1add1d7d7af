"""Memory of exporters of unknown structure: unknown, unless they are asked."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from meminspect import census
from meminspect.models.census import Census

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = [
    pytest.mark.skipif(find_spec("_testbuffer") is None, reason="this build has no _testbuffer"),
    pytest.mark.skipif(not GIL, reason="free-threaded builds: references are not read yet"),
]
LENT = "exporters: what they lend"
# its structure leads by a second one, which no rule of ours knows, to a block that PyMem_Malloc gave
PLANTED = """
import _testbuffer
assert _testbuffer.ndarray.__name__ == "ndarray"  # makes the type ready, which 3.11 leaves to its first use
kept = [_testbuffer.ndarray([7] * size, shape=[size], format="B") for size in [200] * 300 + [100_000] * 5]
"""


def lent(taken: Census) -> tuple[int, int]:
    return next(((row.count, row.large_count) for row in taken.buffers if row.owner == LENT), (0, 0))


def test_what_they_lend_is_theirs_when_they_are_asked() -> None:
    names: dict[str, list[object]] = {}
    exec(PLANTED, names)
    kept = names["kept"]
    counts = [sys.getrefcount(item) for item in kept]
    plain, asked = census(max_pause=None), census(max_pause=None, foreign="call")
    assert plain.exporters_asked is None
    assert lent(plain) == (0, 0)
    assert asked.exporters_asked is not None
    assert asked.exporters_refused is not None
    assert asked.exporters_asked - asked.exporters_refused >= len(kept)
    count, large = lent(asked)
    assert 305 <= count <= asked.exporters_asked
    assert large >= 5
    unknown = [{row.size: row.unknown for row in taken.size_classes} for taken in (plain, asked)]
    drop = max(count - unknown[1].get(size, 0) for size, count in unknown[0].items())
    assert drop >= 290  # of the 300 of one size; the calls in between made and freed a few blocks
    assert [sys.getrefcount(item) for item in kept] == counts
    assert all(memoryview(item)[0] == 7 for item in kept)


def test_the_command_asks_in_the_program(tmp_path: Path) -> None:
    path = tmp_path / "census.json"
    command = [sys.executable, "-m", "meminspect", "census", "--json", "-o", str(path), "--max-pause", "60"]
    done = subprocess.run([*command, "--foreign", "call", "-c", PLANTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    document = json.loads(path.read_text())
    assert {row["owner"]: row["count"] for row in document["buffers"]}[LENT] >= 305
    assert document["exporters_asked"] >= 305


@pytest.mark.parametrize("more", [["--consistent"], ["--sites"], ["--pid", "1"]])
def test_what_does_not_go_with_it(more: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "census", "--foreign", "call", *more], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--foreign call" in done.stderr


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'scan' or 'call'"):
        census(foreign="ask")
