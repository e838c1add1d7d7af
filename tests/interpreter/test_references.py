"""Owners and references against the collector's own answers, planted chains, and sizes added up by hand."""

from __future__ import annotations

import array
import collections
import datetime
import functools
import gc
import itertools
import os
import subprocess
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Generator, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

import meminspect
from meminspect import _native

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


class Plain:
    def __init__(self, value: object = None) -> None:
        self.value = value


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: object, right: object) -> None:
        self.left, self.right = left, right


class Marker:
    """What is looked for: nothing else refers to its instances."""


def suspended(item: object) -> Iterator[object]:
    yield 1
    yield item


def started(item: object) -> Generator[object, None, None]:
    generator = suspended(item)
    next(generator)
    return generator  # type: ignore[return-value]


async def waiting(item: object) -> object:
    return item


def closure(item: object) -> Any:
    return lambda: item


def raised(item: object) -> Exception:
    try:
        raise ValueError(item)
    except ValueError as error:
        return error.with_traceback(None)


def module_with(item: object) -> types.ModuleType:
    module = types.ModuleType("planted_module")
    module.item = item  # type: ignore[attr-defined]
    return module


def deque_with(item: object) -> collections.deque[object]:
    found: collections.deque[object] = collections.deque(range(500, 700))
    found[100] = item
    return found


class DictSubclass(dict[str, object]):
    pass


class Zone(datetime.tzinfo):
    def __init__(self, item: object) -> None:
        self.item = item

    def utcoffset(self, _when: object) -> datetime.timedelta:
        return datetime.timedelta(0)


def materialised(item: object) -> Plain:
    plain = Plain(item)
    vars(plain)["other"] = 1
    return plain


# how a holder is made that refers to the marker itself, by a reference that its structure names
DIRECT: dict[str, Any] = {
    "list": lambda item: [0, item],
    "tuple": lambda item: (item, 0),
    "dict value": lambda item: {"a": item},
    "dict with general keys": lambda item: {1: item, "x": 2},
    "dict key": lambda item: {item: 1},
    "dict subclass": lambda item: DictSubclass(a=item),
    "OrderedDict": lambda item: collections.OrderedDict(a=item),
    "defaultdict": lambda item: collections.defaultdict(int, a=item),
    "default factory": lambda item: collections.defaultdict(functools.partial(int), {"a": item}),
    "set": lambda item: {item},
    "large set": lambda item: {item, *range(1000)},
    "frozenset": lambda item: frozenset([item]),
    "slots": lambda item: Slotted(1, item),
    "deque": deque_with,
    "method": lambda item: types.MethodType(print, item),
    "partial": lambda item: functools.partial(print, item).args,
    "cell": lambda item: closure(item).__closure__[0],
    "slice": lambda item: slice(item),
    "staticmethod": lambda item: staticmethod(item),
    "property": lambda item: property(item),
    "mappingproxy of": lambda item: types.MappingProxyType({"a": item}) and {"a": item},
    "generator": started,
    "coroutine": waiting,
    "exception args": lambda item: raised(item).args,
    "weakref callback": None,
}
DIRECT.pop("weakref callback")


@pytest.mark.parametrize("kind", DIRECT)
def test_the_one_holder_of_a_planted_object(kind: str) -> None:
    marker = Marker()
    address, holder = id(marker), DIRECT[kind](marker)
    del marker
    raw = _native.references_capture([address], holders=True, max_pause=None)
    rows = {node[0]: how for node, how, _ in raw["holders"]["rows"] if node[0] is not None}
    assert set(rows) == {id(holder)}
    assert rows[id(holder)][0] != "guess"
    assert raw["holders"]["unexplained"] == 0
    if kind == "coroutine":
        holder.close()


@functools.lru_cache(maxsize=64)
def bounded(number: object, **_more: object) -> Marker:
    return Marker()


@functools.cache
def unbounded(_number: object) -> Marker:
    return Marker()


