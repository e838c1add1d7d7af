"""Holds a mix of objects and 20 threads, frees most of it, trims: memory to measure from outside.

    python mixed.py [MIB]        one JSON line a stage on stdout, then it waits for a line on stdin

Stages: "bare", "grown" (MIB of dicts, strings, bytes over 512, arrays, buffers, in 20 threads too), "freed" (80 % of it
at random), "trimmed" (after malloc_trim(0)). Each line has mallinfo2's figures of that moment, None without glibc.
"""

import ctypes
import gc
import json
import random
import sys
import threading
import time

try:
    import numpy
except ImportError:
    numpy = None

MIB = 1 << 20
THREADS = 20
FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


libc = ctypes.CDLL(None)
# bound before anything is measured: the line that reports a stage should not change what it reports
info = getattr(libc, "mallinfo2", None)
if info is not None:
    info.restype = Mallinfo2


def stage(name):
    gc.collect()
    counts = None
    if info is not None:
        figures = info()
        counts = {field: getattr(figures, field) for field in FIELDS}
    print(json.dumps({"stage": name, "mallinfo2": counts, "numpy": numpy is not None}), flush=True)
    if not sys.stdin.readline():
        sys.exit()


def array(rng, i):
    size = rng.choice((700, 5000, 40_000, 300_000))
    if numpy is not None and i % 2:
        return numpy.ones(size // 8)
    return bytearray(size)


def some(rng, amount):
    """About `amount` bytes of objects in a list."""
    made, left, i = [], amount, 0
    while left > 0:
        kind, i = i % 4, i + 1
        if kind == 0:
            made.append({j: str(j) * 3 for j in range(20)})
            left -= 3000
        elif kind == 1:
            made.append([f"text {j}" * 4 for j in range(30)])
            left -= 3000
        elif kind == 2:
            made.append([bytes(rng.randint(560, 6000)) for _ in range(3)])
            left -= 10_000
        elif i % 40 == 0:
            made.append(array(rng, i))
            left -= sys.getsizeof(made[-1])
        else:
            made.append(float(i))
    return made


def main():
    amount = int(sys.argv[1] if len(sys.argv) > 1 else "500") * MIB
    stage("bare")
    held, ready, go, waiting = [], threading.Barrier(THREADS + 1), threading.Event(), []

    def work(number):
        held.append(some(random.Random(number), amount // (4 * THREADS)))
        ready.wait()
        waiting.append(number)
        go.wait()

    threads = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(THREADS)]
    for thread in threads:
        thread.start()
    rng = random.Random(0)
    held.extend(some(rng, amount * 3 // 40) for _ in range(10))
    ready.wait()
    while len(waiting) < THREADS:  # on a busy machine some are still on their way from the barrier
        time.sleep(0.001)
    stage("grown")
    for part in held:
        for i in range(len(part)):
            if rng.random() < 0.8:
                part[i] = None
    stage("freed")
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    stage("trimmed")
    go.set()
    for thread in threads:
        thread.join()
    stage("joined")


main()
