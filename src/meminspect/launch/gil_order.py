"""What a program is asked for whose GIL is traced (native/gil_trace.pxi, gil_record)."""

from __future__ import annotations

import os

from meminspect.launch.hook import Order


def order_trace(fd: int, size: int, attribution: bool = False, long_hold_ns: int = 0) -> tuple[Order, str]:
    """The order, and its word: events into the file in memory `fd` of this process, at most `size` bytes of it."""
    return Order(function="gil_record", start=True), f"{os.getpid()}:{fd}:{size}:{int(attribution)}:{long_hold_ns}"
