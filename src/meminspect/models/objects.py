"""The header of one object."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown


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
    call_holds      -- how many references the call itself holds (0 where arguments are borrowed); both are None when
                       the frame that would tell could not be read (`getrefcount_note` says so)
    immortal, deferred, merged -- what is true of the count; None where the version has no such state
    local_refcount, shared_refcount, owner_thread -- free-threaded builds, else None
    gc              -- it takes part in cyclic collection; None when a function of its type decides, which is not called
    tracked, generation, finalized, unreachable -- the GC head, None for objects without one; generation 3 is the
                       permanent one of gc.freeze(); unreachable: a collection under way has found it to be garbage
    managed_dict, managed_weakrefs -- addresses in the pre-header (0 while unused), None where there is none; in 3.12
                       managed_dict may point to values instead of a dict: `fields` says which
    length          -- ob_size of var-sized objects (for int the number of digits, for a type its slots'
                       members), else None
    fields          -- each field with offset, raw value and meaning; `memory` are the bytes from `start` on
    """

    address: int
    type_name: str
    type_address: int
    refcount: int
    call_holds: int | None
    getrefcount: int | None
    getrefcount_note: str
    immortal: bool
    deferred: bool | None
    merged: bool | None
    local_refcount: int | None
    shared_refcount: int | None
    owner_thread: int | None
    flags: int | None
    gc: bool | None
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
        return f"<ObjectHeader {shown(self.type_name)} at {self.address:#x}: refcount {self.refcount}>"
