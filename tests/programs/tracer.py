"""Leaves a trace function, a profile function and an audit hook behind: what they see is printed at the very end."""

import atexit
import sys

seen = []


def hook(event, arguments):
    if seen is not None:
        seen.append(event)


def trace(frame, event, argument):
    if frame.f_code.co_filename != __file__:
        seen.append(("trace", frame.f_code.co_name))
    return trace


def tell():
    print(len(seen), sorted({str(event) for event in seen}), flush=True)
    sys.addaudithook(late)


def late(event, arguments):
    if event != "cpython._PySys_ClearAuditHooks":
        sys.__stdout__.write(f"late audit event {event}\n") if sys.__stdout__ else None


def late_trace(frame, event, argument):
    sys.__stdout__.write(f"late {event} of {frame.f_code.co_name}\n")


atexit.register(lambda: sys.settrace(late_trace))
atexit.register(tell)
sys.addaudithook(hook)
sys.settrace(trace)
