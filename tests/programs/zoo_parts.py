"""Classes, functions and makers that the zoo needs for objects with a state: subclasses, generators, parsers."""

from __future__ import annotations

import abc
import asyncio
import collections
import contextlib
import contextvars
import ctypes
import dataclasses
import enum
import functools
import inspect
import io
import os
import pickle
import re
import sqlite3
import types
import typing
import xml.etree.ElementTree as etree
import xml.parsers.expat
from collections.abc import Callable
from typing import Any


class Plain:
    def __init__(self) -> None:
        self.one, self.two, self.three = 1.5, "two", [3]

    def method(self) -> int:
        return 1


class ManyAttributes:
    def __init__(self) -> None:
        for number in range(40):
            setattr(self, f"attribute_{number}", float(number))


class DictAsked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.__dict__["four"] = 4


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self) -> None:
        self.left, self.right = 1.25, "right"


class SlottedWeak:
    __slots__ = ("__weakref__", "value")


class ListChild(list[Any]):
    pass


class DictChild(dict[str, Any]):
    pass


class StrChild(str):
    pass


class IntChild(int):
    pass


class BytesChild(bytes):
    pass


class TupleChild(tuple[Any, ...]):
    pass


class SetChild(set[Any]):
    pass


class DequeChild(collections.deque[Any]):
    pass


class Failure(Exception):
    def __init__(self) -> None:
        super().__init__("failure")
        self.detail = "detail"


class Colour(enum.Enum):
    RED = 1


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self) -> None: ...


@dataclasses.dataclass
class Record:
    name: str = "name"
    values: list[int] = dataclasses.field(default_factory=lambda: [1, 2])


class Named(typing.NamedTuple):
    x: int = 1
    y: float = 2.5


class Structure(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int), ("values", ctypes.c_double * 8))


def generate(number: int = 0) -> Any:
    text = f"generator {number}"
    received = yield text
    yield received


async def coroutine() -> int:
    await asyncio.sleep(0)
    return 1


async def generate_async() -> Any:
    local = [1]
    yield local


@types.coroutine
def paused() -> Any:
    yield "paused"


async def waits() -> None:
    local = object()
    await paused()
    del local


def closure(number: int = 0) -> Callable[[], Any]:
    kept = [number]

    def inner() -> Any:
        return kept, number

    return inner


def raised() -> BaseException:
    try:
        raise Failure
    except Failure as error:
        return error


def started(generator: Any) -> Any:
    next(generator)
    return generator


def sent(awaited: Any) -> Any:
    awaited.send(None)
    return awaited


def frame_of(depth: int) -> Any:
    return inspect.currentframe() if not depth else frame_of(depth - 1)


def stepped_async() -> Any:
    source = generate_async()
    step = source.__anext__()
    with contextlib.suppress(StopIteration):
        step.send(None)
    return source


def parser_with_state() -> Any:
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = print_nothing
    parser.Parse("<a one='1'><b>", False)
    return parser


def print_nothing(*values: Any) -> None:
    pass


def pickler() -> Any:
    made = pickle.Pickler(io.BytesIO())
    made.dump([str(number) for number in range(20)])
    return made


def unpickler() -> Any:
    made = pickle.Unpickler(io.BytesIO(pickle.dumps([str(number) for number in range(20)])))
    made.load()
    return made


def tree() -> Any:
    root = etree.Element("root", {"one": "1"})
    for number in range(8):
        etree.SubElement(root, f"child_{number}").text = "text"
    return root


def tree_builder() -> Any:
    builder = etree.TreeBuilder()
    builder.start("a", {})
    builder.start("b", {})
    return builder


def xml_parser() -> Any:
    made = etree.XMLParser()
    made.feed("<a><b>text")
    return made


def partly_read(iterator: Any) -> Any:
    next(iterator)
    return iterator


def scanner() -> Any:
    made = re.compile(r"(\w)(\w)").scanner("abcdef")
    made.match()
    return made


def ordered() -> Any:
    made = collections.OrderedDict((str(number), number) for number in range(12))
    made.move_to_end("3")
    return made


def changed_deque() -> Any:
    made = collections.deque(range(200), maxlen=150)
    made.rotate(3)
    return made


def cached() -> Any:
    @functools.lru_cache(maxsize=32)
    def square(number: int) -> int:
        return number * number

    for number in range(20):
        square(number)
    return square


def context() -> Any:
    made = contextvars.copy_context()
    for number in range(4):
        made.run(contextvars.ContextVar(f"variable {number}").set, number)
    return made


def reader_of(text: str = "some\nlines\nof text\n" * 20) -> Any:
    made = io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode())), encoding="utf-8")
    made.readline()
    return made


def utf8_cached(number: int = 0) -> str:
    made = f"zwölf {number} ünïcode {'é' * 20}"
    ctypes.pythonapi.PyUnicode_AsUTF8.restype = ctypes.c_char_p
    ctypes.pythonapi.PyUnicode_AsUTF8.argtypes = [ctypes.py_object]
    ctypes.pythonapi.PyUnicode_AsUTF8(made)
    return made


def numbers_stored() -> Any:
    base = sqlite3.connect(":memory:")
    cursor = base.execute("create table numbers (value)")
    cursor.execute("insert into numbers values (1)")
    return base, cursor


def a_class() -> type:
    return type("Made", (Plain,), {"__slots__": ("extra",), "__doc__": "A class made at run time." * 3})


def opened() -> Any:
    return open(os.devnull, "rb", buffering=0)


def temporary() -> Any:
    return open(os.devnull, "w+")


def set_of(count: int) -> set[int]:
    return set(range(count))


def emptied() -> dict[str, int]:
    made = {str(number): number for number in range(60)}
    for number in range(50):
        del made[str(number)]
    return made


def compiled(number: int = 0) -> Any:
    return compile(
        f"def made_{number}(a, b=2, *c, **d):\n  x = [a for a in c]\n  return x, a, {number}\n", "<zoo>", "exec"
    )


def executed() -> Any:
    space: dict[str, Any] = {}
    exec(compiled(), space)
    for _ in range(20):
        space["made_0"](1)
    return space["made_0"]
