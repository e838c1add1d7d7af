"""`python -m meminspect.store.worker FD OPTIONS`: writes the snapshot of a process that measured itself.

FD is a file in memory with one record of the captures (csrc/launch/record.h), OPTIONS a JSON object: path, force,
context. The answer is one JSON object on stdout: the manifest's `tables`, or {"error": text}. The exit status is 0
either way: a process that collects all of its children (waitpid(-1)) may take it away.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from typing import Any

from ..errors import MeminspectError
from ..launch.records import HEADER, MAGIC, read_all
from .write import require, write_raw


def record_value(fd: int, offset: int = 0) -> tuple[Any, int]:
    """What one record of a file holds, and where the next one begins. The file is our own native code's."""
    magic, _, _, _, length, _, _ = HEADER.unpack(os.pread(fd, HEADER.size, offset))
    if magic != MAGIC:
        raise ValueError("no record")
    start = offset + HEADER.size
    return marshal.loads(read_all(fd, length, start)), start + length


def answer(fd: int, options: dict[str, Any]) -> dict[str, Any]:
    try:
        require("pyarrow")
        raw, _ = record_value(fd)
        return {"tables": write_raw(raw, options["context"], options["path"], force=options["force"])["tables"]}
    except MeminspectError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"cannot write {options['path']}: {error.strerror or error}"}


if __name__ == "__main__":
    json.dump(answer(int(sys.argv[1]), json.loads(sys.argv[2])), sys.stdout)
