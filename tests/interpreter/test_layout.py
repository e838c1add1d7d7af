"""The layout that is used was held against facts of the running interpreter, and a wrong one is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from meminspect import _native

FIELDS = Path(__file__).parents[2] / "csrc" / "layout" / "fields.py"
HEADER_MEMBERS = 3  # version, free_threaded, debug


def field_places() -> dict[str, int]:
    """Place of each field of the layout among its members, told by the list that the struct is generated from."""
    spec = importlib.util.spec_from_file_location("layout_fields", FIELDS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {field.name: HEADER_MEMBERS + place for place, field in enumerate(module.FIELDS)}


def test_a_layout_of_this_version_is_chosen_with_its_facts() -> None:
    raw = _native.layout_capture()
    assert raw["version"] == sys.hexversion
    assert raw["reason"] is None
    chosen = raw["tried"][raw["chosen"]]
    assert chosen["verified"]
    assert chosen["version"] >> 16 == sys.hexversion >> 16
    assert chosen["free_threaded"] == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert chosen["debug"] == hasattr(sys, "gettotalrefcount")
    verdicts = dict(chosen["facts"])
    assert False not in verdicts.values()
    assert sum(verdict is True for verdict in verdicts.values()) >= 12
    assert verdicts["the GIL's interval is sys.getswitchinterval()"] is True


def test_facts_follow_the_interpreter() -> None:
    """The interval is compared with what the interpreter says at that time, not with its usual value."""
    saved = sys.getswitchinterval()
    sys.setswitchinterval(0.0123)
    try:
        raw = _native.layout_capture()
    finally:
        sys.setswitchinterval(saved)
    assert raw["chosen"] is not None


@pytest.mark.parametrize(
    ("field", "fact"),
    [
        ("thread_interpreter", "the thread state belongs to the interpreter"),
        ("thread_ident", "thread_id is PyThread_get_thread_ident()"),
        ("thread_native_id", "native_thread_id is PyThread_get_thread_native_id()"),
        ("gil_interval", "the GIL's interval is sys.getswitchinterval()"),
        ("object_type", "an object's type is PyObject_Type()"),
        ("object_var_size", "a list's ob_size is its length"),
        ("type_name", 'tp_name of list reads "list"'),
        ("type_flags", "tp_flags is PyType_GetFlags()"),
    ],
)
def test_a_shifted_layout_is_refused(field: str, fact: str) -> None:
    trial = _native._layout_verify_shifted(field_places()[field])
    assert not trial["verified"]
    assert dict(trial["facts"])[fact] is False


SHIFTS = """
import ctypes, json, struct, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from meminspect import _native

made = [interpreters.create() for _ in range(7)]
for one in made[:4]:
    interpreters.destroy(one)
api = ctypes.pythonapi
head, following, number = api.PyInterpreterState_Head, api.PyInterpreterState_Next, api.PyInterpreterState_GetID
head.restype = following.restype = ctypes.c_void_p
following.argtypes = number.argtypes = [ctypes.c_void_p]
number.restype = ctypes.c_int64
ids, at = {}, head()
while at:
    ids[at] = number(at)
    at = following(at)
main = next(at for at, number in ids.items() if number == 0)
memory = open("/proc/self/mem", "rb", buffering=0)

def words(address):  # from 16 bytes before it on, for the lowest shift
    memory.seek(address - 16)
    return struct.unpack("4096q", memory.read(32768))

tables = {at: words(at) for at in ids}
places = [i for i in range(2, 4000) if all(tables[at][i] == number for at, number in ids.items())]
trials = {by: _native._layout_verify_shifted(int(sys.argv[1]), by) for by in (0, -16, -8, 8, 16, 24, 32)}
beside = [{by: words(main)[i + by // 8] for by in trials} for i in places]
print(json.dumps([sorted(ids.values()), beside, list(trials.values())]))
"""


def test_a_shifted_interpreter_id_is_refused() -> None:
    """Exactly where the word that stands there is another number than the interpreter's own.

    The main interpreter's id is 0, and of the words beside it some are 0 in every version, so that not each shift can
    be refused. Which can is learned without our layout: the id is the one word that equals PyInterpreterState_GetID()
    in the main interpreter and in others.
    """
    done = subprocess.run(
        [sys.executable, "-c", SHIFTS, str(field_places()["interpreter_id"])],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "No module named '_xxsubinterpreters'" in done.stderr:
        pytest.skip("this interpreter has no module that creates subinterpreters")
    assert done.returncode == 0, done.stderr
    ids, places, trials = json.loads(done.stdout)
    assert len(ids) == 4
    assert len(places) == 1
    told = [word == 0 for word in places[0].values()]
    assert [dict(trial["facts"])["the interpreter's id is PyInterpreterState_GetID()"] for trial in trials] == told
    assert [trial["verified"] for trial in trials] == told
    assert told[0] is True  # the layout itself
    assert False in told


def test_choice_in_a_forked_child() -> None:
    code = (
        "import os\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    from meminspect import _native\n"
        "    os._exit(0 if _native.layout_capture()['chosen'] is not None else 3)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60, check=False)
    assert done.returncode == 0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
