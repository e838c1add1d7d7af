"""Where in the program the GIL was let go, and who kept it: the attribution of a trace. Pure.

A release's place is a word: the index of its instruction in bits 0 to 30 and the row of its code object from bit 31 on
(mi_gil_release in csrc/gil/gil_ring.h, without its lowest bit). 0: not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.gil_trace import NativeSample, Place, ReleaseSite
from .code_lines import Lines

HOW = {1: "blocked", 2: "running", 3: "refused"}  # mi_gil_sampled
SITES_MOST = 100
SYSTEM = ("libc.so", "libc-", "ld-linux", "ld-", "[vdso]", "libpthread", "libm.so", "libdl.", "librt.")
BINDING = ("libffi",)
INTERPRETER_LOOP = "_PyEval_EvalFrameDefault"
UNPROVEN = "? (unknown)"  # MI_STACK_UNPROVEN of csrc/os/native_stack.h: who called the function above is not known


class Places:
    """The table of code objects of a trace; each is decoded when it is first asked for."""

    def __init__(self, codes: Sequence[tuple[str, str, int, bytes]]) -> None:
        self._codes = codes
        self._lines: dict[int, Lines] = {}

    def at(self, word: int) -> Place | None:
        """Of a release's place word."""
        return self.of(word >> 31, word & 0x7FFFFFFF)

    def of(self, row: int, instruction: int) -> Place | None:
        if not 0 < row < len(self._codes):
            return None
        function, file, first_line, table = self._codes[row]
        if row not in self._lines:
            self._lines[row] = Lines(table, first_line)
        return Place(function=function, file=file, line=self._lines[row].line(instruction))


def sites(
    released: Sequence[tuple[int, int, int, int, int, int]], places: Places, position: Mapping[int, int]
) -> tuple[ReleaseSite, ...]:
    """Where each thread let go, the places of most held time first; lines of one place are put together."""
    gathered: dict[tuple[int, Place | None], list[int]] = {}
    for thread, word, forced, voluntary, held, longest in released:
        if thread in position:
            of = gathered.setdefault((position[thread], places.at(word)), [0, 0, 0, 0])
            of[0] += forced
            of[1] += voluntary
            of[2] += held
            of[3] = max(of[3], longest)
    found = [
        ReleaseSite(
            thread=thread, place=place, forced=forced, voluntary=voluntary, held_s=held / 1e9, longest_s=longest / 1e9
        )
        for (thread, place), (forced, voluntary, held, longest) in gathered.items()
    ]
    return tuple(sorted(found, key=lambda site: -site.held_s)[:SITES_MOST])


def samples(
    raw: Mapping[str, Any], places: Places, position: Mapping[int, int]
) -> tuple[tuple[int, NativeSample], ...]:
    """Each with the row of its GIL."""
    return tuple(
        (
            gil,
            NativeSample(
                thread=position[thread],
                hold_begin_s=begin / 1e9,
                at_s=at / 1e9,
                how=HOW.get(how, "refused"),
                stack=tuple(stack.splitlines()),
                culprit=culprit(stack.splitlines()),
                place=places.of(code, instruction),
            ),
        )
        for gil, thread, begin, at, code, instruction, how, stack in raw.get("long_holds", ())
        if thread in position
    )


def culprit(stack: Sequence[str]) -> str | None:
    """The C function to name: the innermost that is none of the C library's, unless a foreign function interface called
    the library itself or who called it is not known. None for the interpreter's own loop: then it is Python code."""
    system = None
    for line in stack:
        if line == UNPROVEN:
            break
        function, _, rest = line.rpartition(" (")
        if rest.startswith(SYSTEM):
            system = line
        elif rest.startswith(BINDING):
            if system is not None:
                return system
        else:
            return None if function == INTERPRETER_LOOP else line
    return system
