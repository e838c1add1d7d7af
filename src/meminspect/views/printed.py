"""What print() shows of a model: its page of text. Models know no view; meminspect/__init__.py hangs this one in."""

from __future__ import annotations

from ..models.base import Model
from ..models.demo import DemoResult
from ..models.explain import Explanation
from . import demo, explained


def text(model: Model) -> str | None:
    """The page, without colour; None for a model that is shown in one line."""
    if isinstance(model, Explanation):
        return explained.render(model)
    if isinstance(model, DemoResult):
        return demo.render(model)
    return None
