"""The header of one object: its bytes, decoded as this version and build of CPython lays them out.

Structures: PyObject and PyVarObject (Include/object.h), PyGC_Head (Include/internal/pycore_gc.h), the pre-header
(Include/internal/pycore_object.h), reference counts (Include/refcount.h), lv_tag of int (pycore_long.h).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from .. import _native
from ..models.objects import HeaderField, ObjectHeader

GC_UNREACHABLE = 4  # _PyGC_BITS_UNREACHABLE of pycore_gc.h
ABSENT = -1
LONG_SUBCLASS = 1 << 24  # Py_TPFLAGS_LONG_SUBCLASS
MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT
MANAGED_WEAKREF = 1 << 3  # Py_TPFLAGS_MANAGED_WEAKREF, from 3.12 on
WORD = 8

# _gc_prev's flags, the same in every version with a GIL (pycore_gc.h)
PREV_FINALIZED, PREV_COLLECTING, FLAGS_OF_PREV = 1, 2, 3
# ob_gc_bits of free-threaded builds (pycore_gc.h)
GC_BITS = {
    1: "tracked",
    2: "finalized",
    4: "unreachable",
    8: "frozen",
    16: "shared",
    32: "alive",
    64: "deferred",
}
# ob_flags from 3.14 on (refcount.h, object.h)
OBJECT_FLAGS = {1: "immortal", 2: "legacy ABI check", 4: "statically allocated", 8: "type revealed"}
# the two low bits of ob_ref_shared (refcount.h)
SHARED_STATES = ("not shared", "maybe weakly referenced", "queued for merging", "merged")


def header(obj: object, /) -> ObjectHeader:
    """Every field of an object's header, as this version of CPython lays it out.

    The figures are the fields as they stand during the call; no reference is added, and nothing of the object is called
    (no `__class__`, no repr). `call_holds` says how many of the counted references are the call's own: two up to
    CPython 3.13 (the parameter of this function and the value pushed to read it), none from 3.14 on for a local
    variable of the caller, where both are borrowed.

    Raises NativeError when no layout could be verified for this interpreter.

    >>> import meminspect
    >>> shown = meminspect.header(None)
    >>> shown.type_name, shown.gc
    ('NoneType', False)
    """
    return build(_native.header_capture(obj))


def build(raw: Mapping[str, Any]) -> ObjectHeader:
    """The model of what `_native.header_capture` returned."""
    return decode(raw)


def decode(raw: Mapping[str, Any]) -> ObjectHeader:
    """Decodes the bytes of a header. Pure: it reads nothing but `raw`; raises ValueError when that makes no sense."""
    try:
        return _Decoder(raw).model()
    except (KeyError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(f"not the header of an object: {type(error).__name__}: {error}") from error


class _Decoder:
    """Reads fields out of the bytes by the numbers of one layout; collects them with what they mean."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.layout: Mapping[str, int] = raw["layout"]
        if not isinstance(raw["memory"], bytes):  # of a number bytes() would make as many zeros
            raise TypeError(f"its memory is {type(raw['memory']).__name__}")
        self.memory: bytes = raw["memory"]
        self.address: int = raw["address"]
        self.before: int = self.address - raw["start"]
        self.free_threaded = bool(self.layout["free_threaded"])
        if not 0 <= self.before <= len(self.memory) - self.layout["object_size"]:
            raise ValueError("the bytes do not hold an object's header")
        self.fields: list[HeaderField] = []

    # -- reading --

    def has(self, name: str) -> bool:
        return self.layout[name] != ABSENT

    def read(self, offset: int, size: int, *, signed: bool = False) -> int:
        """A number at an offset from the object, which is negative before it."""
        begin = self.before + offset
        if begin < 0 or size <= 0 or begin + size > len(self.memory):
            raise ValueError(f"a field of {size} bytes at {offset:+d} lies outside the bytes")
        return int.from_bytes(self.memory[begin : begin + size], sys.byteorder, signed=signed)

    def field(self, name: str, number: str, size: int, *, signed: bool = False) -> int:
        return self.field_at(name, self.layout[number], size, signed=signed)

    def field_at(self, name: str, offset: int, size: int, *, signed: bool = False) -> int:
        value = self.read(offset, size, signed=signed)
        self.fields.append(HeaderField(name=name, offset=offset, size=size, value=value, meaning=""))
        return value

    def means(self, text: str) -> None:
        """Says what the field read last means."""
        last = self.fields[-1]
        self.fields[-1] = HeaderField(last.name, last.offset, last.size, last.value, text)

    # -- the parts --

    def model(self) -> ObjectHeader:
        managed = self.pre_header()
        head = self.gc_head()
        count = self.counts()
        type_address = self.field("ob_type", "object_type", WORD)
        name = self.raw["type_name"].decode("utf-8", "backslashreplace")
        self.means(f"type {name}")
        length = self.length()
        if self.free_threaded and self.raw["gc"] is not None:
            head = self.gc_bits(count["gc_bits"]) if self.raw["gc"] else head
        holds, shown, note = self.explain(count["refcount"], count["immortal"])
        return ObjectHeader(
            address=self.address,
            type_name=name,
            type_address=type_address,
            refcount=count["refcount"],
            call_holds=holds,
            getrefcount=shown,
            getrefcount_note=note,
            immortal=count["immortal"],
            deferred=count["deferred"],
            merged=count["merged"],
            local_refcount=count["local"],
            shared_refcount=count["shared"],
            owner_thread=count["owner"],
            flags=count["flags"],
            gc=self.raw["gc"],
            tracked=head["tracked"],
            generation=self.raw["generation"] if head["tracked"] else None,
            generation_reason=self.generation_reason(head["tracked"]),
            finalized=head["finalized"],
            unreachable=head["unreachable"],
            managed_dict=managed["dict"],
            managed_weakrefs=managed["weakrefs"],
            length=length,
            fields=tuple(sorted(self.fields, key=lambda field: field.offset)),
            start=self.raw["start"],
            memory=self.memory,
        )

    def pre_header(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {"dict": None, "weakrefs": None}
        flags = self.raw["type_flags"]
        if flags & MANAGED_WEAKREF and self.has("object_managed_weakrefs"):
            found["weakrefs"] = self.field("managed weak references", "object_managed_weakrefs", WORD)
            self.means("list of weak references" if found["weakrefs"] else "no weak reference")
        if not flags & MANAGED_DICT:
            return found
        if self.has("object_managed_values"):
            values = self.field("managed values", "object_managed_values", WORD)
            self.means("attribute values without a dict" if values else "none: the attributes are in a dict")
        word = found["dict"] = self.field("managed dict", "object_managed_dict", WORD)
        tag = self.layout["object_managed_values_tag"]
        if tag != ABSENT and word & tag:
            self.means("tagged: attribute values without a dict")
        else:
            self.means("the instance's dict" if word else "no dict has been asked for")
        return found

    def gc_head(self) -> dict[str, bool | None]:
        head: dict[str, bool | None] = {"tracked": None, "finalized": None, "unreachable": None}
        if not self.raw["gc"] or not self.has("gc_head_size"):
            return head
        start = -self.layout["gc_head_size"]
        following = self.field_at("_gc_next", start + self.layout["gc_next"], WORD)
        head["tracked"] = following != 0
        meaning = "next GC head of its generation" if following else "0: not tracked"
        if following and self.has("gc_visited_space"):
            meaning += f", old-space bit {following & 1}"
        self.means(meaning)
        previous = self.field_at("_gc_prev", start + self.layout["gc_prev"], WORD)
        head["finalized"] = bool(previous & PREV_FINALIZED)
        head["unreachable"] = bool(previous & PREV_COLLECTING)
        told = ["finalizer has run"] * bool(head["finalized"]) + ["found unreachable"] * bool(head["unreachable"])
        if previous & ~FLAGS_OF_PREV:
            told.insert(0, "previous GC head")
        self.means(", ".join(told) or "no previous head, no flags")
        return head

    def gc_bits(self, bits: int) -> dict[str, bool | None]:
        return {"tracked": bool(bits & 1), "finalized": bool(bits & 2), "unreachable": bool(bits & 4)}

    def counts(self) -> dict[str, Any]:
        return self.split_counts() if self.free_threaded else self.one_count()

    def one_count(self) -> dict[str, Any]:
        size = self.layout["object_refcount_size"]
        refcount = self.field("ob_refcnt", "object_refcount", size, signed=size == WORD)
        bit = self.layout["object_immortal_bit"]
        immortal = bit != ABSENT and bool(refcount >> bit & 1)
        self.means("immortal: never counted" if immortal else f"{refcount} references")
        if self.has("object_overflow"):
            self.field("ob_overflow", "object_overflow", 2)
            self.means("room above the count, for extensions that count immortal objects")
        return {
            "refcount": refcount,
            "immortal": immortal,
            "deferred": None,
            "merged": None,
            "local": None,
            "shared": None,
            "owner": None,
            "flags": self.object_flags(),
        }

    def split_counts(self) -> dict[str, Any]:
        owner = self.field("ob_tid", "object_tid", WORD)
        # Python/gc_free_threading.c, worklist_push: the collector links what it found unreachable through this word
        if self.read(self.layout["object_gc_bits"], 1) & GC_UNREACHABLE:
            owner = 0
            self.means("the collector's link to the next unreachable object, while finalisers run: no thread owns it")
        else:
            self.means(f"owned by thread {owner:#x}" if owner else "owned by no thread: immortal, or its counts merged")
        flags = self.object_flags()
        mutex = self.field("ob_mutex", "object_mutex", 1)
        self.means(("locked" if mutex & 1 else "unlocked") + (", threads wait for it" if mutex & 2 else ""))
        bits = self.field("ob_gc_bits", "object_gc_bits", 1)
        self.means(_bits(bits, GC_BITS))
        local = self.field("ob_ref_local", "object_ref_local", 4)
        immortal = local == 0xFFFFFFFF
        self.means("immortal: never counted" if immortal else f"{local} references counted by the owning thread")
        word = self.field("ob_ref_shared", "object_ref_shared", WORD, signed=True)
        shared, state = word >> 2, word & 3
        deferred = bool(bits & 64)
        self.means(
            f"{shared} references counted by other threads, state {state}: {SHARED_STATES[state]}"
            + (", with PY_SSIZE_T_MAX / 8 added because counting is deferred" if deferred else "")
        )
        return {
            "refcount": local + shared,
            "immortal": immortal,
            "deferred": deferred,
            "merged": state == 3,
            "local": local,
            "shared": shared,
            "owner": owner or None,
            "flags": flags,
            "gc_bits": bits,
        }

    def object_flags(self) -> int | None:
        if not self.has("object_flags"):
            return None
        flags = self.field("ob_flags", "object_flags", 2)
        self.means(_bits(flags, OBJECT_FLAGS))
        return flags

    def length(self) -> int | None:
        if not self.raw["var_sized"]:
            return None
        shift = self.layout["long_tag_shift"]
        if self.raw["type_flags"] & LONG_SUBCLASS and shift != ABSENT:
            tag = self.field("lv_tag", "object_var_size", WORD)
            digits = tag >> shift
            sign = ("positive", "zero", "negative", "?")[tag & 3]
            self.means(f"{digits} digits, {sign}")
            return digits
        size = self.field("ob_size", "object_var_size", WORD, signed=True)
        if self.raw["type_flags"] & LONG_SUBCLASS:  # up to 3.11 the sign of the size is the number's
            self.means(f"{abs(size)} digits, {'negative' if size < 0 else 'positive' if size else 'zero'}")
            return abs(size)
        self.means(f"{size} items")
        return size

    def generation_reason(self, tracked: bool | None) -> str | None:
        if tracked and self.free_threaded:
            return "free-threaded builds keep no lists of generations"
        if tracked:
            reason: str | None = self.raw["generation_reason"]
            return reason
        if self.raw["gc"] is None:
            return "a function of the type decides whether it is collected, and is not called"
        return "it is not tracked by the collector" if self.raw["gc"] else "its type takes no part in cyclic collection"

    def explain(self, refcount: int, immortal: bool) -> tuple[int | None, int | None, str]:
        """References that the call holds, sys.getrefcount in the caller's place, and why they differ."""
        if immortal:
            return (
                0,
                None if self.free_threaded else refcount,
                "immortal objects are not counted: the number says nothing",
            )
        frame_holds, borrows = self.raw["frame_holds"], bool(self.raw["frames_borrow"])
        if frame_holds is None:
            return None, None, "the calling frame could not be read, so it is unknown which references are the call's"
        if not borrows:
            note = (
                "header() held two of the references counted: its parameter and the value pushed to read it. "
                "sys.getrefcount(obj) in the same place counts one of its own, its argument: "
                "that is why a fresh local shows 2 up to CPython 3.13"
            )
            return int(frame_holds) + 1, refcount - 1, note
        if frame_holds:
            note = (
                "the argument was no plain local variable, so the interpreter holds one reference to pass it; "
                "sys.getrefcount(obj) would count the same one"
            )
        else:
            note = (
                "from CPython 3.14 on a local variable is passed as a borrowed reference: neither header() nor "
                "sys.getrefcount(obj) adds to the count, and a fresh local shows 1"
            )
        return int(frame_holds), refcount, note


def _bits(value: int, names: Mapping[int, str]) -> str:
    return ", ".join(_set_bits(value, names)) or "none set"


def _set_bits(value: int, names: Mapping[int, str]) -> Iterator[str]:
    for position in range(value.bit_length()):
        bit = 1 << position
        if value & bit:
            yield names.get(bit, f"bit {position}")
