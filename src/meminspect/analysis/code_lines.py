"""The line of an instruction, by the table of a code object (co_linetable, CPython's InternalDocs/code_objects.md)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

NONE, LONG, NO_COLUMN, ONE_LINE = 15, 14, 13, 10  # codes of entries; from ONE_LINE on: the line is 0, 1 or 2 further


def entries(table: bytes, first_line: int) -> Iterator[tuple[int, int | None]]:
    """(index of the first code unit behind the entry, its line or None) of each entry; stops where the table is cut."""
    position = unit = 0
    line = first_line
    while position < len(table):
        head = table[position]
        position += 1
        code = head >> 3 & 15
        unit += (head & 7) + 1
        if code in (LONG, NO_COLUMN):
            delta, position = _varint(table, position)
            line += -(delta >> 1) if delta & 1 else delta >> 1
        elif ONE_LINE <= code < NO_COLUMN:
            line += code - ONE_LINE
        while position < len(table) and not table[position] & 128:  # columns and the last line, which are not asked for
            position += 1
        yield unit, None if code == NONE else line


def _varint(table: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(table):
        part = table[position]
        position += 1
        value |= (part & 63) << shift
        shift += 6
        if not part & 64:
            break
    return value, position


class Lines:
    """The table of one code object, looked up by instruction."""

    def __init__(self, table: bytes, first_line: int) -> None:
        found = list(entries(table, first_line))
        self._ends = [end for end, _ in found]
        self._lines = [line for _, line in found]

    def line(self, instruction: int) -> int | None:
        """Of the code unit with this index; None where the table says that there is none, or ends before."""
        at = bisect_right(self._ends, instruction)
        return self._lines[at] if at < len(self._lines) else None
