"""Throws the exit handlers away, then registers one."""

import atexit

atexit._clear()
atexit.register(print, "the one that is left", flush=True)
print("cleared", atexit._ncallbacks() <= 2, flush=True)
