"""What the waits of a free-threaded build say: by thread, by address, and the stops of the world. Pure."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..models.waits import ParkedAt, StopTheWorld, WaitingThread

WAIT = struct.Struct("=QQQiiII")  # mi_wait of csrc/gil/waits.h
PARKED, STOPPED, STOPPING, RAW = 1, 2, 3, 4


class Wait(NamedTuple):
    """mi_wait; times in nanoseconds of CLOCK_MONOTONIC."""

    begin: int
    end: int
    address: int
    thread: int
    other: int
    kind: int
    ended: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


def waits_of(packed: bytes) -> Iterator[Wait]:
    return map(Wait._make, WAIT.iter_unpack(packed))


def threads(waits: Sequence[Wait], names: Mapping[int, str]) -> tuple[WaitingThread, ...]:
    of: dict[int, list[Wait]] = defaultdict(list)
    for wait in waits:
        if wait.kind in (PARKED, STOPPED):
            of[wait.thread].append(wait)
    found = []
    for native_id, own in of.items():
        parked = [wait.seconds for wait in own if wait.kind == PARKED]
        stopped = [wait.seconds for wait in own if wait.kind == STOPPED]
        found.append(
            WaitingThread(
                name=names.get(native_id),
                native_id=native_id,
                parks=len(parked),
                parked_s=sum(parked),
                longest_s=max(parked, default=0.0),
                stops=len(stopped),
                stopped_s=sum(stopped),
            )
        )
    return tuple(sorted(found, key=lambda thread: -(thread.parked_s + thread.stopped_s)))


def parked(waits: Sequence[Wait], position: Mapping[int, int]) -> tuple[ParkedAt, ...]:
    of: dict[int, list[Wait]] = defaultdict(list)
    for wait in waits:
        if wait.kind == PARKED:
            of[wait.address].append(wait)
    found = [
        ParkedAt(
            address=address,
            parks=len(own),
            timed_out=sum(wait.ended != 0 for wait in own),
            waited_s=sum(wait.seconds for wait in own),
            longest_s=max(wait.seconds for wait in own),
            threads=tuple(sorted({position[wait.thread] for wait in own})),
        )
        for address, own in of.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.waited_s))


def stops(
    waits: Sequence[Wait], begin: int, position: Mapping[int, int], names: Mapping[int, str]
) -> tuple[StopTheWorld, ...]:
    """Waits for the same thread's stop that overlap are one."""
    victims = sorted((wait for wait in waits if wait.kind == STOPPED), key=lambda wait: wait.begin)
    asking = [wait for wait in waits if wait.kind == STOPPING]
    groups: list[list[Wait]] = []
    ends: list[int] = []
    for wait in victims:
        if groups and wait.begin <= ends[-1] and wait.other in (groups[-1][0].other, 0):
            groups[-1].append(wait)
            ends[-1] = max(ends[-1], wait.end)
        else:
            groups.append([wait])
            ends.append(wait.end)
    found = []
    for group, end in zip(groups, ends, strict=True):
        first, native_id = group[0].begin, group[0].other
        stopping = [one for one in asking if one.thread == native_id and one.begin <= end and one.end >= first]
        found.append(
            StopTheWorld(
                requester=names.get(native_id) if native_id else None,
                requester_native_id=native_id or None,
                begin_s=(first - begin) / 1e9,
                length_s=(end - first) / 1e9,
                victims=tuple(sorted({position[wait.thread] for wait in group})),
                stopping_s=sum(one.seconds for one in stopping),
            )
        )
    return tuple(found)
