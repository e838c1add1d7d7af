"""The census against what does not share its code: letters of debug allocators, the collector's lists, arena sums.

Hostile buffers and planted objects of many types too, and how much of each heap is named (programs/census_truth.py).
"""

from __future__ import annotations

import array
import asyncio
import builtins
import collections
import ctypes
import datetime
import decimal
import fractions
import functools
import gc
import importlib.util
import itertools
import json
import operator
import os
import re
import struct
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meminspect import _native, census

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="mimalloc's heaps have no blocks of pymalloc")
PROGRAM = Path(__file__).parent.parent / "programs" / "census_truth.py"
SEEN = struct.Struct("QiHHQQQQ")  # mi_census_seen, probes/census.py
MOVED = 40  # objects that the measurement itself makes or frees


@functools.cache
def facts(*arguments: str, malloc: str = "") -> Any:
    """What the program prints of its own census."""
    environment = {**os.environ, "PYTHONMALLOC": malloc} if malloc else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# -- how much is named


@pytest.mark.parametrize(
    ("heap", "least"), [("bare", 0.999), ("synthetic", 0.999), ("numpy", 0.999), ("pandas", 0.999), ("sympy", 0.999)]
)
def test_share_that_is_named(heap: str, least: float) -> None:
    if heap in ("numpy", "pandas", "sympy") and importlib.util.find_spec(heap) is None:
        pytest.skip(f"{heap} is not installed")
    found = facts(heap, "coverage")["coverage"]
    assert found["bytes"] >= least, found["unknown"]
    assert found["live_bytes"] > 1 << 20


def test_share_of_the_zoo_that_is_named() -> None:
    found = facts("zoo", "coverage", "collector")
    assert found["kinds"] >= 120
    assert found["coverage"]["bytes"] >= 0.99, found["coverage"]["unknown"]


# -- the allocator's own marks


@pytest.mark.skipif(hasattr(sys, "gettotalrefcount"), reason="a debug build frames its blocks in any case")
def test_domains_that_a_debug_allocator_writes() -> None:
    """No block of `mem` is an object; of `obj`, where 3.11 has C structures too, few have no name."""
    found = facts("zoo", "domains", malloc="debug")["domains"]
    assert found["blocks"] > 50_000
    assert found["wrong"] == {}
    assert sum(found["untyped"].values()) <= 0.0005 * found["blocks"], found["untyped"]


# -- the collector's lists


def test_tracked_objects_are_seen_with_their_types() -> None:
    found = facts("zoo", "coverage", "collector")["collector"]
    assert found["tracked"] > 20_000
    assert found["found"] > 0.9 * found["tracked"]  # the rest is larger than a block
    assert (found["missed"], found["wrong"], found["strangers"]) == ({}, {}, 0)
    assert found["unlisted"] <= 3  # the list of all of them, and what was made behind it


# -- sums


def test_bytes_sum_to_the_arenas() -> None:
    """Live and free blocks, headers and what was never used make the arenas, as CPython's own statistics count them."""
    _native.census_capture(max_pause=None)
    gc.collect()
    gc.disable()  # what earlier tests left is not to go between the two
    try:
        stats = _native.malloc_stats_capture()["text"]
        taken = _native.census_capture(max_pause=None)
    finally:
        gc.enable()
    text = stats.decode() if isinstance(stats, bytes) else str(stats)
    live = sum(size * count for size, count, *_ in taken["size_classes"])
    assert live == taken["live"][1]
    [counted] = re.findall(r"# bytes in allocated blocks\s*=\s*([\d,]+)", text)
    parts = re.findall(
        r"# bytes in available blocks\s*=\s*([\d,]+)|bytes lost to (?:pool headers|quantization|arena ali"
        r"gnment)\s*=\s*([\d,]+)|(\d+) unused pools \* (\d+) bytes",
        text,
    )
    rest = 0
    for available, lost, pools, size in parts:
        rest += int((available or lost or "0").replace(",", "")) + int(pools or 0) * int(size or 0)
    [arenas] = re.findall(r"(\d+) arenas \* (\d+) bytes/arena", text)
    assert abs(live - int(counted.replace(",", ""))) <= MOVED * 512
    assert abs(live + rest - int(arenas[0]) * int(arenas[1])) <= MOVED * 512


# -- what looks like an object and is none


class Bait:
    __slots__ = ()


class Kept:
    __slots__ = ("value",)


def count_of(kind: type) -> int:
    rows = census(max_pause=None).types
    return sum(row.count for row in rows if (row.module, row.type) == (kind.__module__, kind.__qualname__))


