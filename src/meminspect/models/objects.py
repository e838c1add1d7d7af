"""The header of one object."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model


@dataclass(frozen=True, repr=False)
class HeaderField(Model):
    """One field of the header as it lies in memory: `offset` is relative to the object, negative before it."""

    name: str
    offset: int
    size: int
    value: int
    meaning: str

    def __repr__(self) -> str:
        return f"<HeaderField {self.name} at {self.offset:+d}: {self.value:#x}>"


@dataclass(frozen=True, repr=False)
class ObjectHeader(Model):
    """`header(obj)`: every field of the object's header as this version of CPython lays it out (Include/object.h).

    refcount        -- the count as it stands during the call (local + shared in free-threaded builds)
    getrefcount     -- what sys.getrefcount(obj) gives in the same place, `getrefcount_note` explains the difference
    call_holds      -- how many references the call itself holds (0 where arguments are borrowed)
    immortal, deferred, merged -- what is true of the count; None where the version has no such state
    local_refcount, shared_refcount, owner_thread -- free-threaded builds, else None
    tracked, generation, finalized, unreachable -- the GC head, None for objects without one
    managed_dict, managed_weakrefs -- words of the pre-header, None where there is none
    length          -- ob_size of var-sized objects (for int the number of digits), else None
    fields          -- each field with offset, raw value and meaning; `memory` are the bytes from `start` on
    """

    address: int
    type_name: str
    type_address: int
    refcount: int
    call_holds: int
    getrefcount: int
    getrefcount_note: str
    immortal: bool
    deferred: bool | None
    merged: bool | None
    local_refcount: int | None
    shared_refcount: int | None
    owner_thread: int | None
    flags: int | None
    gc: bool
    tracked: bool | None
    generation: int | None
    generation_reason: str | None
    finalized: bool | None
    unreachable: bool | None
    managed_dict: int | None
    managed_weakrefs: int | None
    length: int | None
    fields: tuple[HeaderField, ...]
    start: int
    memory: bytes

    def to_dict(self) -> dict[str, object]:
        plain = super().to_dict()
        plain["memory"] = self.memory.hex()
        return plain

    def __repr__(self) -> str:
        return f"<ObjectHeader {self.type_name} at {self.address:#x}: refcount {self.refcount}>"
