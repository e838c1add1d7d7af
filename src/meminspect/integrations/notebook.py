"""`%load_ext meminspect` in IPython: `%%gil` runs a cell under a trace of the GIL and shows the timeline."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

from ..errors import MeminspectError
from ..probes.gil_trace import Trace

if TYPE_CHECKING:
    from ..models.gil_trace import GilTrace


def load(shell: Any) -> None:
    """Registers the magic with IPython's shell."""

    def gil(line: str, cell: str | None = None) -> GilTrace | None:
        """Trace the GIL while a cell (or a line) runs, and show who held it and who waited.

        %%gil [--attribution]     the whole cell; with --attribution releases and long holds name their function
        """
        words = shlex.split(line) if cell is not None else []
        unknown = [word for word in words if word != "--attribution"]
        if unknown:
            print(f"%%gil: {unknown[0]!r} is no option; there is --attribution", file=sys.stderr)
            return None
        return run(shell, line if cell is None else cell, attribution="--attribution" in words)

    shell.register_magic_function(gil, "line_cell", "gil")


def run(shell: Any, code: str, *, attribution: bool) -> GilTrace | None:
    """Runs code as a cell of the notebook, which shows its own errors; the trace, None where none could be taken."""
    trace = Trace(attribution=attribution)
    try:
        trace.start()
    except (MeminspectError, OSError) as error:
        print(f"%%gil: not traced: {error}", file=sys.stderr)
        shell.run_cell(code)
        return None
    try:
        shell.run_cell(code)
    finally:
        trace.stop()
    return trace.result
