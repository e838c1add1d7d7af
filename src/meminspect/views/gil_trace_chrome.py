"""A trace of the GIL as Chrome's trace events (JSON): what is no event (those are csrc/gil/gil_encode.c's).

For a short trace, or a window of a long one: viewers read the whole file into memory.
"""

from __future__ import annotations

import json
from typing import Any


def head(pid: int, program: str | None) -> bytes:
    return b'{"displayTimeUnit":"ns","traceEvents":[\n' + line("process_name", pid, None, name=program or "python")


def line(what: str, pid: int, tid: int | str | None, **args: Any) -> bytes:
    event = {"ph": "M", "pid": pid, **({} if tid is None else {"tid": tid}), "name": what, "args": args}
    return json.dumps(event, separators=(",", ":")).encode()


def thread(pid: int, row: int, native_id: int, name: str) -> bytes:
    return b",\n" + line("thread_name", pid, native_id, name=name)


def gil(pid: int, index: int) -> bytes:
    return b",\n" + line("thread_name", pid, f"collections {index}", name="garbage collection")


def foot() -> bytes:
    return b"\n]}\n"
