"""Reports in a loop while other threads of the process allocate, free, fork, start and end."""

from __future__ import annotations

from collections.abc import Callable

from conftest import SIGNAL, Program

from meminspect.probes import remote, report

RUN = Callable[..., Program]

BUSY = """
import gc, os, random, sys, threading, time
ending = threading.Event()

def churn(seed):
    chance = random.Random(seed)
    kept = []
    while not ending.is_set():
        kept.extend(bytes(chance.choice((16, 200, 480, 700, 5000, 200_000))) for _ in range(50))
        kept.append({number: [number] for number in range(chance.randrange(300))})
        if len(kept) > 2000:
            del kept[chance.randrange(1000):]
        time.sleep(0.0005)

def fork():
    while not ending.is_set():
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.005)

def start_and_end():
    while not ending.is_set():
        threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()

def collect():
    while not ending.is_set():
        ring = []; ring.append(ring); del ring
        gc.collect()
        time.sleep(0.02)

threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(2)]
threads += [threading.Thread(target=work) for work in (fork, start_and_end, collect)]
for thread in threads: thread.start()
"""

END = """
ending.set()
for thread in threads: thread.join()
"""


def test_reports_of_itself(run: RUN) -> None:
    program = run(
        BUSY
        + """
from meminspect.probes.raw import take
from meminspect.probes.report import build
from meminspect.views import report_json, report_text
for _ in range(6):
    page = build(take())
    report_json.render(page)
    report_text.render(page)
print(page.missing, flush=True)
"""
        + END,
        options=("-W", "ignore"),
    )
    program.line()
    assert program.end() == (0, "")


def test_reports_by_signal(run: RUN) -> None:
    program = run(
        """
import signal, sys, meminspect
meminspect.install(signal=signal.SIGRTMIN + 5, path="report-{pid}.json")
"""
        + BUSY
        + """
print("ready", flush=True)
sys.stdin.readline()
"""
        + END,
        options=("-W", "ignore"),
    )
    program.line()
    last = 0.0
    for _ in range(10):
        program.process.send_signal(SIGNAL)
        last = float(program.report(partial=False, after_s=last)["process"]["taken_s"])
    assert program.end() == (0, "")


def test_reports_from_outside(run: RUN) -> None:
    program = run(
        BUSY
        + """
print("ready", flush=True)
sys.stdin.readline()
"""
        + END,
        options=("-W", "ignore"),
    )
    program.line()
    for _ in range(20):
        page = report.build(*remote.take(program.pid))
        assert page.process.pid == program.pid
        if page.pymalloc is not None and not page.pymalloc.exact:
            assert page.pymalloc.reason
    assert program.end() == (0, "")


def test_a_report_leaves_no_reference_and_no_memory_behind(run: RUN) -> None:
    """Of the process that takes them: after the first ones, more reports cost no block more."""
    program = run("""
import gc, sys
from meminspect.probes.raw import take
def blocks():
    gc.collect()
    return sys.getallocatedblocks()
for _ in range(5): take()
before = blocks()
for _ in range(20): take()
print(blocks() - before, flush=True)
""")
    assert abs(int(program.line())) < 20
    assert program.end() == (0, "")
