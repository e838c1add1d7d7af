"""The whole report made inside the process that it is about, for the thread that answers a signal.

Imported when `install()` is called, so that nothing is imported at the moment of a report. It runs in a thread that
Python's threading does not know: nothing here asks for the current thread, logs, prints or starts anything.
"""

from __future__ import annotations

import json
import os
import sys
import time

import meminspect


def report_head() -> bytes:
    """JSON members of the document that do not change while the process lives, without braces."""
    return _members({"schema": 1, "meminspect": meminspect.__version__, "findings": []})


def process_head() -> bytes:
    """JSON members of `process` that do not change, without braces; children after fork share them."""
    return _members({"program": sys.argv[0] if sys.argv else ""})


def document() -> bytes:
    """The whole report as JSON."""
    return json.dumps({"schema": 1, "partial": False, "process": {"pid": os.getpid(), "taken_s": time.time()}}).encode() + b"\n"


def _members(values: dict[str, object]) -> bytes:
    return json.dumps(values).encode()[1:-1]
