"""References of builds without a GIL: sizes by planted objects, and objects that other threads change meanwhile."""

from __future__ import annotations

import gc
import sys
import sysconfig
import threading
from collections.abc import Iterator

import pytest

import meminspect
from meminspect import _native

pytestmark = pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this build has a GIL")

N = 20_000


@pytest.fixture(autouse=True)
def _collector_at_rest() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Kept:
    def __init__(self, number: float) -> None:
        self.number = number


def test_the_whole_is_what_is_live_in_mimallocs_pages() -> None:
    before = _native.references_capture(top=1, max_pause=None)
    blocks = sys.getallocatedblocks()
    kept = [float(number) + 0.5 for number in range(N)]
    blocks = sys.getallocatedblocks() - blocks
    after = _native.references_capture(top=1, max_pause=None)
    size = meminspect.block(kept[0]).size
    assert size is not None
    grown = after["small_bytes"] - before["small_bytes"]
    assert abs(grown - N * size - sys.getsizeof(kept)) < 200_000  # by size; what the calls themselves made
    assert abs(blocks - N) < 200  # by CPython's own count
    for raw in (before, after):
        assert raw["top"]["total"] >= raw["small_bytes"]
        assert raw["unknown_bytes"] < 0.1 * raw["small_bytes"]
        assert raw["top"]["garbage"] < 0.02 * raw["small_bytes"]


def test_a_type_is_counted_by_each_thread_and_held_by_nobody_else() -> None:
    """A reference of an instance to its type is in a table of its thread, and in no count of the object's."""
    made: list[list[Kept]] = []
    threads = [threading.Thread(target=lambda: made.append([Kept(0.5) for _ in range(100)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.append([Kept(1.5) for _ in range(100)])
    raw = _native.references_capture([id(Kept)], holders=True, max_pause=None)
    assert raw["holders"]["unexplained"] == 0
    assert raw["holders"]["count"] >= 500


def test_deferred_counts_are_no_holders() -> None:
    def planted() -> None: ...

    holders = _native.references_capture([id(planted)], holders=True, max_pause=None)["holders"]
    assert holders["unexplained"] == 0
    assert [node[2] for node, _, _ in holders["rows"]] == ["frames"]


@pytest.mark.parametrize("consistent", [False, True])
def test_while_other_threads_change_what_is_read(consistent: bool) -> None:
    stop = threading.Event()
    shared: dict[str, object] = {}

    def churn(name: str) -> None:
        while not stop.is_set():
            shared[name] = {str(number): [Kept(number)] for number in range(100)}
            shared.pop(name, None)

    threads = [threading.Thread(target=churn, args=(f"churn {number}",)) for number in range(3)]
    fixed = [Kept(2.5)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            raw = _native.references_capture(
                [id(fixed[0])], ["Kept"], holders=True, path=True, top=20, max_pause=None, consistent=consistent
            )
            assert raw["path"][-1][0][0] == id(fixed[0])
            assert raw["path"][1][1] == ("local", "fixed", raw["path"][1][1][2])
            assert raw["consistent"] is consistent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_is_not_to_be_had_is_said_in_a_line() -> None:
    for ask in (
        lambda: meminspect.pinning(),
        lambda: meminspect.what_if("Kept"),
        lambda: meminspect.holders([], foreign="call"),
    ):
        with pytest.raises(meminspect.NativeError) as refused:
            ask()
        assert refused.value.code == "absent"
        assert "\n" not in str(refused.value)
