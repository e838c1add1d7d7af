"""Collections alone: each run of the cyclic collector with its times and why it was made, at no cost between two.

Structure: gc.callbacks, which invoke_gc_callback of Python/gc.c calls at the beginning and the end of a collection; the
counters of struct _gc_runtime_state at its beginning tell what triggered it (csrc/interpreter/gc_log.h).
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .. import _native
from ..analysis.hand_offs import TRIGGERS
from ..analysis.pauses import pauses
from ..models.gc_trace import CollectingThread, GcTrace
from ..models.gil_trace import Collection

RECORD = struct.Struct("=QQqqQii")  # mi_gc_record


class CollectionLog:
    """A log of collections; made by `gil.trace(gc_only=True)`. `result` is the GcTrace once it was stopped."""

    def __init__(self, memory_bytes: int) -> None:
        if memory_bytes < 1:
            raise ValueError("memory_bytes must be positive")
        self.memory_bytes = memory_bytes
        self.raw: Mapping[str, Any] | None = None
        self._result: GcTrace | None = None

    @property
    def result(self) -> GcTrace:
        """What the log says; RuntimeError before it was stopped."""
        if self._result is None:
            if self.raw is None:
                raise RuntimeError("the log has not been stopped yet")
            self._result = build(self.raw)
        return self._result

    def start(self) -> CollectionLog:
        """Starts; NativeError "limit" when collections are logged already."""
        _native.gc_log_start(self.memory_bytes)
        gc.callbacks.append(_native.gc_log_collected)
        return self

    def stop(self) -> CollectionLog:
        """Stops, and takes the callback out; NativeError "absent" when nothing is logged."""
        if _native.gc_log_collected in gc.callbacks:
            gc.callbacks.remove(_native.gc_log_collected)
        self.raw = _native.gc_log_stop()
        return self

    def __enter__(self) -> CollectionLog:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<CollectionLog {'running' if self.raw is None else self.result!r}>"


def build(raw: Mapping[str, Any]) -> GcTrace:
    """The model of what `_native.gc_log_stop` returned."""
    begin = raw["begin_ns"]
    duration_s = (raw["end_ns"] - begin) / 1e9
    position: dict[int, int] = {}
    collections = tuple(
        Collection(
            thread=position.setdefault(native_id, len(position)),
            generation=generation,
            begin_s=(started - begin) / 1e9,
            duration_s=(ended - started) / 1e9,
            collected=collected,
            uncollectable=uncollectable,
            trigger=TRIGGERS.get(trigger),
        )
        for started, ended, collected, uncollectable, native_id, generation, trigger in RECORD.iter_unpack(
            raw["records"]
        )
    )
    lost = raw["lost"]
    return GcTrace(
        duration_s=duration_s,
        begin_ns=begin,
        threads=tuple(CollectingThread(raw["names"].get(native_id), native_id) for native_id in position),
        collections=collections,
        pauses=pauses(collections, duration_s),
        wall_share=sum(one.duration_s for one in collections) / duration_s if duration_s else 0.0,
        lost_collections=lost,
        exact=not lost,
        reason=f"{lost:,} collections found no room" if lost else None,
    )
