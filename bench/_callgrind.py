"""A loop that lets the GIL go and takes it again so often: what bench/gil_trace.py runs under callgrind.

python bench/_callgrind.py TURNS untraced | traced | attributed
"""

from __future__ import annotations

import ctypes
import sys


def loop(turns: int) -> None:
    function = ctypes.CDLL(None).getppid
    for _ in range(turns):
        function()


def main(turns: int, how: str) -> None:
    from meminspect import gil

    loop(10)
    if how == "untraced":
        loop(turns)
        return
    with gil.trace(collections=False, attribution=how == "attributed", long_hold_s=0, memory_bytes=16 << 20):
        loop(turns)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
