"""Every object and reference of a snapshot: from the columns of the capture to tables, and back to the same columns.

The columns are those of `_native.graph_capture()` (native/graph.pxi): nodes are objects in order of address, then the
roots; `offsets` and `edges` say which nodes each refers to.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SnapshotError
from ..models.snapshot import Snapshot

ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Graph:
    """The nodes and references of a snapshot, as dense arrays.

    objects   -- how many nodes are objects; the ones behind them are roots
    addresses -- of each object, ascending
    names     -- (module or None, type) by what `types` has; types -- one for each object
    roots     -- names of the roots, in the order of their nodes
    sizes     -- bytes of each node; unexplained -- references of each object that nothing explains
    offsets, edges -- node n refers to edges[offsets[n]:offsets[n + 1]]
    """

    objects: int
    addresses: array[int]
    names: tuple[tuple[str | None, str], ...]
    types: array[int]
    roots: tuple[str, ...]
    sizes: array[int]
    unexplained: array[int]
    offsets: array[int]
    edges: array[int]

    @property
    def nodes(self) -> int:
        return len(self.sizes)


def batches(table: str, raw: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The columns of `objects` or `edges` as Arrow arrays, a part of the rows at a time."""
    import pyarrow as pa

    columns = object_columns(raw) if table == "objects" else edge_columns(raw)
    rows = len(columns[0])
    for start in range(0, rows, ROWS_AT_ONCE):
        part = [column.slice(start, ROWS_AT_ONCE) for column in columns]
        yield [item.combine_chunks() if isinstance(item, pa.ChunkedArray) else item for item in part]


def words(raw: bytes, kind: Any) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(raw) * 8 // kind.bit_width, [None, pa.py_buffer(raw)])


def object_columns(raw: Mapping[str, Any]) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    roots = len(raw["roots"])
    nodes = raw["objects"] + roots
    names = [[shown(part) for part in name] for name in raw["names"]]
    types = words(raw["types"], pa.uint32()).cast(pa.int32())

    def of_types(place: int, of_roots: Sequence[str | None]) -> Any:
        values = pa.array([name[place] for name in names], pa.string())
        return pa.chunked_array([pc.take(values, types), pa.array(of_roots, pa.string())])

    none = [None] * roots
    return [
        pa.array(range(nodes), pa.int64()),
        pa.chunked_array([words(raw["addresses"], pa.uint64()), pa.array(none, pa.uint64())]),
        of_types(1, list(raw["roots"])),
        of_types(0, none),
        pc.multiply(words(raw["sizes"], pa.uint32()).cast(pa.int64()), pa.scalar(raw["unit"], pa.int64())),
        pa.chunked_array([words(raw["unexplained"], pa.uint32()).cast(pa.int64()), pa.array(none, pa.int64())]),
    ]


def edge_columns(raw: Mapping[str, Any]) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = words(raw["offsets"], pa.uint32()).cast(pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, words(raw["edges"], pa.uint32()).cast(pa.int64()))
    return [pc.list_parent_indices(lists).cast(pa.int64()), pc.list_flatten(lists)]


def shown(name: bytes | None) -> str | None:
    """A name of the program as a table can hold it."""
    return None if name is None else name.decode("utf-8", "backslashreplace")


def graph(snapshot: Snapshot) -> Graph:
    """The graph of a snapshot taken with `objects=True`; SnapshotError when it has none or contradicts itself."""
    for name in ("objects", "edges"):
        if name not in snapshot.tables:
            raise SnapshotError(snapshot.missing.get("objects") or f"{snapshot.path} was taken without --objects")
    return graph_of(snapshot.path, snapshot.table("objects"), snapshot.table("edges"))


def graph_of(path: str, objects: Any, edges: Any) -> Graph:
    import pyarrow as pa
    import pyarrow.compute as pc

    def contradicts(what: str) -> SnapshotError:
        return SnapshotError(f"{path} is damaged: {what}")

    nodes = objects.num_rows
    ids, addresses = objects["id"], objects["address"]
    count = nodes - addresses.null_count
    if nodes and not pc.all(pc.equal(ids, pa.array(range(nodes), pa.int64()))).as_py():
        raise contradicts("its objects are not numbered one by one")
    if addresses.slice(0, count).null_count:
        raise contradicts("its roots do not stand behind its objects")
    for name in ("source", "target"):
        bounds = pc.min_max(edges[name]).as_py()
        if edges.num_rows and not 0 <= bounds["min"] <= bounds["max"] < nodes:
            raise contradicts("a reference names no object")
    sources = column_of(edges["source"], "q")
    if any(sources[at] > sources[at + 1] for at in range(len(sources) - 1)):
        raise contradicts("its references are not in order")
    offsets = array("I", bytes(4 * (nodes + 1)))
    for source in sources:
        offsets[source + 1] += 1
    for node in range(nodes):
        offsets[node + 1] += offsets[node]
    names: dict[tuple[str | None, str], int] = {}
    types = array("I")
    modules, kinds = objects["module"].slice(0, count).to_pylist(), objects["type"].to_pylist()
    for module, kind in zip(modules, kinds[:count], strict=True):
        types.append(names.setdefault((module, kind), len(names)))
    return Graph(
        objects=count,
        addresses=column_of(addresses.slice(0, count), "Q"),
        names=tuple(names),
        types=types,
        roots=tuple(kinds[count:]),
        sizes=column_of(objects["bytes"], "q"),
        unexplained=column_of(objects["unexplained"].slice(0, count), "q"),
        offsets=offsets,
        edges=column_of(edges["target"], "q"),
    )


def column_of(column: Any, code: str) -> array[int]:
    """The numbers of a column without nulls."""
    found: array[int] = array(code)
    for chunk in column.chunks:
        if len(chunk):
            data = memoryview(chunk.buffers()[1]).cast("B")
            found.frombytes(data[chunk.offset * 8 : (chunk.offset + len(chunk)) * 8])
    return found