def test_what_a_cache_of_functools_holds_is_named_by_its_key() -> None:
    """Links of a bounded cache are held by its dict and its ring, results of an unbounded one by the dict."""
    addresses = [id(bounded(number)) for number in range(1000, 1040)]
    link, *more = meminspect.holders(bounded(1007), max_pause=None).rows
    assert not more or FREE_THREADED
    assert (link.node.type_name, link.how.role, link.how.name) == ("_lru_list_elem", "field", "its result")
    raw = _native.references_capture([link.node.address], holders=True, max_pause=None)
    held = {node[2]: how for node, how, _ in raw["holders"]["rows"]}
    assert held == {b"_lru_cache_wrapper": ("value", 1007, None), b"dict": ("value", 1007, None)}
    assert raw["holders"]["unexplained"] == 0
    for place in (0, 20, 39):
        path = meminspect.why(addresses[place], max_pause=None).path_to_root
        assert path.text.endswith(f".bounded[{1000 + place}] (its result) (Marker)"), path.text
    path = meminspect.path_to_root(bounded(1, more=2), max_pause=None)
    assert path.text.endswith(".bounded[a key] (its result) (Marker)"), path.text
    path = meminspect.path_to_root(unbounded("a"), max_pause=None)
    assert path.text.endswith(".unbounded (its cache)['a'] (Marker)"), path.text
    before = meminspect.retained(bounded, max_pause=None)
    assert before.objects is not None
    assert before.objects >= 41 * 2
    bounded.cache_clear()
    after = meminspect.retained(bounded, max_pause=None)
    assert after.objects is not None
    assert before.objects - after.objects >= 41 * 2  # links and results


@pytest.mark.parametrize(
    "name",
    ["collections.deque", "collections.OrderedDict", "datetime.time", "numpy.ndarray", "functools._lru_cache_wrapper"],
)
def test_a_class_that_is_called_as_one_of_an_extension_is_none(name: str) -> None:
    """Its objects are smaller than what is read of the extension's."""
    holder: Any = type(name, (), {"__slots__": ("marker",)})()
    holder.marker = Marker()
    found = meminspect.holders(holder.marker, max_pause=None)
    assert [(row.node.address, row.how.text) for row in found.rows if row.how] == [(id(holder), ".marker")]
    assert found.unexplained == 0


