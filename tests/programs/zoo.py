"""Makes objects of more than 120 kinds of the standard library (and numpy, where it is installed), COPIES of each.

`kept = zoo.fill()` is {kind: [objects]}. Nothing here is drawn at random, and what a version lacks is left out.
"""

from __future__ import annotations

import _thread
import abc
import argparse
import array
import ast
import bisect
import codecs
import collections
import concurrent.futures
import configparser
import contextlib
import contextvars
import copy
import csv
import ctypes
import datetime
import decimal
import difflib
import email.message
import enum
import fractions
import functools
import gzip
import hashlib
import heapq
import hmac
import http.cookies
import inspect
import io
import ipaddress
import itertools
import json
import logging
import lzma
import mmap
import operator
import pathlib
import queue
import random
import re
import selectors
import ssl
import statistics
import string
import struct
import tempfile
import textwrap
import threading
import time
import traceback
import types
import typing
import unittest.mock
import urllib.parse
import uuid
import weakref
import zlib
import zoneinfo
from collections.abc import Callable
from typing import Any

from zoo_numpy import numpy_makers
from zoo_parts import (
    Abstract,
    BytesChild,
    DequeChild,
    DictAsked,
    DictChild,
    IntChild,
    ListChild,
    ManyAttributes,
    Named,
    Plain,
    Record,
    SetChild,
    Slotted,
    SlottedWeak,
    StrChild,
    Structure,
    TupleChild,
    a_class,
    cached,
    changed_deque,
    closure,
    compiled,
    context,
    emptied,
    executed,
    frame_of,
    generate,
    generate_async,
    numbers_stored,
    opened,
    ordered,
    parser_with_state,
    partly_read,
    pickler,
    print_nothing,
    raised,
    reader_of,
    scanner,
    sent,
    set_of,
    started,
    stepped_async,
    temporary,
    tree,
    tree_builder,
    unpickler,
    utf8_cached,
    waits,
    xml_parser,
)

COPIES = 40

