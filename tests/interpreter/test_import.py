"""What `import meminspect` brings with it, and where it is refused."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def modules_after(code: str) -> set[str]:
    return set(run(f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))").split())


def test_import_is_light() -> None:
    loaded = modules_after("import meminspect")
    assert "meminspect" in loaded
    assert not loaded & {"rich", "click", "psutil", "dataclasses", "json", "typing", "meminspect._native"}


def test_probes_need_none_of_the_views_libraries() -> None:
    loaded = modules_after("import meminspect\nmeminspect.header([])\nmeminspect.gc_state()\nmeminspect.gil.counters()")
    assert "meminspect._native" in loaded
    assert not loaded & {"rich", "click", "psutil"}


def test_the_native_core_alone_imports_nothing_of_python() -> None:
    loaded = modules_after("from meminspect import _native\n_native.gc_capture()\n_native.gil_capture()")
    assert {name for name in loaded if name.startswith("meminspect")} == {"meminspect", "meminspect._native"}
    assert not loaded & {"dataclasses", "threading", "json"}


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="sys._is_gil_enabled() came with CPython 3.13")
def test_importing_leaves_the_gil_as_it_was() -> None:
    code = """
    import sys
    before = sys._is_gil_enabled()
    import meminspect
    meminspect.gc_state()
    print(before == sys._is_gil_enabled())
    """
    assert run(code).strip() == "True"


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        print("no module")
        sys.exit()
code = '''
try:
    import meminspect
except ImportError as error:
    print(error, flush=True)
'''
%s
import meminspect
print(meminspect.gc_state().exact or meminspect.gc_state().kind, flush=True)
"""

RUN_IN_IT = {
    (3, 11): "interpreters.run_string(interpreters.create(isolated=False), code)",
    (3, 12): "interpreters.run_string(interpreters.create(isolated=True), code)",
}
RUN_IN_IT_NOW = "for kind in ('legacy', 'isolated'): interpreters.exec(interpreters.create(kind), code)"


def test_a_subinterpreter_gets_one_line_and_breaks_nothing() -> None:
    """Refused in every kind of subinterpreter, also when it comes first; the main interpreter imports it afterwards."""
    printed = run(SUBINTERPRETER % RUN_IN_IT.get(sys.version_info[:2], RUN_IN_IT_NOW)).splitlines()
    if printed == ["no module"]:
        pytest.skip("this interpreter has no module that creates subinterpreters")
    *refused, exact = printed
    assert refused
    for line in refused:
        assert line.startswith("meminspect cannot be imported in a subinterpreter")
    assert exact in ("True", "free-threaded")