def test_a_large_object_behind_the_bss_of_a_library_is_no_part_of_it() -> None:
    """What malloc maps may lie in one mapping with the .bss of the library that was loaded last.

    mimalloc rounds up to 64 KiB, and to 512 KiB what is larger than that (mi_segments_page_alloc(), segment.c)."""
    rounded = 512 * 1024 if FREE_THREADED else 8192
    program = (
        "from array import array\n"
        "kept = [bytes(300_000 + number) for number in range(40)]\n"
        "tables = [dict.fromkeys(range(20_000 + number)) for number in range(20)]\n"
        "from meminspect import _native\n"  # is mapped right below
        "raw = _native.graph_capture(None)\n"
        "sizes = dict(zip(array('Q', raw['addresses']), array('I', raw['sizes'])))\n"
        "edges, offsets = array('I', raw['edges']), array('I', raw['offsets'])\n"
        "static = raw['objects'] + raw['roots'].index('static')\n"
        "addresses = array('Q', raw['addresses'])\n"
        "fixed = {addresses[at] for at in edges[offsets[static]:offsets[static + 1]]}\n"
        "import sys\n"
        "for item in [*kept, *tables]:\n"
        "    size = sizes[id(item)] * raw['unit'] - sys.getsizeof(item)\n"
        f"    assert 0 <= size < {rounded}, (type(item), size)\n"
        "    assert id(item) not in fixed, type(item)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_attributes_of_instances() -> None:
    for make in (Plain, materialised):
        plain = make(Marker())
        [row] = [row for row in meminspect.holders(plain.value, max_pause=None).rows if row.node.address is not None]
        assert row.how is not None
        assert row.how.text in (".value", "['value']")
        assert row.node.address == id(plain) or "dict" in row.node.type_name


def test_functions_modules_and_zones_lead_to_their_parts() -> None:
    marker = Marker()
    function, module, zone = closure(1), module_with(marker), Zone(marker)
    function.__dict__["part"] = marker
    when = datetime.datetime(2020, 1, 1, tzinfo=zone)
    found = {row.node.address for row in meminspect.holders(marker, max_pause=None).rows}
    assert id(vars(function)) in found
    assert id(vars(module)) in found
    rows = {row.node.address: row.how for row in meminspect.holders(zone, max_pause=None).rows}
    assert id(when) in rows
    assert rows[id(when)].name == "tzinfo"


def test_code_holds_its_constants_and_a_weak_reference_holds_nothing() -> None:
    namespace: dict[str, Any] = {}
    exec("def made(): return (123456789, 'planted constant', 987654321.5)", namespace)
    code = namespace["made"].__code__
    [constant] = [item for item in code.co_consts if isinstance(item, tuple)]
    if not FREE_THREADED:  # there constants are immortal, and what nothing can make go has no holders
        assert id(code.co_consts) in {row.node.address for row in meminspect.holders(constant, max_pause=None).rows}
    assert id(code) in {row.node.address for row in meminspect.holders(code.co_consts, max_pause=None).rows}
    marker = Marker()
    reference = weakref.ref(marker)
    assert id(reference) not in {row.node.address for row in meminspect.holders(marker, max_pause=None).rows}


def tracked_pairs(limit: int) -> list[tuple[int, set[int]]]:
    """(address of an object, addresses of the tracked objects that the collector says refer to it)."""
    wanted = [item for item in gc.get_objects() if type(item) in (Plain, Slotted)][:limit]
    return [
        (id(item), {id(holder) for holder in gc.get_referrers(item) if holder is not wanted and type(holder) in (
            list, dict, tuple, Plain, Slotted)})
        for item in wanted
    ]  # fmt: skip


def test_holders_are_the_collectors_referrers() -> None:
    kept: list[Any] = []
    for number in range(40):
        inner = Plain([number])
        kept += [inner, {"in": inner}, (inner, number), Slotted(inner, kept)]
    expected = tracked_pairs(60)
    assert len(expected) == 60
    for address, by_collector in expected[::7]:
        raw = _native.references_capture([address], holders=True, max_pause=None)
        found = {node[0] for node, how, _ in raw["holders"]["rows"] if how is None or how[0] != "type"}
        assert by_collector <= found, (address, by_collector - found)


def test_counts_stay_as_they_are() -> None:
    gc.collect()  # what earlier tests left in cycles may not go in between
    items = [Plain([number]) for number in range(50)]
    before = [sys.getrefcount(item) for item in items]
    collections_before = [entry["collections"] for entry in gc.get_stats()]
    count = len(gc.get_objects())
    for _ in range(3):
        _native.references_capture([id(items[0])], holders=True, path=True, retained=True, max_pause=None)
    assert [sys.getrefcount(item) for item in items] == before
    assert abs(len(gc.get_objects()) - count) < 100
    assert len(collections_before) == len(gc.get_stats())


def block_bytes(*items: object) -> int:
    """Bytes as allocated; a chunk of malloc's is 8 bytes more than its usable size."""
    blocks = [meminspect.block(item) for item in items]
    return sum((block.size or 0) + (8 if block.domain.startswith("glibc") else 0) for block in blocks)


def test_the_retained_size_of_a_planted_tree() -> None:
    strings = ["planted " + str(number) * 3 for number in range(200)]
    shared = "shared " + str(len(strings)) * 3
    root = [tuple(strings[:100]), (strings[100], shared)]
    expected = block_bytes(root, *root, *strings[:101])  # the lists' own buffers come on top
    others = [shared, strings[150]]
    del strings[:101]
    found = meminspect.retained(root, max_pause=None)
    assert found.objects == 1 + 2 + 101
    assert found.bytes is not None
    assert found.own_bytes is not None
    items = found.own_bytes - block_bytes(root)
    assert 16 <= items <= 96  # two pointers, and what a debug allocator puts around them
    assert found.bytes == expected + items
    assert others


@pytest.mark.skipif(FREE_THREADED, reason="large blocks of this build are mimalloc's, as small ones are")
@pytest.mark.parametrize("allocator", ["pymalloc", "pymalloc_debug", "malloc", "malloc_debug"])
def test_large_blocks_count_under_every_allocator(allocator: str) -> None:
    """A chunk of malloc has 8 bytes beside what was asked and is rounded up to 16; debug hooks pad by 24 each."""
    asked = [sys.getsizeof(bytes(1000))] * 100 + [800]
    code = (
        "import meminspect; v = [bytes(1000) for _ in range(100)]; print(meminspect.retained(v, max_pause=None).bytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONMALLOC": allocator}, capture_output=True, text=True,
    )  # fmt: skip
    padded = {"pymalloc": 0, "malloc": 0, "malloc_debug": 24, "pymalloc_debug": 48}[allocator]
    expected = sum((size + padded + 8 + 15) // 16 * 16 for size in asked)
    assert done.returncode == 0, done.stderr
    assert expected <= int(done.stdout) <= expected + 200 + 16 * len(asked)  # the list itself, its spare places


def test_what_two_hold_belongs_to_neither() -> None:
    inner = [Marker()]
    left, right = [inner], [inner]
    del inner
    assert meminspect.retained(left, max_pause=None).objects == meminspect.retained(right, max_pause=None).objects == 1
    del right[0]
    assert meminspect.retained(left, max_pause=None).objects == 3


def test_the_whole_is_what_is_live_in_pymalloc_and_what_is_known_beyond() -> None:
    if not _native.allocator_capture()["allocator"].startswith("pymalloc"):
        pytest.skip("needs pymalloc")
    sizes = meminspect.top_retained(5, max_pause=None)
    live = meminspect.heap_map().bytes
    assert live is not None
    assert abs(sizes.small_bytes - live.used_bytes) < 300_000  # what the calls in between made
    assert sizes.small_bytes <= sizes.total_bytes
    assert sizes.unknown_bytes < 0.05 * sizes.small_bytes
    assert sum(row.retained_bytes for row in sizes.roots) + sizes.garbage_bytes <= sizes.total_bytes


def test_the_largest_is_found_with_its_path() -> None:
    global planted_cache
    planted_cache = {"first": [str(number) * 2 for number in range(30_000)]}
    sizes = meminspect.top_retained(300, max_pause=None)  # what else this process imported may be larger
    rows = {row.node.address: row for row in sizes.rows}
    row = rows[id(planted_cache["first"])]
    assert row.under is not None
    assert row.under.address == id(planted_cache)
    assert row.path.root == "modules"
    assert row.path.text.endswith("test_references.planted_cache['first'] (list)")
    assert row.path.object() is planted_cache["first"]
    exact = meminspect.retained(planted_cache["first"], max_pause=None)
    assert exact.bytes == row.retained_bytes
    planted_cache = {}
    with pytest.raises(LookupError):
        row.path.object()


planted_cache: dict[str, list[str]] = {}


def test_paths_name_frames_and_locals() -> None:
    def holding(local: object) -> str:
        return meminspect.path_to_root(local, max_pause=None).text

    text = holding(Marker())
    assert "holding" in text
    assert "local variable local" in text


def test_frames_of_other_threads_are_roots() -> None:
    ready, go = threading.Event(), threading.Event()
    addresses: list[int] = []

    def work() -> None:
        kept = Marker()
        addresses.append(id(kept))
        ready.set()
        go.wait()
        del kept

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        raw = _native.references_capture(addresses, path=True, max_pause=None)
        assert raw["path"][0][0][2] == "frames"
        assert raw["path"][1][1][:2] == ("local", "kept")
        assert raw["path"][1][1][2].endswith("work")
    finally:
        go.set()
        thread.join()


def test_unreachable_cycles_hang_under_a_root_of_their_own() -> None:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        cycle: list[object] = [Marker()]
        cycle.append(cycle)
        address = id(cycle)
        del cycle
        raw = _native.references_capture([address], path=True, top=1, max_pause=None)
        assert raw["targets"] == 1
        assert raw["path"] == []
        assert raw["top"]["garbage_objects"] >= 2
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


def test_an_object_that_only_c_holds() -> None:
    import ctypes

    marker = Marker()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(marker))
    address = id(marker)
    try:
        assert meminspect.holders(marker, max_pause=None).unexplained == 1
        del marker
        raw = _native.references_capture([address], path=True, holders=True, max_pause=None)
        assert raw["path"][0][0][2] == "C"
    finally:
        ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))


