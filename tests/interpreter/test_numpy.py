"""numpy's arrays: the bytes that each kind keeps, and the references in its data, held against what was made."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import pytest

import meminspect
from meminspect import census

numpy = pytest.importorskip("numpy")
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_references = pytest.mark.skipif(not WITH_GIL, reason="references are not read in free-threaded builds")
needs_strings = pytest.mark.skipif(
    not hasattr(getattr(numpy, "dtypes", None), "StringDType"), reason="strings of any length are new in numpy 2"
)
DATA = "numpy: array data"
RECORD = [("number", "i4"), ("item", "O"), ("pair", [("x", "f8"), ("item", "O")]), ("grid", "O", (2, 3))]


class Marker:
    __slots__ = ("__weakref__", "value")


def data_of(taken: Any) -> tuple[int, int]:
    rows = [row for row in taken.buffers if row.owner == DATA]
    return sum(row.count for row in rows), sum(row.bytes for row in rows)


def grown(make: Any) -> tuple[int, int, int, Any]:
    """What `make()` adds to the data of arrays, and to the large bytes that nobody owns; with what it returned."""
    census(max_pause=None)
    before = census(max_pause=None)
    made = make()
    after = census(max_pause=None)
    count, size = (new - old for new, old in zip(data_of(after), data_of(before), strict=True))
    unknown = after.large.unknown_bytes - before.large.unknown_bytes if after.large and before.large else 0
    return count, size, unknown, made


KINDS = {
    "objects": lambda: numpy.empty((50, 40), dtype=object),
    "records": lambda: numpy.zeros(300, dtype=RECORD),
    "no dimension": lambda: numpy.array(1.5),
    "fortran": lambda: numpy.ones((30, 70), order="F"),
    "times": lambda: numpy.zeros(900, dtype="M8[ns]"),
    "subclass": lambda: numpy.ones(2000).view(numpy.recarray).copy(),
    "value": lambda: numpy.void(b"x" * 3000),
    "copied record": lambda: numpy.zeros(1, dtype=[("text", "S3000"), ("item", "O")])[0].copy(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_each_kind_is_its_owners(kind: str) -> None:
    count, size, _, made = grown(lambda: [KINDS[kind]() for _ in range(60)])
    assert abs(count - 60) <= 1
    asked = sum(item.nbytes for item in made)
    assert asked <= size + 64 <= asked * 1.05 + 60 * 64 + 64


def test_views_own_nothing() -> None:
    base = numpy.ones((200, 200))
    count, size, _, _ = grown(lambda: [base[at:] for at in range(60)] + [base.T, base.reshape(-1), base[0, :3]])
    assert (count, size) == (0, 0)


def test_mapped_files_are_no_heap(tmp_path: Any) -> None:
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
        count, size, unknown, made = grown(lambda: numpy.memmap(file.name, dtype="u1", mode="w+", shape=(8_000_000,)))
        assert made.nbytes == 8_000_000
        assert count <= 1
        assert size < 100_000
        assert unknown < 1_000_000


@needs_strings
def test_strings_outside_of_their_arena_are_the_arrays() -> None:
    strings = numpy.array(["short"] * 200, dtype=numpy.dtypes.StringDType())

    def write() -> None:
        for at in range(200):
            strings[at] = "y" * (3000 + at)

    count, size, unknown, _ = grown(write)
    assert 190 <= count <= 200
    assert 190 * 3000 <= size <= 200 * 3300
    assert unknown < 10_000


# -- references


@pytest.fixture
def marker() -> Marker:
    return Marker()


def holders(item: object) -> set[int | None]:
    return {row.node.address for row in meminspect.holders(item, max_pause=None).rows}


def put_in_objects(marker: Marker) -> Any:
    array = numpy.empty((3, 4), dtype=object, order="F")
    array[1, 2] = marker
    return array


def put_in_no_dimension(marker: Marker) -> Any:
    return numpy.array(marker, dtype=object)


def put_in_field(marker: Marker) -> Any:
    array = numpy.zeros(5, dtype=RECORD)
    array[3]["item"] = marker
    return array


def put_in_nested_field(marker: Marker) -> Any:
    array = numpy.zeros((2, 5), dtype=RECORD)
    array[1, 4]["pair"]["item"] = marker
    return array


def put_in_subarray(marker: Marker) -> Any:
    array = numpy.zeros(5, dtype=RECORD)
    array["grid"][2, 1, 2] = marker
    return array


def put_in_titled_field(marker: Marker) -> Any:
    array = numpy.zeros(5, dtype=[(("a title", "item"), "O"), ("rest", "V3")])
    array["item"][4] = marker
    return array


@needs_references
@pytest.mark.parametrize(
    "put",
    [
        put_in_objects,
        put_in_no_dimension,
        put_in_field,
        put_in_nested_field,
        put_in_subarray,
        put_in_titled_field,
    ],
)
def test_objects_in_data_are_held_by_its_owner(put: Any, marker: Marker) -> None:
    owner = put(marker)
    found = meminspect.holders(marker, max_pause=None).rows
    [row] = [row for row in found if row.node.address == id(owner)]
    assert row.how is not None
    assert row.how.role == "item"
    assert sum(row.node.address == id(owner) for row in found) == 1
    if isinstance(owner, numpy.ndarray):
        view = owner[...]
        assert id(view) not in holders(marker)
        assert id(view) in holders(owner)


@needs_references
def test_records_refer_to_their_arrays(marker: Marker) -> None:
    array = put_in_field(marker)
    record, copied = array[3], array[3].copy()
    assert id(record) in holders(array)
    assert id(copied) in holders(copied.base)
    assert {id(array), id(copied.base)} <= holders(marker)
    assert not {id(record), id(copied)} & holders(marker)


@needs_references
def test_what_an_array_retains_is_in_its_data() -> None:
    """700 markers that only the records hold go with them, and with a view none of them."""
    array = numpy.zeros(100, dtype=RECORD)
    for record in array:
        record["item"] = Marker()
        for place in numpy.ndindex(2, 3):
            record["grid"][place] = Marker()
    view = array[:50]
    whole = meminspect.retained(array, max_pause=None)
    part = meminspect.retained(view, max_pause=None)
    assert 701 <= whole.objects <= 720, whole
    assert part.objects <= 3, part
