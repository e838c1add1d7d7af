"""What every model shares: it is frozen, turns into plain JSON values, and shows itself in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar


def plain(value: Any) -> Any:
    """A JSON value of a model, or of a tuple, list or dict of them."""
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def shown(text: str) -> str:
    """A name of the program's for a repr: in one line, and without a character that a terminal would obey."""
    return text if text.isprintable() else ascii(text)[1:-1]


@dataclass(frozen=True)
class Model:
    """Base of all models: what was measured, with units in the names (`_bytes`, `_s`); unknown is None.

    Where a figure is unknown, a field `reason` beside it (or `<name>_reason`) says why in one clause.
    """

    html_view: ClassVar[Callable[[Any], str | None] | None] = None
    text_view: ClassVar[Callable[[Any], str | None] | None] = None

    def __str__(self) -> str:
        """What print() shows: the page of text of a model that has one, else the repr."""
        view = type(self).text_view
        return (view(self) if view is not None else None) or repr(self)

    def _repr_html_(self) -> str | None:
        """What a notebook shows; None where it is to show the repr.

        Models know no view: meminspect/__init__.py hangs views/notebook.py in as `html_view`.
        """
        view = type(self).html_view
        return view(self) if view is not None else None

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON values; the keys are the names of its fields."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}