def test_what_all_objects_of_a_type_retain() -> None:
    """In an interpreter of its own: a word of what earlier tests left may look like a reference to one of these."""
    program = (
        "import meminspect\n"
        "class Pair:\n"
        "    __slots__ = ('left', 'right')\n"
        "kept = [Pair() for _ in range(100)]\n"
        "for number, pair in enumerate(kept): pair.left, pair.right = 1.5 + number, [number]\n"
        "found = meminspect.why('Pair', max_pause=None)\n"
        "assert (found.targets, found.retained_objects) == (100, 300), found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_why_for_a_type_and_an_address() -> None:
    kept = [Slotted(1.5 + number, [number]) for number in range(100)]
    found = meminspect.why("Slotted", max_pause=None)
    assert found.targets >= 100
    assert any(row.node.type_name == "list" and row.count >= 100 for row in found.holders.rows)
    if FREE_THREADED:
        assert found.arenas is found.arenas_pinned is found.arenas_that_would_return is None
        assert "mimalloc" in found.remarks[0]
    else:
        assert found.arenas is not None
        assert found.arenas_pinned is not None
        assert found.arenas_pinned >= 1
    one = meminspect.why(id(kept[3]), max_pause=None)
    assert one.targets == 1
    assert one.retained_objects == 3
    assert meminspect.why("no such type", max_pause=None).reason is not None
    with pytest.raises(TypeError):
        meminspect.why(1.5)  # type: ignore[arg-type]


def test_object_arrays_of_numpy_hold_their_elements() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.array([Marker(), None, [1]], dtype=object)
    view = array[1:]
    assert id(array) in {row.node.address for row in meminspect.holders(array[0], max_pause=None).rows}
    assert id(array) in {row.node.address for row in meminspect.holders(array[2], max_pause=None).rows}
    assert id(view) not in {row.node.address for row in meminspect.holders(array[2], max_pause=None).rows}
    assert id(view) in {row.node.address for row in meminspect.holders(array, max_pause=None).rows}


@pytest.mark.skipif(FREE_THREADED, reason="no code of an extension runs while threads stand still")
def test_types_that_are_not_known_are_asked_on_request_alone() -> None:
    """Words of an object show some of its references, as guesses; its own tp_traverse tells all of them."""
    markers = [Marker() for _ in range(8)]
    repeat = itertools.repeat(markers[0])
    [scanned] = [
        row.how for row in meminspect.holders(markers[0], max_pause=None).rows if row.node.address == id(repeat)
    ]
    [called] = [
        row.how
        for row in meminspect.holders(markers[0], max_pause=None, foreign="call").rows
        if row.node.address == id(repeat)
    ]
    assert scanned is not None
    assert called is not None
    assert (scanned.role, called.role) == ("guess", "traverse")
    parent = ElementTree.Element("parent")
    for number in range(8):  # more than four lie outside the object
        ElementTree.SubElement(parent, f"child{number}")
    last = parent[7]
    gc.collect()
    found = meminspect.holders(last, max_pause=None, foreign="call")
    assert [row.how.role for row in found.rows if row.node.address == id(parent) and row.how] == ["traverse"]
    assert meminspect.top_retained(1, max_pause=None).called == 0
    sizes = meminspect.top_retained(1, max_pause=None, foreign="call")
    assert sizes.called > 8
    assert sizes.guesses < meminspect.top_retained(1, max_pause=None).guesses
    with pytest.raises(ValueError, match="foreign"):
        meminspect.holders(last, foreign="ask")


def reached(graph: dict[str, Any], without: int = -1) -> tuple[int, bytearray]:
    """What the roots lead to past one node, in units, and a mark for each node that is."""
    offsets, edges, sizes = (array.array("I", graph[name]) for name in ("offsets", "edges", "sizes"))
    seen = bytearray(len(sizes))
    todo = list(range(graph["objects"], len(sizes)))
    while todo:
        at = todo.pop()
        if seen[at] or at == without:
            continue
        seen[at] = 1
        todo.extend(edges[offsets[at] : offsets[at + 1]])
    return sum(size for size, there in zip(sizes, seen, strict=True) if there), seen


def test_the_tree_of_this_process_is_what_brute_force_finds() -> None:
    graph = _native.graph_capture(None)
    count = graph["objects"]
    roots = array.array("I", range(count, count + len(graph["roots"])))
    found = _native._dominators(graph["offsets"], graph["edges"], graph["sizes"], roots.tobytes())
    number, retained = array.array("I", found["number"]), array.array("Q", found["retained"])
    assert retained[0] == sum(array.array("I", graph["sizes"]))
    all_of_it, held = reached(graph)
    largest = sorted((node for node in range(count) if held[node]), key=lambda node: -retained[number[node]])
    for node in largest[:3] + largest[1000:1003]:
        assert retained[number[node]] == all_of_it - reached(graph, node)[0]


def test_a_pause_that_is_too_short_is_said() -> None:
    with pytest.raises(meminspect.NativeError) as caught:
        meminspect.top_retained(1, max_pause=0)
    assert caught.value.code == "late"
