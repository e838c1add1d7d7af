"""glibc's dynamic threshold: buffers just under 4 MiB, a small object behind each, all buffers dropped.

The first buffer that is freed was a mapping of its own; that raises the threshold above its size, so later ones come
from the heap, where the small objects keep them. Prints one JSON line: the report, what malloc_info() says, and RSS
before and after what the report suggests. Arguments: ROUNDS BUFFERS.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
from pathlib import Path

import meminspect
from meminspect.views import report_json

SIZE = 4 * 1024 * 1024 - 4096
LIBC = ctypes.CDLL(None)
LIBC.fopen.restype = ctypes.c_void_p
LIBC.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
LIBC.fclose.argtypes = (ctypes.c_void_p,)


def malloc_info() -> dict[str, int]:
    """glibc's own account: bytes free in bins and at the tops (rest) and in fast bins, of all arenas."""
    with tempfile.NamedTemporaryFile() as file:
        stream = LIBC.fopen(file.name.encode(), b"w")
        LIBC.malloc_info(0, stream)
        LIBC.fclose(stream)
        text = Path(file.name).read_text()
    totals = text[text.rindex("</heap>") :]
    return {kind: int(size) for kind, size in re.findall(r'<total type="(\w+)" count="\d+" size="(\d+)"/>', totals)}


def rss() -> int:
    found = re.search(r"^Rss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def main() -> None:
    rounds, buffers = int(sys.argv[1]), int(sys.argv[2])
    meminspect.report()  # what it imports is there before
    small = []
    for _ in range(rounds):
        kept = []
        for _ in range(buffers):
            kept.append(bytearray(SIZE))
            small.append(bytes(700))
        del kept
    said = malloc_info()
    report = meminspect.report()
    document = report_json.document(report)
    before = rss()
    LIBC.malloc_trim(0)
    print(json.dumps({"report": document, "malloc_info": said, "before": before, "after": rss(), "kept": len(small)}))


main()
