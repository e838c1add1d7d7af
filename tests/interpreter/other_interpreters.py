"""What tests of other interpreters run in a process of their own: `run(text)`, with names that all of them use.

create(kind)  -- a subinterpreter: "isolated" has a GIL of its own from 3.12 on (OWN_GIL), "legacy" shares ours
interpreters  -- the module that has run_string() and destroy()
MADE          -- a program for it: classes, EXPECTED many objects of each, and `tell(fd)`, which writes their ids and
                 how often the classes are referred to
CHURN         -- a program behind that one which makes and drops objects until `stop`
"""

from __future__ import annotations

import subprocess
import sys

MADE = """
import collections, json, os, sys
class Slots:
    __slots__ = ("value",)
class Plain: pass
class Tall(list): pass
class Meta(type): pass
class Of(metaclass=Meta): pass
class Gone: pass
slots = [Slots() for _ in range(3000)]
for number, item in enumerate(slots): item.value = float(number)
plain = [Plain() for _ in range(2000)]
for item in plain: item.value = 1.5
tall = [Tall((1, 2, 3)) for _ in range(1000)]
of = [Of() for _ in range(500)]
del Gone, item
def tell(fd):
    ids = {kind.__name__: [id(item) for item in items] for kind, items in
           ((Slots, slots), (Plain, plain), (Tall, tall), (Of, of))}
    counts = [sys.getrefcount(kind) for kind in (Slots, Plain, Tall, Of, Meta)]
    os.write(fd, json.dumps([ids, counts]).encode())
"""
CHURN = """
import time
class Passing:
    __slots__ = ("value",)
until = time.monotonic() + 60
turn = 0
while not stop and time.monotonic() < until:
    turn += 1
    held = [Passing() for _ in range(20000)]
    for item in held[::3]: item.value = [1.5] * 7
    del held, item
    if turn % 4 == 0: time.sleep(0.003)
"""
BEFORE = f"""
import sys
try:
    import _interpreters as interpreters
    create = interpreters.create
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda kind: interpreters.create(isolated=kind == "isolated")
OWN_GIL = sys.version_info >= (3, 12)
EXPECTED = {{"Slots": 3000, "Plain": 2000, "Tall": 1000, "Of": 500, "Gone": 0}}
MADE, CHURN = {MADE!r}, {CHURN!r}
"""


def run(text: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", BEFORE + text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
