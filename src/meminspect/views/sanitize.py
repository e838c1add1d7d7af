"""The one sanitiser: text of the inspected program on its way to any view.

Names of types, threads, modules, files and groups are chosen by others. What leaves here is printable, of bounded
length, and cannot move a cursor, colour a terminal, turn the direction of writing or break a line.
"""

from __future__ import annotations

import unicodedata
from typing import Any

NAME_LIMIT = 200  # longer than any honest name; a table cuts shorter still
TEXT_LIMIT = 4000  # sentences and paths (PATH_MAX is 4096)
MARKS_LIMIT = 2  # combining marks on one character: more of them paint over the lines above and below
DEPTH_LIMIT = 64  # nested values of a document


def clean(text: str | bytes, limit: int = NAME_LIMIT, *, ascii_only: bool = False) -> str:
    """`text` with all that is not printable written as escapes, at most `limit` characters, cut with an ellipsis.

    Not printable are control characters, escape sequences' ESC and CSI, bidirectional overrides and marks, zero-width
    and unassigned characters, line separators and lone surrogates (str.isprintable). With `ascii_only` everything
    outside ASCII is written as an escape too.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    result: list[str] = []
    marks = 0
    for char in text[: limit + 1]:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks > MARKS_LIMIT:
            continue
        plain = char.isascii() if ascii_only else True
        result.append(char if plain and char.isprintable() else _escape(char))
    cleaned = "".join(result)
    if len(text) > limit or len(cleaned) > limit:
        ellipsis = "..." if ascii_only else "…"
        cleaned = cleaned[: max(0, limit - len(ellipsis))] + ellipsis
    return cleaned


def clean_value(value: Any, depth: int = 0) -> Any:
    """A JSON value in which every string and key is clean."""
    if isinstance(value, (str, bytes)):
        return clean(value, TEXT_LIMIT)
    if depth >= DEPTH_LIMIT:
        return None
    if isinstance(value, dict):
        return {clean(str(key)): clean_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_value(item, depth + 1) for item in value]
    return value


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
