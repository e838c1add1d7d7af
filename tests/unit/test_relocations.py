"""csrc/os/relocations.c with objects linked in every way: calls are seen while redirected, none before or after."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PERMISSION = "2"  # MI_E_PERMISSION of csrc/base/error.h
COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = [
    pytest.mark.required,
    pytest.mark.ends,  # programs of C alone; each interpreter's own calls: tests/interpreter/test_gil_trace.py
    pytest.mark.skipif(COMPILER is None or not (ROOT / "csrc").exists(), reason="no C compiler, or no sources"),
]
# the object with the slots: in the executable (position-independent or not) or in a library; bound at start or lazily;
# "noplt": the call has no stub, its slot is of kind GLOB_DAT
KINDS = {
    "pie-lazy": ("-fPIE -pie", "-Wl,-z,lazy"),
    "pie-now": ("-fPIE -pie", "-Wl,-z,now,-z,relro"),
    "fixed-lazy": ("-fno-pie -no-pie", "-Wl,-z,lazy"),
    "fixed-now": ("-fno-pie -no-pie", "-Wl,-z,now,-z,relro"),
    "pie-noplt": ("-fPIE -pie -fno-plt", "-Wl,-z,now,-z,relro"),
    "library-lazy": ("-fPIC -shared", "-Wl,-z,lazy"),
    "library-now": ("-fPIC -shared", "-Wl,-z,now,-z,relro"),
    "library-noplt": ("-fPIC -shared -fno-plt", "-Wl,-z,norelro,-z,now"),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each kind as an executable."""
    folder = tmp_path_factory.mktemp("relocations")
    csrc, native = ROOT / "csrc", ROOT / "tests" / "native"
    core = [
        csrc / "os" / "relocations.c",
        csrc / "os" / "os_linux.c",
        csrc / "base" / "error.c",
        native / "relocations_main.c",
    ]
    caller = native / "relocations_caller.c"
    made = {}
    for kind, (code, link) in KINDS.items():
        base = [
            str(COMPILER),
            "-std=gnu11",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            *(f"-I{room}" for room in csrc.iterdir()),
        ]
        program = folder / kind
        sources = [*map(str, core)]
        if kind.startswith("library"):
            library = folder / f"lib{kind}.so"
            subprocess.run([*base, *code.split(), link, str(caller), "-o", str(library)], check=True)
            sources += [str(library), f"-Wl,-rpath,{folder}"]
        else:
            sources = [*code.split(), link, str(caller), *sources]
        subprocess.run([*base, *sources, "-o", str(program), "-ldl", "-pthread"], check=True)
        made[kind] = program
    return made


def outcome(program: Path, how: str = "") -> dict[str, str]:
    done = subprocess.run([str(program), how], capture_output=True, text=True, check=True)
    return dict(word.split("=") for line in done.stdout.splitlines() for word in line.split())


def has_read_only_slots(kind: str) -> bool:
    """Linked so that all is bound at start, with RELRO over it."""
    return "now" in kind or kind == "pie-noplt"


@pytest.mark.parametrize("how", ["", "called"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_is_seen_until_it_is_restored(programs: dict[str, Path], kind: str, how: str) -> None:
    said = outcome(programs[kind], how)
    assert said["find"] == "0"
    assert said["slots"] == "1"
    assert said["other"] == "0"
    assert said["replace"] == "0"
    assert said["seen"] == "1000"
    assert said["untouched"] == "0"
    assert said["restore"] == "0"
    assert said["foreign"] == "0"
    assert said["after"] == "0"
    assert said["parent_right"] == "1"
    assert said["read_only"] == str(int(has_read_only_slots(kind)))
    assert said["writable_now"] == str(1 - int(said["read_only"]))


@pytest.mark.parametrize("kind", ["pie-lazy", "fixed-lazy", "library-lazy"])
def test_an_unbound_slot_is_told_and_its_resolver_does_not_undo_the_hook(programs: dict[str, Path], kind: str) -> None:
    fresh, called = outcome(programs[kind]), outcome(programs[kind], "called")
    assert (fresh["lazy"], called["lazy"]) == ("1", "0")
    assert fresh["seen"] == "1000"


@pytest.mark.parametrize("kind", ["pie-lazy", "library-lazy", "library-noplt"])
def test_a_slot_that_somebody_wrote_to_is_found_and_hooked_again(programs: dict[str, Path], kind: str) -> None:
    said = outcome(programs[kind])
    assert said["strayed"] == "1"
    assert said["again"] == "10"


@pytest.mark.parametrize("kind", ["pie-now", "fixed-now", "library-now"])
def test_a_refused_mprotect_is_an_error_and_changes_nothing(programs: dict[str, Path], kind: str) -> None:
    said = outcome(programs[kind], "refused")
    if "no_seccomp" in said:
        pytest.skip("this kernel has no seccomp filters")
    assert said["replace"] == PERMISSION
    assert said["untouched"] == "1"
    assert said["seen"] == "0"
    assert said["parent_right"] == "1"
