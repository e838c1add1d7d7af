"""The documentation: markdown pages and executed notebooks, built by `make docs` with warnings as errors."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "meminspect"
author = "The meminspect developers"
release = _project["version"]
extensions = ["myst_nb", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"meminspect {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_inherit_docstrings = False
default_role = "code"  # `name` in a docstring

# Notebooks are stored without outputs: they are executed here, on the interpreter that builds the pages, and what they
# gave is kept until one of them changes.
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "docs" / "_build" / ".notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_show_tb = True
os.environ["MEMINSPECT_DEMO_FAST"] = "1"


def bring_notebooks(app: Any, config: Any) -> None:
    """Sphinx reads nothing outside its own folder."""
    target = Path(app.srcdir) / "notebooks"
    target.mkdir(exist_ok=True)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy2(notebook, target / notebook.name)


def lists_of_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are written to be read in a terminal: lines of `field -- what it is` become a list."""
    made: list[str] = []
    inside = False
    for line in (re.sub(r"(?<=\w)_(?!\w)", r"\\_", line) for line in lines):
        field = re.match(r"(\S.*?) -- (.*)", line)
        if field:
            made += ["", f"- **{field[1].replace('`', '').strip()}**: {field[2]}"]
            inside = True
        elif inside and line.startswith(" "):
            made.append(f"  {line.strip()}")
        else:
            made += ["", line] if inside else [line]
            inside = False
    lines[:] = made


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", lists_of_fields)
    app.connect("config-inited", bring_notebooks)
