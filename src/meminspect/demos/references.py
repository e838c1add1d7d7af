"""Names refer to objects; assignment copies nothing; a freed block is the next object's."""

from __future__ import annotations

import sys

from ..models.demo import Check, Evidence, Graph
from ..probes.header import header
from ._base import Demo, Observed, allocator
from ._drawing import drawn, with_freed
from ._measure import own

ROUNDS = 50
ENOUGH = 0.9  # of the rounds: another thread may take the block in between
BYTES = 200
LETTERS = sys.getsizeof(bytes(BYTES)) - sys.getsizeof("")  # as many ASCII letters as need the same block


class References(Demo):
    name = "references"
    chapter = "01"
    title = "Names, references and what becomes of a freed block"
    claim = (
        "Assignment binds a name to an object and copies nothing: it adds one reference. Rebinding a name changes the "
        "name, not the object. When the last reference goes, the object's block is free at once, and the next object "
        "of its size class gets it."
    )
    title_zh = "名字、引用，以及被释放的内存块"
    claim_zh = (
        "赋值只是把名字绑定到对象，不复制任何东西，只增加一个引用；重新绑定改变的是名字而不是对象；"
        "最后一个引用消失时，内存块立即空闲，并交给同一大小级别的下一个对象。"
    )
    summary = (
        "An address that stays while names come and go shows that names hold references, not values; a count that "
        "rises by one for each shows that CPython keeps book of them. That a str turns up at the address of a freed "
        "bytes object shows that a block belongs to its size, not to a type."
    )
    summary_zh = (
        "名字来来去去而地址不变，说明名字保存的是引用而不是值；每多一个名字计数加一，说明 CPython 在逐一记账。"
        "字符串出现在已释放字节串的地址上，说明内存块属于某个大小，而不属于某个类型。"
    )
    experiment = (
        "A list is bound to one name, then to a second; the second is rebound; both counts are read from the object's "
        "header. Then a bytes object is freed and a str of the same size class is made, and their "
        "addresses are compared."
    )
    notes = (
        "Up to CPython 3.13 sys.getrefcount counts its own argument: a fresh local shows 2. From 3.14 on a local is "
        "passed as a borrowed reference, and it shows 1.",
        "From 3.12 on None, small integers and other constants are immortal: their count is a constant.",
        "Free-threaded builds count the owning thread's references apart from all others', and their allocator "
        "(mimalloc) hands a freed block out later.",
    )

    def observe(self, fast: bool) -> Observed:
        bound, checks = binding()
        reused, check = reuse()
        return Observed((bound, reused), (*checks, check))


def binding() -> tuple[Evidence, tuple[Check, ...]]:
    rows: list[tuple[str | int | None, ...]] = []
    counts: list[int | None] = []

    def note(code: str, address: int, counted: int | None, shown: int | None) -> None:
        rows.append((code, f"{address:#x}", counted, shown))
        counts.append(counted)

    first = [1, 2]
    seen = header(first)
    note("first = [1, 2]", seen.address, own(seen.refcount, seen.call_holds), seen.getrefcount)
    second = first
    same = second is first
    seen = header(first)
    note("second = first", seen.address, own(seen.refcount, seen.call_holds), seen.getrefcount)
    second = [*second, 3]
    other = second is not first
    seen = header(second)
    note("second = [*second, 3]    (second)", seen.address, own(seen.refcount, seen.call_holds), seen.getrefcount)
    seen = header(first)
    note("                         (first)", seen.address, own(seen.refcount, seen.call_holds), seen.getrefcount)
    unchanged = first == [1, 2]
    picture = called_with(first, {"first": first, "second": second})
    del second
    seen = header(first)
    note("del second", seen.address, own(seen.refcount, seen.call_holds), seen.getrefcount)
    table = Evidence(
        title="Binding and rebinding",
        text="References to the list at each step, without the measuring call's own, and what sys.getrefcount shows.",
        columns=("step", "address of the list", "references", "sys.getrefcount"),
        rows=tuple(rows),
        graph=picture,
    )
    alone, shared, rebound, left, after = counts
    if None in counts:
        unknown = "the calling frame could not be read, so the call's own references are not known"
        return table, (Check("Assignment adds a reference", None, "the counts are not known", unknown),)
    return table, (
        Check(
            "Assignment copies nothing and adds one reference",
            same and (alone, shared) == (1, 2),
            f"both names give one object, with {alone} reference before the assignment and {shared} after",
        ),
        Check(
            "Rebinding a name leaves the object as it was, with one reference less",
            other and unchanged and (rebound, left, after) == (1, 1, 1),
            f"after rebinding the second name the first list has {left} reference, and {after} once it is deleted",
        ),
    )


def called_with(argument: object, names: dict[str, object]) -> Graph:
    """Drawn from inside a call: its frame has a name for the object too."""
    return drawn({"binding()": names, "called_with()": {"argument": argument}})


def reuse() -> tuple[Evidence, Check]:
    rows: list[tuple[str | int | None, ...]] = []
    reused = 0
    picture: Graph | None = None
    for _ in range(ROUNDS):
        freed = bytes(BYTES)
        before = header(freed)
        address = id(freed)
        del freed
        heir = "x" * LETTERS
        heir_address = id(heir)
        reused += address == heir_address
        if len(rows) < 6:
            after = header(heir)
            rows.append((f"bytes({BYTES}), then freed", f"{before.address:#x}", before.type_name, before.length))
            rows.append((f"'x' * {LETTERS}", f"{after.address:#x}", after.type_name, after.length))
        if picture is None:
            picture = with_freed(
                drawn({"reuse()": {"heir": heir}}), address, f"bytes({BYTES})", heir=address == heir_address
            )
        del heir
    table = Evidence(
        title="A freed block and its next object",
        text=f"Three of {ROUNDS} rounds. The address stays, the header at it tells of another object.",
        columns=("object", "address", "type in the header", "length in the header"),
        rows=tuple(rows),
        graph=picture,
    )
    return table, reuse_check(reused)


def reuse_check(reused: int) -> Check:
    text = f"the next object of the size class lay at the freed one's address in {reused} of {ROUNDS} rounds"
    claim = "A freed block is given to the next object of its size class"
    if reused >= ENOUGH * ROUNDS:
        return Check(claim, True, text)
    used = allocator()
    if used.startswith("pymalloc"):
        return Check(claim, False, text)
    return Check(
        claim, None, text, f"this interpreter allocates by {used}, which need not hand out the last freed first"
    )
