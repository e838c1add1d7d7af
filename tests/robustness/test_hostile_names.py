"""Names that the program chose: escape sequences, markup and surrogates in threads, files and types, end to end."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

from conftest import SIGNAL, Program

RUN = Callable[..., Program]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

HOSTILE = """
import ctypes, mmap, os, signal, sys, threading, meminspect
EVIL = "\\x1b[2J\\x1b]0;owned\\x07[bold red]<script>"
file = open(EVIL.replace("/", "|"), "w+b")
file.write(bytes(1 << 20))
file.flush()
kept = mmap.mmap(file.fileno(), 0)
kept.read()
thread = threading.Thread(target=threading.Event().wait, name=EVIL + "\\ud800", daemon=True)
thread.start()
meminspect.install(signal=signal.SIGRTMIN + 5, path="report-{pid}.json")
ctypes.CDLL(None).prctl(15, b"\\x1b[31m\\xff\\"\\\\")
evil = type(EVIL, (), {})
evil.__qualname__ = EVIL + "\\ud800"
"""


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for text in strings(list(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_page_shows_no_control_character(run: RUN) -> None:
    program = run(
        HOSTILE
        + """
from meminspect.probes import report
from meminspect.views import report_text
sys.stdout.reconfigure(encoding="utf-8", errors="surrogatepass")
print(report_text.render(report.report(), width=100, color=False, unicode=True))
print("the end", flush=True)
"""
    )
    lines = []
    while (line := program.line()) != "the end":
        lines.append(line)
    assert len(lines) > 10
    assert not [line for line in lines if CONTROL.search(line)]
    assert not any("\x1b" in line for line in lines)


def test_the_header_of_such_a_type_is_one_clean_line(run: RUN) -> None:
    program = run(
        HOSTILE
        + """
sys.stdout.reconfigure(encoding="utf-8", errors="surrogatepass")
print(repr(meminspect.header(evil())), flush=True)
print("the end", flush=True)
"""
    )
    assert not CONTROL.search(program.line())
    assert program.line() == "the end"


def test_the_documents_by_signal_are_json_and_the_whole_one_is_clean(run: RUN) -> None:
    program = run(HOSTILE + "print('ready', flush=True)\nsys.stdin.read()")
    program.line()
    os.kill(program.pid, SIGNAL)
    json.dumps(program.report())
    texts = strings(program.report(partial=False))
    assert texts
    assert not [text for text in texts if CONTROL.search(text)]
