"""csrc/gil/gil_ring.c: no event is lost silently, none is out of order, and ThreadSanitizer sees no race."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMPILER = shutil.which("gcc") or shutil.which("cc")
THREADS = 4
ROOMY = 1 << 26
pytestmark = [
    pytest.mark.required,
    pytest.mark.ends,  # a program of C alone
    pytest.mark.skipif(COMPILER is None or not (ROOT / "csrc").exists(), reason="no C compiler, or no sources"),
]


def build(folder: Path, *flags: str) -> Path:
    csrc = ROOT / "csrc"
    sources = [
        csrc / "gil" / "gil_ring.c",
        csrc / "os" / "os_linux.c",
        csrc / "base" / "error.c",
        ROOT / "tests" / "native" / "ring_main.c",
    ]
    program = folder / "ring"
    base = [
        str(COMPILER),
        "-std=gnu11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        *(f"-I{room}" for room in csrc.iterdir()),
        *flags,
    ]
    subprocess.run([*base, *map(str, sources), "-o", str(program), "-pthread"], check=True, capture_output=True)
    return program


def run(*command: str | Path) -> dict[str, int]:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: int(value) for name, value in (word.split("=") for word in done.stdout.split())}


def check(said: dict[str, int], rounds: int) -> None:
    assert said["made"] == THREADS * rounds
    assert said["logged"] + said["lost"] + said["unlogged"] == said["made"]
    assert said["thread_lost"] == said["lost"] + said["unlogged"]
    assert said["disorder"] == 0


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("ring"))


def test_all_events_arrive_in_order(plain: Path) -> None:
    said = run(plain, 30_000, ROOMY)  # fits into the rings, whatever the drain is kept from
    check(said, 30_000)
    assert said["lost"] == said["unlogged"] == said["gaps"] == 0


def test_a_full_log_says_how_many_it_left_out(plain: Path) -> None:
    said = run(plain, 5_000, 1024 * 32)
    check(said, 5_000)
    assert said["logged"] == 1024
    assert said["unlogged"] > 0


def test_a_ring_that_nobody_drains_keeps_the_first_and_counts_the_rest(plain: Path) -> None:
    said = run(plain, 100_000, ROOMY, "no drain")
    check(said, 100_000)
    assert said["logged"] == 2 * (1 << 16)
    assert said["lost"] == THREADS * 100_000 - 2 * (1 << 16)


def test_thread_sanitizer_sees_no_race(tmp_path: Path) -> None:
    try:
        program = build(tmp_path, "-fsanitize=thread")
    except subprocess.CalledProcessError:
        pytest.skip("this compiler has no ThreadSanitizer")
    check(run("setarch", "-R", program, 20_000, ROOMY), 20_000)