def fake_header(kind: type, words: int) -> list[int]:
    """A count of one, and a type: what an object begins with."""
    return [1, id(kind)] * (words // 2)


HOSTILE: dict[str, Callable[[], Any]] = {
    "array": lambda: array.array("Q", fake_header(Bait, 8)),
    "bytearray": lambda: bytearray(struct.pack("8Q", *fake_header(Bait, 8))),
    "list": lambda: [1, Bait, 1, Bait],
    "dict": lambda: {1: Bait},
    "set": lambda: set(range(9)) | {Bait},
    "deque": lambda: collections.deque([1, Bait] * 4),
    "instance": lambda: types.SimpleNamespace(a=1, b=Bait),
    "tuple": lambda: (Bait, Bait),
    "int that is its id": lambda: id(Bait),
    "bytes": lambda: struct.pack("8Q", *fake_header(Bait, 8)),
}


@pytest.mark.parametrize("name", ["set", "code", "module", "frame", "generator", "collections.deque", "numpy.ndarray"])
def test_classes_that_are_called_as_others_own_nothing(name: str) -> None:
    """A class of the program's with a name that stands for a structure: its objects are not read as that."""
    before = {row.owner: row.count for row in census(max_pause=None).buffers}
    kind = type(name, (), {"__slots__": ()})
    held = [kind() for _ in range(3000)]  # pools full of them: what lies behind one is another
    taken = census(max_pause=None)
    [row] = [row for row in taken.types if (row.module, row.type) == (__name__, name)]
    assert row.count == len(held)
    assert row.requested_bytes == len(held) * (sys.getsizeof(held[0]) if row.bytes else 0)
    for row in taken.buffers:
        assert row.count - before.get(row.owner, 0) < len(held) / 2, row


@pytest.mark.parametrize("kind", HOSTILE)
def test_buffers_that_look_like_objects(kind: str) -> None:
    held = [HOSTILE[kind]() for _ in range(200)]
    assert count_of(Bait) == 0
    del held
    assert count_of(Bait) == 0  # nor what is kept for later (dead ints whose digit is an id)


def test_text_where_an_object_was_is_none() -> None:
    """Of a text in a block of an extension's the last letter may lie where the count was, and the type behind it."""
    take, give = ctypes.pythonapi.PyMem_Malloc, ctypes.pythonapi.PyMem_Free
    take.restype, take.argtypes, give.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    left = b"held by no object" + bytes(7) + struct.pack("Q", id(Kept)) + bytes(8)
    blocks = [take(len(left)) for _ in range(200)]
    for block in blocks:
        ctypes.memmove(block, left, len(left))
    assert count_of(Kept) == 0
    for block in blocks:
        give(block)


# -- objects that are made here


def generate() -> Any:
    yield 1


def frame_of(generator: Any) -> Any:
    """The frame that a suspended generator runs in, as an object."""
    next(generator)
    return generator.gi_frame


def kept_frame() -> Any:
    """The frame of a call that has ended: it moves into its object."""
    return sys._getframe()


def suspended() -> Any:
    local = [1]
    yield local


class Pause:
    def __await__(self) -> Any:
        yield self


async def wait() -> None:
    local = [1]
    await Pause()
    del local


async def generate_async() -> Any:
    yield 1


def sent(awaited: Any) -> Any:
    awaited.send(None)
    return awaited


# built in from 3.15 on
NEW: dict[str, Callable[[int], Any]] = {
    "frozendict": lambda at: builtins.frozendict({at: at}),  # type: ignore[attr-defined]
    "sentinel": lambda at: builtins.sentinel(f"S{at}"),  # type: ignore[attr-defined]
}

PLANTED: dict[str, tuple[Callable[[int], Any], Any]] = {
    "Kept": (lambda at: Kept(), Kept),
    "bytearray": (lambda at: bytearray(3), bytearray),
    "list": (lambda at: [at], list),
    "dict": (lambda at: {at: at}, dict),
    "set": (lambda at: {at}, set),
    "frozenset": (lambda at: frozenset([at]), frozenset),
    "float": (lambda at: at + 0.5, float),
    "complex": (lambda at: complex(at, 1), complex),
    "int": (lambda at: at + 10**20, int),
    "str": (lambda at: f"text {at}", str),
    "bytes": (lambda at: b"bytes %d" % at, bytes),
    "range": (lambda at: range(at, 10**6), range),
    "slice": (lambda at: slice([], at), slice),
    "memoryview": (lambda at: memoryview(b"abc"), memoryview),
    "partial": (lambda at: functools.partial(print, at), functools.partial),
    "deque": (lambda at: collections.deque([at]), collections.deque),
    "OrderedDict": (lambda at: collections.OrderedDict(a=at), collections.OrderedDict),
    "defaultdict": (lambda at: collections.defaultdict(list), collections.defaultdict),
    "Counter": (lambda at: collections.Counter("ab"), collections.Counter),
    "Decimal": (lambda at: decimal.Decimal(at), decimal.Decimal),
    "Fraction": (lambda at: fractions.Fraction(at, 7), fractions.Fraction),
    "datetime": (lambda at: datetime.datetime(2000, 1, 1, microsecond=at), datetime.datetime),
    "datetime with a zone": (
        lambda at: datetime.datetime(2000, 1, 1, microsecond=at, tzinfo=datetime.UTC),
        datetime.datetime,
    ),
    "time": (lambda at: datetime.time(1, microsecond=at), datetime.time),
    "time with a zone": (lambda at: datetime.time(1, microsecond=at, tzinfo=datetime.UTC), datetime.time),
    "timedelta": (lambda at: datetime.timedelta(at + 1), datetime.timedelta),
    "array": (lambda at: array.array("i", [at]), array.array),
    "Struct": (lambda at: struct.Struct("i"), struct.Struct),
    "Event": (lambda at: threading.Event(), threading.Event),
    "namespace": (lambda at: types.SimpleNamespace(at=at), types.SimpleNamespace),
    "function": (lambda at: lambda: at, types.FunctionType),
    "method": (lambda at: generate.__get__(at), types.MethodType),
    "cell": (lambda at: types.CellType(at), types.CellType),
    "generator": (lambda at: generate(), types.GeneratorType),
    "coroutine": (lambda at: sent(wait()), types.CoroutineType),
    "async generator": (lambda at: generate_async(), types.AsyncGeneratorType),
    "frame of a generator": (lambda at: frame_of(suspended()), types.FrameType),
    "frame of a call": (lambda at: kept_frame(), types.FrameType),
    "property": (lambda at: property(print), property),
    "exception": (lambda at: ValueError(at), ValueError),
    "weakref": (lambda at: weakref.ref(Kept, lambda _: None), weakref.ref),
    "count": (lambda at: itertools.count(at), itertools.count),
    "repeat": (lambda at: itertools.repeat(at), itertools.repeat),
    "itemgetter": (lambda at: operator.itemgetter(at), operator.itemgetter),
    "queue of asyncio": (lambda at: asyncio.Queue(), asyncio.Queue),
    **{name: (make, getattr(builtins, name)) for name, make in NEW.items() if hasattr(builtins, name)},
}


def test_objects_of_many_types_are_seen_one_by_one() -> None:
    assert len(PLANTED) >= 30
    assert sys.version_info < (3, 15) or NEW.keys() <= PLANTED.keys()
    made = {name: [make(at) for at in range(300)] for name, (make, _) in PLANTED.items()}
    raw = _native.census_capture(max_pause=None, blocks=True)
    of_type = memoryview(raw["type_addresses"]).cast("Q")
    seen = {block + before: of_type[at] for block, at, _, before, *_ in SEEN.iter_unpack(raw["seen"]) if at >= 0}
    wrong = collections.Counter(
        name for name, items in made.items() for item in items if seen.get(id(item)) != id(PLANTED[name][1])
    )
    assert wrong == {}
    assert count_of(Kept) == len(made["Kept"])


INTERPRETERS = """
from meminspect import census
try:
    import _interpreters as interpreters
    made = [interpreters.create(kind) for kind in ("isolated", "legacy")]
except ImportError:
    import _xxsubinterpreters as interpreters
    made = [interpreters.create(isolated=kind) for kind in (True, False)]
def floats(taken):
    return sum(row.count for row in taken.types if row.name == "float")
census(max_pause=None)
before = census(max_pause=None)
for other in made:
    interpreters.run_string(other, "kept = [number + 0.5 for number in range(5000)]\\nclass Own: pass\\nown = Own()")
after = census(max_pause=None)
assert 0 <= floats(after) - floats(before) - 10_000 <= 100, (floats(before), floats(after))
assert after.exact and not after.reason, after.reason
print("counted once")
"""


def test_objects_of_other_interpreters_are_counted_once() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", INTERPRETERS], capture_output=True, text=True)
    assert done.stdout == "counted once\n", done.stderr


# -- what the census leaves as it was


class Lazy:
    def __init__(self) -> None:
        self.value = 1


def test_counts_and_lazy_dicts_stay() -> None:
    items = [Lazy(), [1], {"a": 1}, Kept(), lambda: 1, (1, []), Bait]
    counts = [sys.getrefcount(item) for item in items]
    sizes = [sys.getsizeof(item) for item in items]
    referents = len(gc.get_referents(items[0]))
    for _ in range(3):
        census()
    assert [sys.getrefcount(item) for item in items] == counts
    assert [sys.getsizeof(item) for item in items] == sizes
    assert len(gc.get_referents(items[0])) == referents  # a __dict__ would be one more


LAZY_IMPORT = """
import gc, sys, types
from meminspect import census
census(max_pause=None)
lazy import wave
lazy import plistlib as other
lazy from mailbox import Maildir
seen = sum(row.count for row in census(max_pause=None).types if row.name == types.LazyImportType.__qualname__)
tracked = sum(1 for item in gc.get_objects() if type(item) is types.LazyImportType)
assert seen == tracked >= 3, (seen, tracked)
census(consistent=True)
assert not {"wave", "plistlib", "mailbox"} & sys.modules.keys()
wave.Error
assert "wave" in sys.modules
print("lazy")
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports are new in 3.15")
def test_a_lazy_import_stays_lazy(tmp_path: Path) -> None:
    script = tmp_path / "lazy.py"
    script.write_text(LAZY_IMPORT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout == "lazy\n", done.stderr
