"""A snapshot of this process: measured here, written by another process."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..errors import SnapshotError

FINAL = 5  # csrc/launch/record.h: MI_RECORD_FINAL


def snapshot(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    max_pause: float | None = 1.0,
    consistent: bool = False,
    objects: bool = False,
) -> None:
    """Writes heap map, census, memory tree, collector and GIL of this process, now, as the folder `path` (NAME.mi).

    This process measures (see report() and census()) and hands the captures over in memory; a process of its own
    builds the models and writes Parquet with pyarrow (extra `store`). The folder has its name when it is whole, and is
    for its owner alone. docs/snapshots.md has the tables.

    force -- replace a snapshot of that name, as a whole and at once
    max_pause -- seconds for which each part may keep the process waiting; what is not measured by then is left out
    consistent -- the census walks in a frozen copy (see census()), made right behind the heap map, and what `objects`
        asks for is read in the same copy: both are of one moment, and the manifest says so. The other parts are read
        from the process itself. Where no copy can be made, the snapshot is without them and says why.
    objects -- and every object and reference, which takes up to a hundred bytes an object while it is handed over;
        where max_pause is too short for it, the snapshot is without them and says so

    Raises SnapshotError: pyarrow is missing, the name is taken, it cannot be written.
    """
    name = os.path.abspath(os.fspath(path))
    from ..store import folder

    folder.check_target(name, force=force)
    require_writer()
    captured = os.memfd_create("meminspect-snapshot", os.MFD_CLOEXEC)
    try:
        take(captured, max_pause, consistent, objects)
        write(captured, name, force)
    finally:
        os.close(captured)


def require_writer() -> None:
    """The modules of the extra are there; none of them is imported."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise SnapshotError("snapshots need pyarrow: install the extra: pip install 'meminspect[store]'")
    if not sys.executable:
        raise SnapshotError("snapshots are written by another process, and this one does not know its interpreter")


def take(fd: int, max_pause: float | None, consistent: bool, objects: bool) -> None:
    """The captures as one record."""
    import gc

    from .. import _native

    record = getattr(_native, record_name(consistent, objects))
    record(fd, FINAL, -1, gc.isenabled(), 1e9 if max_pause is None else max_pause)


def record_name(consistent: bool, objects: bool) -> str:
    """The function of the native core that takes a snapshot's captures."""
    return ("raw_record_objects" if objects else "raw_record_stored") + ("_consistent" if consistent else "")


def write(fd: int, path: str, force: bool) -> None:
    """Lets another process write what was captured; its answer tells how that went, since its status may be lost."""
    import json
    import subprocess

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    options = {"path": path, "force": force, "context": {"pid": os.getpid(), "alive": False}}
    command = [sys.executable, "-P", "-m", "meminspect.store.worker", str(fd), json.dumps(options)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        pass_fds=[fd],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate()
    try:
        said: dict[str, Any] = json.loads(out)
    except ValueError:
        last = (err.decode("utf-8", "replace").strip().splitlines() or ["it was killed"])[-1]
        raise SnapshotError(f"cannot write {path}: the process that writes it ended: {last}") from None
    if "error" in said:
        raise SnapshotError(said["error"])
