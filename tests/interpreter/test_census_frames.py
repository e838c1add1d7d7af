"""Frames in a census: those that threads run, and those that lie in generators, coroutines and frame objects.

Held against what the interpreter itself says of a thread's frames (sys._current_frames) and of an object's size, and
against threads that run the same code with and without objects in their variables.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meminspect import census
from meminspect.models.census import Census, ThreadFrames


class Kept:
    __slots__ = ("value",)


class Point:
    """Where a thread stands and waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.line = self.wait.__func__.__code__.co_firstlineno + 1  # type: ignore[attr-defined]

    def wait(self) -> None:
        self.lock.acquire()

    def is_reached(self, thread: threading.Thread) -> bool:
        """Whether the thread sleeps in that line: before it is there its frames still change."""
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is None or (frame.f_code, frame.f_lineno) != (Point.wait.__code__, self.line):
            return False
        state = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
        return state.rpartition(")")[2].split()[0] == "S"


def take(items: list[Any], point: Point) -> None:
    first, second, third = items
    items.clear()
    point.wait()
    del first, second, third


def through_generator(items: list[Any], point: Point) -> None:
    def generate() -> Iterator[None]:
        first, second, third = items
        items.clear()
        point.wait()
        yield
        del first, second, third

    next(generate())


def through_coroutine(items: list[Any], point: Point) -> None:
    async def inner() -> None:
        first, second, third = items
        items.clear()
        point.wait()
        del first, second, third

    async def outer() -> None:
        await inner()

    with pytest.raises(StopIteration):
        outer().send(None)


@contextmanager
def standing(body: Callable[[list[Any], Point], None], items: list[Any]) -> Iterator[threading.Thread]:
    point = Point()
    thread = threading.Thread(target=body, args=(items, point))
    thread.start()
    try:
        while not point.is_reached(thread):
            time.sleep(0.001)
        yield thread
    finally:
        point.lock.release()
        thread.join()


def of_thread(taken: Census, thread: threading.Thread) -> ThreadFrames:
    [row] = [row for row in taken.thread_frames if row.native_id == thread.native_id]
    return row


def frames_of(thread: threading.Thread) -> list[types.FrameType]:
    assert thread.ident is not None
    # each is an object from now on, which its frame holds as long as it runs
    frame: types.FrameType | None = sys._current_frames()[thread.ident]
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


@pytest.mark.parametrize(("body", "embedded"), [(take, 0), (through_generator, 1), (through_coroutine, 2)])
def test_frames_of_a_thread_hold_what_is_in_their_variables(
    body: Callable[[list[Any], Point], None], embedded: int
) -> None:
    for _ in range(40):  # the first instances of a class have room for more attributes than later ones
        with standing(body, [None] * 3):
            pass
    with standing(body, [None] * 3) as empty, standing(body, [Kept() for _ in range(3)]) as full:
        running, _ = ([frame.f_code for frame in frames_of(thread)] for thread in (full, empty))
        taken = census(max_pause=None)
        without, holding = of_thread(taken, empty), of_thread(taken, full)
    assert (holding.frames + holding.embedded_frames, holding.embedded_frames) == (len(running), embedded)
    assert (without.frames, without.embedded_frames) == (holding.frames, embedded)
    [row] = [row for row in taken.types if (row.module, row.type) == (__name__, "Kept")]
    assert row.count == 3
    assert holding.objects - without.objects == 3
    assert holding.objects_bytes - without.objects_bytes == row.bytes
    assert without.objects >= len(set(running))  # each frame's code, at least
    assert holding.interpreter == 0


def test_the_data_stack_grows_with_the_frames() -> None:
    def deep(items: list[Any], point: Point, left: int = 300) -> None:
        if left:
            deep(items, point, left - 1)
        else:
            point.wait()

    with standing(deep, []) as deeper, standing(take, [None] * 3) as flat:
        frames = frames_of(deeper)
        taken = census(max_pause=None)
        high, low = of_thread(taken, deeper), of_thread(taken, flat)
    words = sum(len(code.co_varnames) + len(code.co_cellvars) + len(code.co_freevars) + code.co_stacksize
                for code in (frame.f_code for frame in frames))  # fmt: skip
    assert high.frames == len(frames) > 300
    assert high.chunks >= 2 > low.chunks == 1
    assert high.chunk_bytes >= words * 8 > low.chunk_bytes
    assert high.chunk_bytes % 4096 == low.chunk_bytes % 4096 == 0


def test_a_census_of_a_copy_sees_the_same_frames() -> None:
    with standing(take, [Kept() for _ in range(3)]) as thread:
        here, copied = (of_thread(census(max_pause=None, consistent=way), thread) for way in (False, True))
    assert here == copied


# -- frames that wait in objects


def generate(item: object) -> Iterator[object]:
    yield item


class Pause:
    def __await__(self) -> Any:
        yield self


async def wait(item: object) -> None:
    await Pause()
    del item


async def generate_async(item: object) -> Any:
    await Pause()
    yield item


def started(made: Any) -> Any:
    made.send(None)
    return made


def pulled(made: Any) -> Any:
    made.asend(None).send(None)
    return made


def ended_frame(item: object) -> types.FrameType:
    """Of a call that has ended: it has moved into the object."""
    return sys._getframe()


WAITING: dict[str, Callable[[object], Any]] = {
    "generator": lambda item: started(generate(item)),
    "coroutine": lambda item: started(wait(item)),
    "async_generator": lambda item: pulled(generate_async(item)),
    "frame": ended_frame,
}


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("kind", WAITING)
def test_frames_in_objects_are_part_of_them(kind: str) -> None:
    """Counted one by one, with the embedded frame in what was asked for, and what their variables hold alive."""

    def figures(taken: Census) -> tuple[int, int, int]:
        rows = [row for row in taken.types if (row.module, row.type) == ("builtins", kind)]
        kept = [row.count for row in taken.types if (row.module, row.type) == (__name__, "Kept")]
        return sum(row.count for row in rows), sum(row.requested_bytes or 0 for row in rows), sum(kept)

    made = [WAITING[kind](Kept())]  # what the first one imports and caches, and the first census
    census(max_pause=None)
    # an event loop that another test left behind may keep asynchronous generators of the one before, to close them
    count, size, before = figures(census(max_pause=None))
    # made by map: a comprehension that calls would be one frame more, up to 3.11
    made.extend(map(WAITING[kind], [Kept() for _ in range(200)]))
    grown = figures(census(max_pause=None))
    assert grown[0] - count == 200
    assert grown[1] - size == sum(map(sys.getsizeof, made[1:]))
    assert grown[2] - before == 200
    for item in made:
        if kind == "coroutine":
            item.close()


FROM_OUTSIDE = """
import sys, threading
def deep(left):
    if left: deep(left - 1)
    else: print(threading.get_native_id(), flush=True); sys.stdin.readline()
deep(200)
"""


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="mimalloc of another process")
def test_frames_of_another_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FROM_OUTSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        native_id = int(other.stdout.readline())
        taken = census(pid=other.pid)
        other.communicate("\n")
    if sys.version_info < (3, 13):
        assert taken.thread_frames == ()
        return
    [row] = [row for row in taken.thread_frames if row.native_id == native_id]
    assert row.frames == 202
    assert row.objects >= 2
