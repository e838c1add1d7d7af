"""The folder of a snapshot: made under another name beside its target, renamed when it is whole, replaced as a whole.

A writer holds a lock on its folder. What a killed one left has a name of its own kind and no lock: the next writer of
the same target removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import SnapshotError
from .schema import FILES, MANIFEST

SUFFIX = ".mi"
UNFINISHED = ".unfinished"
AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # renameat2(2)
NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL)


def check_target(path: str, *, force: bool) -> None:
    """Refuses a target, before anything is measured: a name without `.mi`, no folder to make it in, something else
    than a snapshot in its place, or a snapshot without `force`."""
    if not path.rstrip("/").endswith(SUFFIX) or os.path.basename(path.rstrip("/")) == SUFFIX:
        raise SnapshotError(f"a snapshot's name ends in {SUFFIX}: {path!r} does not")
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        raise SnapshotError(f"cannot write {path}: there is no folder {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise SnapshotError(f"cannot write {path}: not permitted to write in {parent}")
    if not os.path.lexists(path.rstrip("/")):
        return
    if not force:
        raise SnapshotError(f"{path} exists; --force (force=True) replaces it")
    check_replaceable(path)


def check_replaceable(path: str) -> None:
    """Only what a snapshot is made of is ever removed."""
    if os.path.islink(path.rstrip("/")) or not os.path.isdir(path):
        raise SnapshotError(f"{path} is not a snapshot's folder, and is not replaced")
    names = set(os.listdir(path))
    if names - FILES or (names and MANIFEST not in names):
        other = min(names - FILES, default=None)
        what = f"it holds {other!r}" if other else f"it has no {MANIFEST}"
        raise SnapshotError(f"{path} is not a snapshot ({what}), and is not replaced")


@contextmanager
def new_folder(path: str, *, force: bool) -> Iterator[str]:
    """A folder to write in, which has the name `path` once the body has ended, and is removed when it fails."""
    path = os.path.abspath(path)
    check_target(path, force=force)
    parent, name = os.path.split(path)
    remove_unfinished(parent, name)
    folder, lock = make_locked(parent, name)
    try:
        yield folder
        os.fsync(lock)
        give_name(folder, path, force=force)
    finally:
        if os.path.lexists(folder):
            remove(folder)
        os.close(lock)
    sync(parent)


def make_locked(parent: str, name: str) -> tuple[str, int]:
    while True:
        folder = os.path.join(parent, f".{name}.{secrets.token_hex(4)}{UNFINISHED}")
        os.mkdir(folder, 0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.isdir(folder):  # else another writer found it between the two calls
            return folder, lock
        os.close(lock)


def remove_unfinished(parent: str, name: str) -> None:
    """Removes what killed writers of this target left."""
    for entry in os.listdir(parent):
        if not (entry.startswith(f".{name}.") and entry.endswith(UNFINISHED)):
            continue
        folder = os.path.join(parent, entry)
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder)
            finally:
                os.close(lock)


def give_name(folder: str, path: str, *, force: bool) -> None:
    """Renames at once; what stood there is exchanged for it, and removed."""
    if not os.path.lexists(path):
        if not rename(folder, path, RENAME_NOREPLACE):
            os.rename(folder, path)  # an older file system: an empty folder made meanwhile is all it could replace
        return
    if not force:
        raise SnapshotError(f"{path} was made by another meanwhile; --force (force=True) replaces it")
    check_replaceable(path)
    if not rename(folder, path, RENAME_EXCHANGE):
        aside = f"{folder[: -len(UNFINISHED)]}.old{UNFINISHED}"
        os.rename(path, aside)
        os.rename(folder, path)
        remove(aside)


def rename(source: str, target: str, flags: int) -> bool:
    """renameat2(2); False where the kernel, the C library or the file system has none."""
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_SUPPORTED:
        return False
    if number == errno.EEXIST:
        raise SnapshotError(f"{target} was made by another meanwhile; --force (force=True) replaces it")
    raise OSError(number, os.strerror(number), target)


def remove(folder: str) -> None:
    """Removes a folder of ours by the names that are ours; anything else in it keeps it."""
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(folder: str, name: str) -> int:
    """A file of the folder, for its owner alone."""
    return os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
