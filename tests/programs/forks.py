"""Forks; parent and child end normally, each with exit handlers of its own."""

import atexit
import os
import warnings

warnings.simplefilter("error")
atexit.register(lambda: print("atexit in", "child" if os.getpid() != parent else "parent", flush=True))
parent = os.getpid()
child = os.fork()
if child:
    print("status", os.waitpid(child, 0)[1], flush=True)
    print("no other child:", end=" ")
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("none", flush=True)
