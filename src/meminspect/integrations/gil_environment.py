"""MEMINSPECT_GIL_TRACE: a trace of the GIL from `import meminspect` to the program's end, without a line of its code.

The value is a file of gil.save() (`.pftrace`, `.json`, `.json.gz`, `.html`), or `-` for the summary on stderr. The
variable is taken out of the environment, so that programs that this one starts are not traced; a child after fork is
silent. What cannot be done is said in one line on stderr, and the program goes on. To trace from before a program's
first line, and when it may be killed: `python -m meminspect gil run`.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from ..errors import MeminspectError

if TYPE_CHECKING:
    from ..probes.gil_trace import Trace

VARIABLE = "MEMINSPECT_GIL_TRACE"


def begin() -> None:
    """Starts, when the variable asks for it; called once, as the package is imported."""
    target = os.environ.pop(VARIABLE, "")
    if not target:
        return
    from .. import _native
    from ..probes.gil_trace import trace

    try:
        running = trace(attribution=True).start()
    except _native.NativeError as error:
        print(f"meminspect: {VARIABLE}: {error}", file=sys.stderr)
        return
    atexit.register(_end, running, target, os.getpid())


def _end(running: Trace, target: str, pid: int) -> None:
    from .. import _native

    if os.getpid() != pid or not _native.gil_trace_running():
        return
    try:
        running.stop()
        if target == "-":
            from ..views import gil_trace_text

            print(gil_trace_text.render(running.result), file=sys.stderr)
        else:
            from .gil_file import save

            save(running, target)
    except (_native.NativeError, MeminspectError) as error:
        print(f"meminspect: {VARIABLE}: {error}", file=sys.stderr)
