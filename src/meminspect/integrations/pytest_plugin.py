"""The pytest plugin: a test marked `no_leaks`, or with the fixture of that name, fails when it leaves memory behind.

    @pytest.mark.no_leaks
    def test_parser(): ...

The body runs `warmup` times (once) to fill caches, then once more, measured by growth(). What is alive behind it and
was not before fails the test, with the types in the message, and how an object of each is held: to find that, the body
of a failing test runs once more. Only the call of the test function is measured, not its
fixtures; each of pytest-xdist's workers measures its own tests. Until the first such test is called nothing but the
standard library (and pytest) is imported.

Options of the marker: warmup=1, allow=("module.Type", ...), blocks=0 and arenas=0, how many more of these may stay.
What pytest itself keeps of a test counts too: log records that it captures, text that the test printed.
What threads allocate that were there before the body does not count (builds with a GIL); it is told beside it.
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
FOLLOWED = 5  # types of which an object is followed to its root
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
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    measured = measure(function, arguments, options["warmup"])
    if exceeds(measured, options):
        held = held_by(lambda: function(**arguments), measured, options)
        pytest.fail(complaint(measured, options, held), pytrace=False)
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


def remains(found: Growth, options: dict[str, Any]) -> tuple[list[Any], int]:
    """What was left of types that may not stay, and how many blocks that is."""
    left = [row for row in found.left if row.name not in options["allow"]]
    return left, sum(row.count or 0 for row in left) if found.types is not None else max(0, found.blocks)


def arenas_left(found: Growth) -> int:
    """How many arenas stay: of those that other threads' blocks may have been the reason for it is not known."""
    return 0 if found.others and found.others.blocks > 0 else found.arenas


def exceeds(found: Growth, options: dict[str, Any]) -> bool:
    """Whether the test left more behind than it may."""
    left, total = remains(found, options)
    resized = found.others.resized_owners if found.others else ()  # by another thread: whose growth it is is not known
    # as many as before, but bigger: a list that keeps growing
    larger = [row for row in left if not row.count and row.name not in resized]
    return total > options["blocks"] or bool(larger) or arenas_left(found) > options["arenas"]


def held_by(body: Callable[[], object], found: Growth, options: dict[str, Any]) -> dict[str, str]:
    """How an object of each type that stays is held; the key "" has why that is not known."""
    from .leak_holders import holders

    types = {row.name for row in found.types or ()}
    left = [row.name for row in remains(found, options)[0] if row.name in types and row.count]
    if not left:
        return {}
    try:
        return holders(body, left[:FOLLOWED])
    except Exception as error:  # the test has failed already: what it left is told in any case
        return {"": f"{type(error).__name__}: {error}"}


def complaint(found: Growth, options: dict[str, Any], held: dict[str, str]) -> str:
    """What the test left behind beyond its limits."""
    from ..views.sanitize import clean

    left, total = remains(found, options)
    lines = [
        f"{NAME}: the test left {total:,} blocks, {sum(row.bytes for row in left) or found.bytes:,} bytes and "
        f"{found.arenas:,} arenas behind"
    ]
    for row in left[:SHOWN]:
        lines.append(f"  {row.count or 0:+,} {clean(row.name)}, {row.bytes:+,} bytes")
        if row.name in held:
            lines.append(f"      held: {held[row.name]}")
    if "" in held:
        lines.append(f"  who holds it is not known: {clean(held[''])}")
    if len(left) > SHOWN:
        lines.append(f"  and {len(left) - SHOWN} more types")
    for thread in found.threads:
        spent = "may have run" if thread.cpu_s is None else f"ran {thread.cpu_s * 1e3:.1f} ms"
        own = "" if thread.blocks is None else f", its heaps grew by {thread.blocks:+,} blocks, {thread.bytes:+,} bytes"
        whose = "" if found.others else ": some of it may be its"
        lines.append(f"  another thread ({thread.native_id}) {spent} meanwhile{own}{whose}")
    if found.others:
        lines.append(
            f"  not counted: {found.others.blocks:,} blocks, {found.others.bytes:,} bytes that other threads were given"
            + (", and arenas, which may be theirs" if arenas_left(found) != found.arenas else "")
        )
    if found.reason and not found.threads:
        lines.append(f"  not exact: {clean(found.reason)}")
    return "\n".join(lines)
