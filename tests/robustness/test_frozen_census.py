"""A census that walks in a frozen copy: of one moment, whatever threads do meanwhile, and unnoticed by the program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import Program
from test_clone import told, unnoticed

from meminspect import _native, census

RUN = Callable[..., Program]
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="the census of mimalloc's heaps is not there yet")


# A program of its own: libraries of this process may keep memory from copies (MADV_DONTFORK), which is then not exact.
ALONE = """
from meminspect import census
class Planted: __slots__ = ("value",)
kept = [Planted() for _ in range(3000)]
def count_of(taken): return sum(row.count for row in taken.types if row.type == "Planted")
plain, copied = census(max_pause=None), census(consistent=True)
"""


def alone(checks: str) -> None:
    subprocess.run([sys.executable, "-c", ALONE + checks], check=True)


def test_it_finds_what_the_census_under_the_gil_finds() -> None:
    alone("""
assert count_of(plain) == count_of(copied) == len(kept)
assert (plain.consistent, plain.frozen) == (False, None)
assert copied.consistent
assert copied.frozen is not None
assert copied.exact, copied.reason
# what lies between the two is the first one's own model
assert abs(copied.small.count - plain.small.count) < 0.1 * plain.small.count
assert copied.small.unknown <= plain.small.unknown + 50
""")


def test_its_cost_is_told() -> None:
    alone("""
frozen = copied.frozen
assert 0 < frozen.call_s <= copied.pause_s < copied.seconds
assert frozen.call_s < frozen.lived_s < copied.seconds
assert frozen.needed_bytes > copied.small.bytes
assert (frozen.missing_bytes, frozen.torn, copied.threads) == (0, 0, 1)
""")


def test_a_long_memory_map_is_not_taken_for_missing_memory() -> None:
    """Its text grows past the first buffer, which then moves."""
    alone("""
import mmap
held = [mmap.mmap(-1, 65536) for _ in range(3000)] # each below the one before
for item in held[-40::2]: item.close() # gaps with room for the first buffer alone, early in the map
with open("/proc/self/maps") as file: assert len(file.read()) > 1 << 16
copied = census(consistent=True)
assert copied.frozen.missing_bytes == 0, copied.reason
""")


# Four threads make and free objects without end: pairs are linked, so a copy of one moment has as many of each kind but
# for what each thread has just begun.
BUSY = """
import gc, itertools
gc.disable()
class Planted: __slots__ = ("value",)
class Left: __slots__ = ("right",)
class Right: __slots__ = ()
planted = [Planted() for _ in range(2000)]
stop = False
laps = [0] * 4
def churn(number):
    kept = []
    while not stop:
        laps[number] += 1
        left = Left()
        left.right = Right()
        kept.append(left)
        if len(kept) > 500:
            kept.clear()
threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
import meminspect
def one():
    before = sum(laps)
    taken = meminspect.census(consistent=True)
    names = {row.type: row.count for row in taken.types}
    small = taken.small
    return {
        "planted": names["Planted"], "difference": names.get("Left", 0) - names.get("Right", 0),
        "exact": taken.exact, "reason": taken.reason,
        "counts": small.count - small.objects - small.buffers - small.free_lists - small.unknown,
        "bytes": small.bytes - small.objects_bytes - small.buffers_bytes - small.free_lists_bytes - small.unknown_bytes,
        "unknown": small.unknown_bytes / small.bytes, "faults": taken.frozen.minor_faults, "laps": sum(laps) - before,
    }
found = [one() for _ in range(8)]
stop = True
for thread in threads: thread.join()
tell(found=found)
"""


def test_threads_that_make_and_free_objects_do_not_disturb_it_and_notice_nothing(run: RUN) -> None:
    answer, program = told(run, BUSY)
    for one in answer["found"]:
        assert one["planted"] == 2000
        assert abs(one["difference"]) <= 4  # one in the making for each thread
        assert (one["counts"], one["bytes"]) == (0, 0)
        assert one["exact"], one["reason"]
        assert one["unknown"] < 0.01
    assert sum(one["laps"] for one in answer["found"]) > 0  # they ran while the copy was walked
    assert max(one["faults"] for one in answer["found"]) > 0  # and wrote to shared pages
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_the_gil_is_free_while_the_copy_is_walked(run: RUN) -> None:
    answer, program = told(
        run,
        """
import meminspect, time
held = [{number: str(number)} for number in range(200_000)]
meminspect.census()
turns, stop = 0, False
def count():
    global turns
    while not stop:
        turns += 1
        time.sleep(0)
thread = threading.Thread(target=count)
thread.start()
sys.setswitchinterval(1000)  # it is never taken away: who has it gives it back by himself
before = turns
_ = meminspect._native.census_capture(consistent=True)
copied, before = turns - before, turns
_ = meminspect._native.census_capture()
plain = turns - before
stop = True
thread.join()
tell(copied=copied, plain=plain)
""",
    )
    assert answer["plain"] <= 1
    assert answer["copied"] > answer["plain"]
    assert program.process.wait() == 0


def test_it_is_refused_with_the_figure_where_there_is_no_room() -> None:
    with pytest.raises(_native.NativeError, match=r"may need \d{7,} bytes .* room_bytes leaves 1000") as refused:
        _native.census_capture(consistent=True, room_bytes=1000)
    assert refused.value.code == "memory"


def test_it_is_ended_at_its_deadline(run: RUN) -> None:
    answer, program = told(
        run,
        """
import meminspect
held = [{number: str(number)} for number in range(200_000)]
try:
    meminspect.census(consistent=True, deadline=0.001)
except OSError as error:
    found = (error.code, str(error))
tell(found=found, again=meminspect.census(consistent=True).consistent)
""",
    )
    assert answer["found"][0] == "late"
    assert "was not ready after" in answer["found"][1]
    assert answer["again"]
    assert unnoticed(answer), answer
    assert program.process.wait() == 0


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), 1e10])
def test_a_deadline_that_is_none_is_refused(deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        census(consistent=True, deadline=deadline)
