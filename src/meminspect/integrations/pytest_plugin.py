"""The pytest plugin: a test marked `no_leaks`, or with the fixture of that name, fails when it leaves memory behind.

    @pytest.mark.no_leaks
    def test_parser(): ...

The body runs `warmup` times (once) to fill caches, then once more, measured by growth(). What is alive behind it and
was not before fails the test, with the types in the message. Only the call of the test function is measured, not its
fixtures; each of pytest-xdist's workers measures its own tests. Until the first such test is called nothing but the
standard library (and pytest) is imported.

Options of the marker: warmup=1, allow=("module.Type", ...), blocks=0 and arenas=0, how many more of these may stay.
What pytest itself keeps of a test counts too: log records that it captures, text that the test printed.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..models.growth import Growth

NAME = "no_leaks"
SHOWN = 10
MARKER = (
    f"{NAME}(warmup=1, allow=(), blocks=0, arenas=0): fail the test when it leaves objects, blocks or arenas behind; "
    "its body runs `warmup` times before it is measured"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def no_leaks() -> None:
    """The test that asks for it is measured as if it was marked so."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    marker = pyfuncitem.get_closest_marker(NAME)
    if marker is None and NAME not in pyfuncitem.fixturenames:
        return None
    import inspect

    function = pyfuncitem.obj
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        pytest.fail(f"{NAME} measures plain test functions, and this one is asynchronous", pytrace=False)
    options = limits(**(marker.kwargs if marker is not None else {}))
    names = pyfuncitem._fixtureinfo.argnames
    measured = measure(function, {name: pyfuncitem.funcargs[name] for name in names}, options["warmup"])
    text = complaint(measured, options)
    if text:
        pytest.fail(text, pytrace=False)
    return True


def limits(*, warmup: int = 1, allow: Iterable[str] = (), blocks: int = 0, arenas: int = 0) -> dict[str, Any]:
    return {"warmup": warmup, "allow": frozenset(allow), "blocks": blocks, "arenas": arenas}


def measure(function: Callable[..., Any], arguments: dict[str, Any], warmup: int) -> Growth:
    from ..probes.growth import growth

    for _ in range(warmup):
        function(**arguments)
    with growth(collect=True) as span:
        function(**arguments)
    return span.result


def complaint(found: Growth, options: dict[str, Any]) -> str | None:
    """What the test left behind beyond its limits, None when it left nothing."""
    from ..views.sanitize import clean

    left = [row for row in found.left if row.name not in options["allow"]]
    total = sum(row.count or 0 for row in left) if found.types is not None else max(0, found.blocks)
    larger = [row for row in left if not row.count]  # as many as before, but bigger: a list that keeps growing
    if total <= options["blocks"] and not larger and found.arenas <= options["arenas"]:
        return None
    lines = [
        f"{NAME}: the test left {total:,} blocks, {sum(row.bytes for row in left) or found.bytes:,} bytes and "
        f"{found.arenas:,} arenas behind"
    ]
    lines += [f"  {row.count or 0:+,} {clean(row.name)}, {row.bytes:+,} bytes" for row in left[:SHOWN]]
    if len(left) > SHOWN:
        lines.append(f"  and {len(left) - SHOWN} more types")
    for thread in found.threads:
        spent = "may have run" if thread.cpu_s is None else f"ran {thread.cpu_s * 1e3:.1f} ms"
        own = "" if thread.blocks is None else f", its heaps grew by {thread.blocks:+,} blocks, {thread.bytes:+,} bytes"
        lines.append(f"  another thread ({thread.native_id}) {spent} meanwhile{own}: some of it may be its")
    if found.reason and not found.threads:
        lines.append(f"  not exact: {clean(found.reason)}")
    return "\n".join(lines)
