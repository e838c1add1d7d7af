"""References held against the counts of what they lead to: what is not counted holds nothing."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

import pytest

import meminspect
from meminspect import _native

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
MADE = 1000


class Marker:
    """What is looked for: nothing else refers to its instances."""


def address_of(kept: list[Marker] | list[str]) -> int:
    """Of one of them; an assertion that names it would keep it in a variable of its own."""
    return id(kept[MADE // 2])


def holders_of(address: int) -> dict[int | None, str | None]:
    """The addresses of what refers to an object, and the role of the reference; None is a root."""
    found = _native.references_capture([address], holders=True, max_pause=None)["holders"]
    assert found["unexplained"] == 0
    return {node[0]: how and how[0] for node, how, _ in found["rows"]}


def test_a_number_that_is_an_address_holds_nothing() -> None:
    """An object that ctypes made has the number among its words, as it would have a pointer to what it refers to."""
    kept = [Marker() for _ in range(MADE)]
    before = meminspect.retained(kept, max_pause=None)
    number = ctypes.c_size_t(address_of(kept))
    after = meminspect.retained(kept, max_pause=None)
    assert number.value == address_of(kept)
    assert (after.objects, after.bytes) == (before.objects, before.bytes)
    assert holders_of(address_of(kept)) == {id(kept): "item"}


def test_a_word_that_the_count_leaves_room_for_is_a_guess() -> None:
    """Beside it a number is as good a guess: which of the two it is is not known, and the reference is not hidden."""
    kept = [Marker() for _ in range(MADE)]
    repeat = itertools.repeat(kept[MADE // 2])
    assert holders_of(address_of(kept)) == {id(kept): "item", id(repeat): "guess"}
    number = ctypes.c_size_t(address_of(kept))
    assert holders_of(address_of(kept)) == {id(kept): "item", id(repeat): "guess", id(number): "guess"}
    assert number.value == id(next(repeat))


def generate() -> Iterator[int]:
    """Of so many variables that what had its block before it may have been a tuple: small ones are kept when freed."""
    a = b = c = d = e = f = g = h = i = j = k = m = n = o = p = q = r = s = t = u = v = w = 1
    yield a + b + c + d + e + f + g + h + i + j + k + m + n + o + p + q + r + s + t + u + v + w


def generator_in_a_block_of(item: Marker) -> Iterator[int]:
    """A generator where a tuple of nothing but `item` was."""
    items = next(count for count in range(1000) if sys.getsizeof((None,) * count) >= sys.getsizeof(generate()))
    for _ in range(1000):
        full = (item,) * items
        address = id(full)
        del full
        made = generate()  # its frame is written, and not all of its own words
        if id(made) == address:
            return made
    pytest.skip("no generator came to lie where a tuple was")


def test_a_word_of_a_generator_that_is_never_written_holds_nothing() -> None:
    """gi_origin_or_finalizer: of a generator it has what was there before."""
    kept = [Marker() for _ in range(MADE)]
    made = generator_in_a_block_of(kept[MADE // 2])
    assert holders_of(address_of(kept)) == {id(kept): "item"}
    assert next(made) == 22


def mortal(text: str) -> str:
    """A string of its own with this text, interned, that goes with the last reference to it."""
    return sys.intern("".join(["interned ", text]))


@pytest.mark.skipif(FREE_THREADED or sys.version_info[:2] == (3, 12), reason="an interned string stays here for good")
def test_the_table_of_interned_strings_holds_none_of_them() -> None:
    kept = [mortal(str(number)) for number in range(MADE)]
    plain = ["".join(["interne_ ", str(number)]) for number in range(MADE)]
    assert holders_of(address_of(kept)) == {id(kept): "item"}
    ours, theirs = (meminspect.retained(strings, max_pause=None) for strings in (kept, plain))
    assert (ours.objects, ours.bytes) == (theirs.objects, theirs.bytes)


@pytest.mark.skipif(FREE_THREADED or sys.version_info[:2] == (3, 12), reason="an interned string stays here for good")
def test_a_dict_of_interned_strings_is_no_such_table() -> None:
    """Each key its own value, as in the table, and as many as most programs have: what it holds is counted."""
    same = {text: text for text in (mortal(f"twice {number}") for number in range(MADE * 10))}
    assert holders_of(min(id(text) for text in same)) == {id(same): "key"}
    assert meminspect.retained(same, max_pause=None).objects == MADE * 10 + 1


@pytest.mark.skipif(FREE_THREADED, reason="counts of types and code are spread over threads here, and some deferred")
def test_no_more_references_are_known_than_are_counted() -> None:
    """In a program of its own, with modules of all kinds: each object counts all references that structures tell."""
    program = """
import asyncio, collections, ctypes, dataclasses, datetime, decimal, email.message, enum, functools, json, logging, re
import sqlite3, threading, typing, unittest.mock, xml.etree.ElementTree
from meminspect import _native
class Held: pass
held = [Held() for _ in range(1000)]
cache = functools.lru_cache(len)
cache("x")
running = (number for number in range(9))
next(running)
raw = _native.references_capture([id(held)], retained=True, max_pause=None)
assert raw["objects"] > 20_000, raw["objects"]
print(raw["overcounted"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n", "")
