"""A trace of the GIL as Perfetto's protobuf: the packets that are not events (those are csrc/gil/gil_encode.c's).

Field numbers are those of protos/perfetto/trace/*.proto, which are never given another meaning. Times are
CLOCK_MONOTONIC, with a snapshot of the other clocks, so that the file can be opened beside a system trace of the same
machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

PROCESS, THREAD, WAITERS, COLLECTIONS = range(4)  # kinds of tracks in csrc/gil/gil_encode.h
EVENT_NAMES = (
    "held", "waiting", "collection, generation 0", "collection, generation 1", "collection, generation 2"
)  # fmt: skip
CATEGORIES = ("gil", "gc")
NOTES = ("forced", "asked_by", "collected")
SEQUENCE = 1
REALTIME, MONOTONIC, BOOTTIME = 1, 3, 6  # BuiltinClock
STATE_CLEARED = 1  # SEQ_INCREMENTAL_STATE_CLEARED


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes) -> bytes:
    """A length-delimited field: a message of fields, or text."""
    body = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


def packet(*fields: bytes) -> bytes:
    """One TracePacket of Trace."""
    return message(1, *fields, number(10, SEQUENCE))


def interned(field: int, names: Iterable[str]) -> bytes:
    return b"".join(message(field, number(1, iid), message(2, name.encode())) for iid, name in enumerate(names, 1))


def head(pid: int, program: str | None) -> bytes:
    """Clocks, names, and the process."""
    clocks = ((MONOTONIC, time.CLOCK_MONOTONIC), (BOOTTIME, time.CLOCK_BOOTTIME), (REALTIME, time.CLOCK_REALTIME))
    snapshot = [message(1, number(1, kind), number(2, time.clock_gettime_ns(clock))) for kind, clock in clocks]
    names = interned(1, CATEGORIES) + interned(2, EVENT_NAMES) + interned(3, NOTES)
    process = message(3, number(1, pid), message(6, (program or "python").encode()))
    return (
        packet(message(6, *snapshot, number(2, MONOTONIC)))
        + packet(number(13, STATE_CLEARED), message(12, names), message(59, number(58, MONOTONIC)))
        + packet(message(60, number(1, track(pid, PROCESS, 0)), process))
    )


def track(pid: int, kind: int, row: int) -> int:
    """The uuid of a track, as csrc/gil/gil_encode.c has it."""
    return pid << 24 | kind << 20 | row


def thread(pid: int, row: int, native_id: int, name: str) -> bytes:
    described = message(4, number(1, pid), number(2, native_id), message(5, name.encode()))
    return packet(message(60, number(1, track(pid, THREAD, row)), described))


def gil(pid: int, index: int) -> bytes:
    """The tracks of one GIL: how many wait for it, and collections."""
    of = f" for GIL {index}" if index else ""
    parent = number(5, track(pid, PROCESS, 0))
    waiters = message(2, f"threads waiting{of}".encode())
    runs = message(2, f"garbage collection{of and f', GIL {index}'}".encode())
    return packet(message(60, number(1, track(pid, WAITERS, index)), waiters, parent, message(8))) + packet(
        message(60, number(1, track(pid, COLLECTIONS, index)), runs, parent)
    )


def foot() -> bytes:
    return b""
