"""What makes a new object and what shares one: constants, interning, copies, defaults."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace

from ..models.demo import Cell, Check, Evidence
from ..probes.header import header
from ._base import Demo, Observed
from ._drawing import drawn

LAST_TRIED = 5000  # small integers: 256 was the largest for decades


class Sharing(Demo):
    name = "sharing"
    chapter = "01"
    title = "What is shared, and what is made anew"
    claim = (
        "Equal is not the same. Small integers, strings of one latin-1 character, interned strings, the empty "
        "tuple and the constants of a code object are one object wherever they turn up; a value that is computed "
        "is a new object each time. copy.copy shares what is inside, copy.deepcopy only what cannot change. A "
        "default argument is made once."
    )
    title_zh = "什么是共享的，什么是新建的"
    claim_zh = (
        "相等不等于同一：小整数、单个 latin-1 字符的字符串、驻留字符串、空元组以及代码对象的常量处处是同一个对象，"
        "计算得到的值每次都是新对象；copy.copy 共享内部对象，copy.deepcopy 只共享不可变的对象；默认参数只创建一次。"
    )
    summary = (
        "Equal addresses of results that were made apart show what CPython keeps once for everybody; different ones "
        "show that an equal value is no reason to share. In copies the addresses tell how deep a copy went, and that "
        "the default of an argument is an object like any other, which lives with the function."
    )
    summary_zh = (
        "分别求值的结果地址相同，说明 CPython 为所有人只保存一份；地址不同，说明值相等并不构成共享的理由。"
        "副本中的地址说明复制到了哪一层；参数的默认值也只是一个普通对象，与函数同生共死。"
    )
    experiment = (
        "Each expression is evaluated twice, both results are kept, and their addresses and headers are compared. "
        "A list of lists is copied in every way, and the addresses of its items are compared. A function with a "
        "default list is called three times."
    )
    notes = (
        "Up to which integer they are shared is measured here. Books say 256; CPython 3.15 keeps 1,024.",
        "From 3.12 on these shared constants are immortal: their reference count is a constant. Up to 3.11 they "
        "were counted like any other object.",
        "Which values are shared is no promise of the language: compare with ==, never with `is`.",
    )

    def observe(self, fast: bool) -> Observed:
        shared, anew = compared(SAME), compared(NEW)
        copies, copied = copy_kinds()
        calls, defaults = default_argument()
        edge = last_small_integer()
        below = int("-5") is int("-5") and int("-6") is not int("-6")
        return Observed(
            (
                table("Evaluated twice, one object", shared, f"Integers are shared up to {edge:,} here."),
                table("Evaluated twice, two objects", anew, "Equal values, each in a block of its own."),
                copies,
                calls,
            ),
            (
                Check(
                    "Constants and interned values are one object",
                    all(row[1] == row[2] for row in shared),
                    named(shared, True),
                ),
                Check(
                    "Computed values are new objects each time",
                    all(row[1] != row[2] for row in anew),
                    named(anew, False),
                ),
                Check(
                    "Integers are shared from -5 to 256 at least, and not for ever",
                    below and 256 <= edge < LAST_TRIED,
                    f"from -5 to {edge:,}",
                ),
                *copied,
                defaults,
            ),
        )


def constant() -> object:
    return (1, "constant")


SAME: dict[str, Callable[[], object]] = {
    "int('7')": lambda: int("7"),
    "int('256')": lambda: int("256"),
    "chr(233)": lambda: chr(233),
    "bytes([65])": lambda: bytes([65]),
    "sys.intern(''.join(['spam', '!']))": lambda: sys.intern("".join(["spam", "!"])),
    "tuple([])": lambda: tuple([]),  # noqa: C409
    "''.join([])": lambda: "".join([]),
    "constant()  # return (1, 'constant')": constant,
    "bool(1)": lambda: bool(1),
    "None": lambda: None,
}
NEW: dict[str, Callable[[], object]] = {
    "int('99999')": lambda: int("99999"),
    "float('1.5')": lambda: float("1.5"),
    "chr(8364)": lambda: chr(8364),
    "''.join(['spam', '!'])": lambda: "".join(["spam", "!"]),
    "tuple([1])": lambda: tuple([1]),  # noqa: C409
    "bytes(2)": lambda: bytes(2),
    "[]": list,
    "object()": lambda: object(),
}


def compared(expressions: dict[str, Callable[[], object]]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for text, make in expressions.items():
        first, second = make(), make()
        seen = header(first)
        rows.append((text, f"{id(first):#x}", f"{id(second):#x}", "yes" if seen.immortal else "no"))
    return rows


def table(title: str, rows: list[tuple[Cell, ...]], text: str) -> Evidence:
    return Evidence(
        title=title, text=text, columns=("expression", "address", "address again", "immortal"), rows=tuple(rows)
    )


def named(rows: list[tuple[Cell, ...]], same: bool) -> str:
    other = [str(row[0]) for row in rows if (row[1] == row[2]) is not same]
    word = "one object" if same else "two objects"
    return f"{len(rows) - len(other)} of {len(rows)} gave {word}" + (f"; not {', '.join(other)}" if other else "")


def last_small_integer() -> int:
    """The largest integer n such that all from 0 to n are shared."""
    number = 0
    while number < LAST_TRIED and int(str(number + 1)) is int(str(number + 1)):
        number += 1
    return number


def copy_kinds() -> tuple[Evidence, tuple[Check, ...]]:
    inner, fixed = [1], (1, 2)
    whole = [inner, inner, fixed, 99999]
    copies = {
        "whole.copy()": whole.copy(),
        "whole[:]": whole[:],
        "copy.copy(whole)": copy.copy(whole),
        "copy.deepcopy(whole)": copy.deepcopy(whole),
    }
    rows: list[tuple[Cell, ...]] = [("whole", *(f"{id(one):#x}" for one in (whole, *whole)))]
    rows += [(text, *(f"{id(one):#x}" for one in (made, *made))) for text, made in copies.items()]
    evidence = Evidence(
        title="A list of [inner, inner, a tuple, 99999], copied",
        text="The same address in a column is the same object.",
        columns=("", "the list", "item 0", "item 1", "item 2 (tuple)", "item 3 (int)"),
        rows=tuple(rows),
    )
    flat_copy, deep_copy = copies["copy.copy(whole)"], copies["copy.deepcopy(whole)"]
    picture = drawn({"copy_kinds()": {"whole": whole, "flat_copy": flat_copy, "deep_copy": deep_copy}})
    deep = copies.pop("copy.deepcopy(whole)")
    flat = all(made is not whole and all(a is b for a, b in zip(made, whole, strict=True)) for made in copies.values())
    inner.append(2)
    seen = all(made[0] == [1, 2] for made in copies.values())
    evidence = replace(evidence, graph=picture)
    return evidence, (
        Check(
            "A shallow copy is a new list of the same items",
            flat and seen,
            f"{len(copies)} ways of copying gave new lists with the very same items; a change inside shows in each",
        ),
        Check(
            "A deep copy makes what can change anew, once each, and shares what cannot",
            deep[0] is not inner and deep[0] is deep[1] and deep[2] is fixed and deep[0] == [1],
            "the inner list is another one, twice the same; the tuple is shared" if deep[2] is fixed else "not so",
        ),
    )


def collect(value: int, found: list[int] = []) -> list[int]:  # noqa: B006
    found.append(value)
    return found


def default_argument() -> tuple[Evidence, Check]:
    defaults = collect.__defaults__
    assert defaults is not None
    kept: list[int] = defaults[0]
    kept.clear()
    rows: list[tuple[Cell, ...]] = []
    results = []
    for value in (1, 2, 3):
        made = collect(value)
        results.append(made)
        rows.append((f"collect({value})", str(made), f"{id(made):#x}"))
    rows.append(("collect.__defaults__[0]", str(kept), f"{id(kept):#x}"))
    held = all(made is kept for made in results) and kept == [1, 2, 3]
    kept.clear()
    evidence = Evidence(
        title="def collect(value, found=[])",
        text="The default belongs to the function, not to the call.",
        columns=("call", "gives", "address of the list"),
        rows=tuple(rows),
    )
    text = "three calls returned the function's own list, with what the calls before had put in" if held else "not so"
    return evidence, Check("A default argument is made once, when the function is defined", held, text)
