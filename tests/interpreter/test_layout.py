"""The layout that is used was held against facts of the running interpreter, and a wrong one is refused."""

from __future__ import annotations

import importlib.util
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


def test_a_shifted_interpreter_id_is_refused() -> None:
    """The main interpreter's id is 0, as words beside it may be: it is told from those that are not."""
    place = field_places()["interpreter_id"]
    trials = [_native._layout_verify_shifted(place, by) for by in (-16, -8, 8, 16, 24, 32)]
    verdicts = [dict(trial["facts"])["the interpreter's id is PyInterpreterState_GetID()"] for trial in trials]
    assert False in verdicts
    assert all(not trial["verified"] for trial, verdict in zip(trials, verdicts, strict=True) if verdict is False)


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
