"""The file in memory that the launcher shares with the program: the program appends records, the launcher reads them.

It needs nobody to drain it, outlives a program that is killed, and has no name. The format is csrc/launch/record.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import marshal
import os
import struct
import time
from dataclasses import dataclass
from typing import Any

HEADER = struct.Struct("=IIiIQqq")  # mi_record
MAGIC = 0x3152494D
HOOKED, START, EVERY, TAKING, FINAL, FAILED, ORDER = range(1, 8)
PUNCH_HOLE_KEEP_SIZE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True)
class Record:
    """One record; `taken_ns` is CLOCK_MONOTONIC, which launcher and program share."""

    kind: int
    pid: int
    taken_ns: int
    payload: bytes

    def value(self) -> dict[str, Any]:
        """What was measured (START, EVERY, FINAL)."""
        value: dict[str, Any] = marshal.loads(self.payload)
        return value

    def text(self) -> str:
        """What is said (HOOKED, FAILED)."""
        return self.payload.decode("utf-8", "replace")


class RecordFile:
    """The launcher's end. `fd` is inherited by the program, appends only, and stays open here meanwhile."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("meminspect")
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_APPEND)
        self._read = 0

    def order(self, text: str) -> None:
        """Leaves word for the program's process, as the first record: what its capture is to know besides."""
        data = text.encode()
        os.write(self.fd, HEADER.pack(MAGIC, ORDER, os.getpid(), 0, len(data), time.monotonic_ns(), 0) + data)

    def new(self) -> list[Record]:
        """The whole records that were appended since the last call; their memory is given back."""
        records = []
        size = os.fstat(self.fd).st_size
        start = self._read
        while size - self._read >= HEADER.size:
            magic, kind, pid, _, length, monotonic, _ = HEADER.unpack(os.pread(self.fd, HEADER.size, self._read))
            if magic != MAGIC or size - self._read - HEADER.size < length:
                break
            payload = read_all(self.fd, length, self._read + HEADER.size)
            records.append(Record(kind, pid, monotonic, payload))
            self._read += HEADER.size + length
        if self._read > start:
            punch_hole(self.fd, start, self._read - start)
        return records

    def close(self) -> None:
        os.close(self.fd)


def read_all(fd: int, length: int, offset: int) -> bytes:
    parts = []
    while length:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Gives whole pages of what was read back to the system; a program that runs for days would fill memory."""
    page = os.sysconf("SC_PAGESIZE")
    end = (offset + length) // page * page
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.fallocate(fd, PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(end))
