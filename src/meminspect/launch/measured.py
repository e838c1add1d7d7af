"""A program run under measurement: started, watched, and what came back of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meminspect.launch import hook, watch
from meminspect.launch.program import Program, command_line
from meminspect.launch.records import EVERY, FAILED, FINAL, HOOKED, START, TAKING, Record, RecordFile

LOOKS_PER_INTERVAL = 5
LONGEST_LOOK_S = 0.5
SHOWN_EVERY_S = 0.2
LATE_S = 1.0  # a result that is older than this at the program's end says so


@dataclass
class Outcome:
    """How a program ended (`status` as waitpid() has it) and what it left.

    last -- the record to show: the final one (then `final`), else the last on the way; None when there is none
    first -- the record taken before the program's first line, when it was asked for
    hooked_by -- "preload" or "sitecustomize", None when the program was never reached
    note -- one sentence when the result did not come in the usual way
    """

    status: int = 0
    last: Record | None = None
    final: bool = False
    first: Record | None = None
    hooked_by: str | None = None
    note: str | None = None
    failures: list[str] = field(default_factory=list)


OnWay = Callable[[Record, Outcome], None]
OnTaking = Callable[[bool], None]


class Collector:
    """Sorts the records that come in."""

    def __init__(self, results: RecordFile, on_way: OnWay | None) -> None:
        self._results = results
        self._on_way = on_way
        self.outcome = Outcome()
        self.taking = False

    def look(self) -> None:
        for record in self._results.new():
            self._take(record)

    def _take(self, record: Record) -> None:
        outcome = self.outcome
        if record.kind == HOOKED:
            outcome.hooked_by = record.text()
        elif record.kind == START:
            outcome.first = record
        elif record.kind == TAKING:
            self.taking = True
        elif record.kind == FAILED:
            outcome.failures.append(record.text())
        elif record.kind in (EVERY, FINAL):
            outcome.last = record
            outcome.final = record.kind == FINAL
            if self._on_way and record.kind == EVERY:
                self._on_way(record, outcome)


def run(
    program: Program,
    order: hook.Order,
    *,
    on_way: OnWay | None = None,
    flags: tuple[str, ...] = (),
    word: str | None = None,
    look: Callable[[], None] | None = None,
    look_every_s: float | None = None,
    on_taking: OnTaking | None = None,
) -> Outcome:
    """Runs the program as `python` would; `on_way` gets each record of --every when it has come,
    with the outcome as it is known so far; `word` is left for the capture as the first record; `look`, which never
    raises, is called every `look_every_s` while it runs; `on_taking` is called some times a second with whether the
    last measurement is under way.

    Raises UsageError for a script that is not there, MeminspectError when there is no way into the interpreter; both
    before anything is started.
    """
    program.check()
    way, obstacle = hook.choose(order)
    results = RecordFile()
    if word is not None:
        results.order(word)
    collector = Collector(results, on_way)
    if order.interval_s:
        every = min(order.interval_s / LOOKS_PER_INTERVAL, LONGEST_LOOK_S)
        look_every_s = min(every, look_every_s or every)

    if on_taking is not None:
        look_every_s = min(look_every_s or SHOWN_EVERY_S, SHOWN_EVERY_S)

    def each() -> None:
        collector.look()
        if on_taking is not None:
            on_taking(collector.taking and not collector.outcome.final)
        if look is not None:
            look()

    env = hook.environment(way, order, results.fd, os.environ)
    status = watch.run(sys.executable, command_line(program, flags), env, results.fd, each, look_every_s)
    collector.look()
    if on_taking is not None:
        on_taking(False)
    results.close()
    outcome = collector.outcome
    outcome.status = status
    outcome.note = note_on(collector, obstacle, time.monotonic_ns())
    return outcome


def note_on(collector: Collector, obstacle: str | None, now_ns: int) -> str | None:
    """What is to be said about how the result came, None when there is nothing to say."""
    outcome = collector.outcome
    age_s = (now_ns - outcome.last.taken_ns) / 1e9 if outcome.last else 0.0
    if outcome.final:
        parts = [f"hooked by sitecustomize: {obstacle}"] if obstacle else []
        if age_s > LATE_S:
            parts.append(f"taken {age_s:.1f} s before the program's process had ended")
        parts += [f"a measurement on the way failed: {text}" for text in outcome.failures[:1]]
        return "; ".join(parts) or None
    why = why_missing(collector)
    return f"{why}; this is the last one on the way, taken {age_s:.1f} s before the end" if outcome.last else why


def why_missing(collector: Collector) -> str:
    outcome = collector.outcome
    if outcome.hooked_by is None:
        return "no result: the program was not reached (it ended before its first line, or cleared the environment)"
    if outcome.failures:
        return f"no result: {outcome.failures[-1]}"
    if os.WIFSIGNALED(outcome.status):
        name = signal.Signals(os.WTERMSIG(outcome.status)).name
        when = " during the measurement at its end" if collector.taking else ""
        return f"no result at the program's end: it was killed by {name}{when}"
    return "no result at the program's end: it left without exit handlers (os._exit, or another program by exec)"