MAKERS: dict[str, Callable[[], Any]] = {
    "int": lambda: 10**9 + len(str(time.monotonic_ns())),
    "long int": lambda: 7**200,
    "float": lambda: float(str(1.5)),
    "complex": lambda: complex(1, len(str(1))),
    "str": lambda: "".join(["text", str(1)]) * 3,
    "str latin-1": lambda: "é".join("abcdefgh"),
    "str ucs2": lambda: "ł".join("abcdefgh"),
    "str ucs4": lambda: "\U0001f40d".join("abcdefgh"),
    "str with UTF-8": utf8_cached,
    "bytes": lambda: bytes(range(33)),
    "bytearray": lambda: bytearray(range(50)),
    "bytearray resized": lambda: bytearray(10) + bytearray(90),
    "list": lambda: [1, 2, 3],
    "list grown": lambda: [[], *([0] * 20)],
    "tuple": lambda: (1, [], 2),
    "dict": lambda: {"one": 1, "two": []},
    "dict of ints": lambda: {number: str(number) for number in range(9)},
    "dict emptied": emptied,
    "dict large": lambda: dict.fromkeys(map(str, range(20))),
    "set": lambda: set_of(3),
    "set large": lambda: set_of(20),
    "frozenset": lambda: frozenset(range(7)),
    "range": lambda: range(10**10, 10**11),
    "slice": lambda: slice([], None, None),
    "memoryview": lambda: memoryview(bytearray(20)),
    "memoryview cast": lambda: memoryview(bytearray(24)).cast("i", (2, 3)),
    "instance": Plain,
    "instance of 40 attributes": ManyAttributes,
    "instance with dict": DictAsked,
    "slots": Slotted,
    "slots with weakref": SlottedWeak,
    "list subclass": lambda: ListChild([1, 2]),
    "dict subclass": lambda: DictChild(a=1),
    "str subclass": lambda: StrChild("text"),
    "int subclass": lambda: IntChild(10**20),
    "bytes subclass": lambda: BytesChild(b"bytes"),
    "tuple subclass": lambda: TupleChild((1, 2)),
    "set subclass": lambda: SetChild(range(20)),
    "deque subclass": lambda: DequeChild(range(9)),
    "function": lambda: eval("lambda x=1, *, y=2: x"),
    "closure": closure,
    "bound method": lambda: Plain().method,
    "builtin method": lambda: [].append,
    "method wrapper": lambda: object().__str__,
    "code": compiled,
    "function that ran": executed,
    "module": lambda: types.ModuleType("made"),
    "class": a_class,
    "abstract class": lambda: abc.ABCMeta("Made", (Abstract,), {}),
    "generator": lambda: generate(),
    "generator started": lambda: started(generate()),
    "generator expression": lambda: started(x for x in [1, 2]),
    "coroutine": lambda: sent(waits()),
    "coroutine wrapper": lambda: waits().__await__(),
    "async generator": stepped_async,
    "async generator step": lambda: generate_async().__anext__(),
    "frame": lambda: frame_of(3),
    "exception": raised,
    "exception group": lambda: ExceptionGroup("two", [ValueError(1), KeyError(2)]),
    "OSError": lambda: FileNotFoundError(2, "none", "file"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"abc", 0, 1, "reason"),
    "StopIteration": lambda: StopIteration([1]),
    "traceback summary": lambda: traceback.extract_stack(),
    "cell": lambda: types.CellType([1]),
    "property": lambda: property(print_nothing),
    "staticmethod": lambda: staticmethod(print_nothing),
    "classmethod": lambda: classmethod(print_nothing),
    "super": lambda: super(DictAsked, DictAsked()),
    "mapping proxy": lambda: types.MappingProxyType({"a": 1}),
    "namespace": lambda: types.SimpleNamespace(a=1),
    "generic alias": lambda: list[int],
    "union": lambda: int | list[str],
    "typing": lambda: typing.Callable[[int], dict[str, typing.Any]],
    "type variable": lambda: typing.TypeVar("T"),
    "weakref": lambda: weakref.ref(Plain),
    "weakref with callback": lambda: weakref.ref(Plain, print_nothing),
    "weak dict": lambda: weakref.WeakValueDictionary(a=Plain),
    "finalizer": lambda: weakref.finalize(Plain, print_nothing),
    "partial": lambda: functools.partial(print_nothing, 1, a=2),
    "lru_cache": cached,
    "cached property": lambda: functools.cached_property(print_nothing),
    "cmp_to_key": lambda: functools.cmp_to_key(print_nothing)(1),  # type: ignore[arg-type]
    "itemgetter": lambda: operator.itemgetter(1, 2),
    "attrgetter": lambda: operator.attrgetter("a.b", "c"),
    "methodcaller": lambda: operator.methodcaller("name", 1, 2, key=3),
    "list iterator": lambda: partly_read(iter([1, 2])),
    "dict iterator": lambda: partly_read(iter({1: 2})),
    "set iterator": lambda: partly_read(iter({1, 2})),
    "dict view": lambda: {"a": 1}.items(),
    "enumerate": lambda: enumerate("abc"),
    "zip": lambda: partly_read(zip("ab", [1, 2], strict=False)),
    "map": lambda: map(str, [1]),
    "filter": lambda: filter(None, [1]),
    "reversed": lambda: reversed([1]),
    "callable iterator": lambda: iter(list, None),
    "chain": lambda: partly_read(itertools.chain([1, 2], [3])),
    "cycle": lambda: partly_read(itertools.cycle([1, 2])),
    "count": lambda: itertools.count(10**12),
    "repeat": lambda: itertools.repeat([], 5),
    "product": lambda: partly_read(itertools.product("ab", repeat=4)),
    "permutations": lambda: partly_read(itertools.permutations("abcdef", 3)),
    "combinations": lambda: partly_read(itertools.combinations("abcdefgh", 4)),
    "combinations with": lambda: partly_read(itertools.combinations_with_replacement("abcdefgh", 4)),
    "groupby": lambda: partly_read(itertools.groupby("aabb")),
    "tee": lambda: partly_read(itertools.tee([1, 2, 3])[0]),
    "islice": lambda: itertools.islice([1, 2, 3], 2),
    "accumulate": lambda: partly_read(itertools.accumulate([1, 2])),
    "pairwise": lambda: partly_read(itertools.pairwise([1, 2, 3])),
    "starmap": lambda: itertools.starmap(pow, [(1, 2)]),
    "zip_longest": lambda: partly_read(itertools.zip_longest([1], [2, 3])),
    "OrderedDict": ordered,
    "OrderedDict iterator": lambda: partly_read(iter(ordered())),
    "defaultdict": lambda: collections.defaultdict(list, a=[1]),
    "Counter": lambda: collections.Counter("abracadabra"),
    "ChainMap": lambda: collections.ChainMap({"a": 1}, {}),
    "deque": lambda: collections.deque([1, 2, 3]),
    "deque of many": changed_deque,
    "deque iterator": lambda: partly_read(iter(collections.deque([1, 2]))),
    "namedtuple": Named,
    "struct sequence": lambda: time.localtime(),
    "dataclass": Record,
    "enum class": lambda: enum.Enum("Made", "A B C"),
    "array": lambda: array.array("d", range(20)),
    "array iterator": lambda: iter(array.array("b", [1])),
    "Struct": lambda: struct.Struct("<" + "hi" * 9),
    "Struct iterator": lambda: struct.iter_unpack("<h", b"abcd"),
    "date": lambda: datetime.date(2000, 1, 2),
    "datetime": lambda: datetime.datetime(2000, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "time": lambda: datetime.time(1, 2),
    "timedelta": lambda: datetime.timedelta(3, 4),
    "timezone": lambda: datetime.timezone(datetime.timedelta(hours=3), "name"),
    "Decimal": lambda: decimal.Decimal("1.5"),
    "Decimal long": lambda: decimal.Decimal(7) ** 40 * decimal.Decimal(10**90 + 1),
    "decimal context": lambda: decimal.Context(prec=20),
    "Fraction": lambda: fractions.Fraction(3, 7),
    "UUID": lambda: uuid.UUID(int=10**30),
    "Random": lambda: random.Random(1),
    "hash": lambda: hashlib.sha256(b"abc"),
    "blake2": lambda: hashlib.blake2b(b"abc"),
    "hmac": lambda: hmac.new(b"key", b"text", "sha256"),
    "pattern": lambda: re.compile(f"a+(b|c)*{len(str(1))}"),
    "match": lambda: re.match(r"(\w+) (\w+)", "two words"),
    "scanner": scanner,
    "match iterator": lambda: partly_read(re.finditer(r"\w", "abc")),
    "json encoder": lambda: json.JSONEncoder(indent=1),
    "json decoder": lambda: json.JSONDecoder(),
    "StringIO": lambda: io.StringIO("some text" * 9),
    "StringIO written": lambda: io.StringIO().writelines(["a", "b"]) or io.StringIO("x"),
    "BytesIO": lambda: io.BytesIO(b"some bytes" * 9),
    "TextIOWrapper": reader_of,
    "BufferedReader": lambda: io.BufferedReader(io.BytesIO(b"abc"), 64),
    "BufferedWriter": lambda: io.BufferedWriter(io.BytesIO(), 64),
    "BufferedRWPair": lambda: io.BufferedRWPair(io.BytesIO(), io.BytesIO(), 64),  # type: ignore[type-var]
    "FileIO": opened,
    "file": temporary,
    "newline decoder": lambda: io.IncrementalNewlineDecoder(None, True),
    "codec decoder": lambda: codecs.getincrementaldecoder("utf-8")(),
    "multibyte decoder": lambda: codecs.getincrementaldecoder("shift_jis")(),
    "csv reader": lambda: partly_read(csv.reader(["a,b,c", "d"])),
    "csv writer": lambda: csv.writer(io.StringIO()),
    "compressor": lambda: zlib.compressobj(),
    "decompressor": lambda: zlib.decompressobj(),
    "lzma": lambda: lzma.LZMADecompressor(),
    "gzip": lambda: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"abc"))),
    "mmap": lambda: mmap.mmap(-1, 4096),
    "lock": threading.Lock,
    "RLock": threading.RLock,
    "Condition": threading.Condition,
    "Event": threading.Event,
    "Semaphore": threading.Semaphore,
    "Thread": lambda: threading.Thread(target=print_nothing),
    "local": threading.local,
    "queue": queue.Queue,
    "simple queue": queue.SimpleQueue,
    "priority queue": queue.PriorityQueue,
    "executor": lambda: concurrent.futures.ThreadPoolExecutor(1),
    "future": concurrent.futures.Future,
    "context": context,
    "context variable": lambda: contextvars.ContextVar("made", default=(1,)),
    "exit stack": contextlib.ExitStack,
    "expat parser": parser_with_state,
    "ElementTree": tree,
    "ElementTree iterator": lambda: partly_read(tree().iter()),
    "TreeBuilder": tree_builder,
    "XMLParser": xml_parser,
    "pickler": pickler,
    "unpickler": unpickler,
    "zoneinfo": lambda: zoneinfo.ZoneInfo.no_cache("Europe/Berlin"),
    "ctypes structure": Structure,
    "ctypes array": lambda: (ctypes.c_int * 40)(),
    "ctypes pointer": lambda: ctypes.pointer(ctypes.c_int(1)),
    "ctypes number": lambda: ctypes.c_double(1.5),
    "ctypes callback": lambda: ctypes.CFUNCTYPE(None)(print_nothing),
    "sqlite": numbers_stored,
    "ssl context": lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    "selector": selectors.SelectSelector,
    "path": lambda: pathlib.Path("/some") / "path",
    "URL": lambda: urllib.parse.urlsplit("https://example.org/path?query"),
    "IP address": lambda: ipaddress.ip_address("::1"),
    "IP network": lambda: ipaddress.ip_network("10.0.0.0/8"),
    "logger": lambda: logging.Logger("made"),
    "log record": lambda: logging.LogRecord("a", 1, "b", 1, "c", (), None),
    "argument parser": lambda: argparse.ArgumentParser(prog="made").add_argument("--one"),
    "configuration": lambda: configparser.ConfigParser(),
    "mail": email.message.EmailMessage,
    "cookie": lambda: http.cookies.SimpleCookie("a=b"),
    "syntax tree": lambda: ast.parse("a = [b + 1 for b in c]"),
    "signature": lambda: inspect.signature(closure),
    "mock": lambda: unittest.mock.NonCallableMock(),
    "template": lambda: string.Template("$a"),
    "formatter": string.Formatter,
    "text wrapper": textwrap.TextWrapper,
    "difference": lambda: difflib.SequenceMatcher(None, "abcd", "bcde"),
    "normal distribution": lambda: statistics.NormalDist(1, 2),
    "heap": lambda: heapq.nlargest(3, range(9)),
    "sorted": lambda: bisect.insort([1], 2) or sorted([3, 1, 2]),
    "deep copy": lambda: copy.deepcopy({"a": [1, {2}]}),
    "thread handle": _thread.allocate_lock,
    "temporary file": lambda: tempfile.SpooledTemporaryFile(max_size=100),  # noqa: SIM115
    "frozendict": lambda: frozendict(a=1, b=[]),  # type: ignore[name-defined]  # noqa: F821 (3.15)
    "sentinel": lambda: sentinel("made"),  # type: ignore[name-defined]  # noqa: F821 (3.15)
    "template string": lambda: eval('t"{1} and {2}"'),
}


def fill(copies: int = COPIES) -> dict[str, list[Any]]:
    """{kind: as many objects of it}; a kind that this version or machine does not have is left out."""
    kept: dict[str, list[Any]] = {}
    for kind, make in {**MAKERS, **numpy_makers()}.items():
        try:
            kept[kind] = [make() for _ in range(copies)]
        except (NameError, SyntaxError, LookupError):
            continue
    return kept
