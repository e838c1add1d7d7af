"""The demos: each claims something about CPython, tests it on the interpreter at hand, and shows the evidence.

One module here is one demo: `small_large.py` holds the class of `meminspect demo small-large`. Modules whose name
begins with an underscore are the frame, and what the demos' own processes run. Nothing lists the demos: the folder is
the list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from ..models.demo import DemoResult
from ._base import Demo, Observed

__all__ = ["Demo", "Observed", "demo", "every", "load", "names"]

FAST = "MEMINSPECT_DEMO_FAST"


def names() -> list[str]:
    """The names of all demos, in the order of their chapters."""
    found = [module.name.replace("_", "-") for module in iter_modules(__path__) if module.name[0] != "_"]
    return sorted(found, key=lambda name: (load(name).chapter, name))


def load(name: str) -> Demo:
    """The demo of a name; LookupError when there is none, with the names that there are."""
    known = {module.name.replace("_", "-"): module.name for module in iter_modules(__path__) if module.name[0] != "_"}
    if name not in known:
        raise LookupError(f"there is no demo {name!r}; there are: {', '.join(sorted(known))}")
    module = import_module(f"{__name__}.{known[name]}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Demo) and value.__module__ == module.__name__:
            return value()
    raise LookupError(f"{module.__name__} defines no Demo")


def demo(name: str, *, fast: bool | None = None) -> DemoResult:
    """Runs a demo in this process and gives what it observed; `result.held` says whether its claim held.

    fast -- about a second at most: fewer repetitions, smaller numbers. None: as the environment variable
            MEMINSPECT_DEMO_FAST=1 says, else in full.
    Raises LookupError for a name that is none; `meminspect demo` lists them.
    """
    return load(name).run(fast=os.environ.get(FAST) == "1" if fast is None else fast)


def every(*, fast: bool | None = None) -> Iterator[DemoResult]:
    """Runs all demos, one after the other, in the order of their chapters."""
    for name in names():
        yield demo(name, fast=fast)
