"""Reference counts: what adds one, what takes one away, and what happens at zero."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator

from ..models.demo import Cell, Check, Evidence, Graph
from ..probes.allocation import block
from ..probes.header import header
from ._base import Demo, Observed, allocator
from ._drawing import drawn, with_freed
from ._measure import free_threaded, own

ROUNDS = 50
ENOUGH = 0.9  # of the rounds: another thread may take the block in between
NONES = 1000
PILE = 1024


class Counting(Demo):
    name = "counting"
    chapter = "02"
    title = "Counting references"
    claim = (
        "Every name, container and closure that refers to an object adds one to its count. `del` takes a reference "
        "away, not an object; the last one to go frees it at once, before the next statement, and its block is the "
        "first of its pool to be given out again."
    )
    title_zh = "引用计数"
    claim_zh = (
        "每个指向对象的名字、容器和闭包都使其计数加一；del 去掉的是引用而不是对象；"
        "最后一个引用消失时，对象在下一条语句之前就被释放，它的内存块最先被重新分配。"
    )
    summary = (
        "The count follows every holder up and down, whatever kind it is, and the callback between two statements "
        "shows that freeing waits for nobody: no collector is needed. The block that comes back first shows why "
        "short-lived objects cost so little: their memory is still warm."
    )
    summary_zh = (
        "无论持有者是哪一种，计数都随之增减；两条语句之间的回调说明释放不等待任何人，也不需要垃圾回收器。"
        "被释放的块最先重新分配出去，这就是短命对象开销很小的原因：它们的内存还在缓存里。"
    )
    experiment = (
        "An object is bound, stored, passed and let go step by step, and its count is read from its header each time. "
        "A weak reference notes when it dies. Then objects are freed and made again beside one that stays in the same "
        "pool, whose counter of blocks is read before and after."
    )
    notes = (
        "Passing an argument adds one reference up to CPython 3.13; from 3.14 on a local variable may be lent to the "
        "function instead, and the count inside stays as it was.",
        "sys.getrefcount counts its own argument up to 3.13 (a fresh local shows 2), from 3.14 on it does not (1).",
        "From 3.12 on None, small integers and other constants are immortal: nothing changes their count.",
        "Free-threaded builds keep two counts: the owning thread's, and one shared by all others; they are merged when "
        "the owner's falls to zero. Books that speak of 'the' reference count describe builds with a GIL.",
    )

    def observe(self, fast: bool) -> Observed:
        stepped = steps()
        freed = death()
        evidence, checks = [stepped[0], freed[0]], [*stepped[1], freed[1]]
        again, reused = reuse()
        evidence.append(again)
        if reused is not None:
            checks.append(reused)
        shown, never = constants()
        evidence.append(shown)
        checks.append(never)
        if free_threaded():
            split, kept = two_counts()
            evidence.append(split)
            checks.append(kept)
        return Observed(tuple(evidence), tuple(checks))


class Thing:
    """An object of the demos' own, which weak references can watch."""

    __slots__ = ("__weakref__",)


def counted_inside(argument: object) -> int | None:
    seen = header(argument)
    return own(seen.refcount, seen.call_holds)


def hold(value: object) -> Iterator[object]:
    yield value
    yield None


def steps() -> tuple[Evidence, tuple[Check, ...]]:
    thing = Thing()
    rows: list[tuple[Cell, ...]] = []
    counts: dict[str, int | None] = {}

    def note(step: str, counted: int | None) -> None:
        counts[step] = counted
        rows.append((step, counted))

    seen = header(thing)
    note("thing = Thing()", own(seen.refcount, seen.call_holds))
    shown, predicted = sys.getrefcount(thing), seen.getrefcount
    name = thing
    seen = header(thing)
    note("name = thing", own(seen.refcount, seen.call_holds))
    items = [thing, thing]
    seen = header(thing)
    note("items = [thing, thing]", own(seen.refcount, seen.call_holds))
    table = {"key": thing}
    seen = header(thing)
    note("table = {'key': thing}", own(seen.refcount, seen.call_holds))
    frame = hold(thing)
    next(frame)
    seen = header(thing)
    note("next(generator(thing))", own(seen.refcount, seen.call_holds))
    picture = drawn(
        {
            "steps()": {"thing": thing, "name": name, "items": items, "table": table},
            "hold(), suspended": {"value": thing},
        }
    )
    note("counted_inside(thing)", counted_inside(thing))
    seen = header(thing)
    note("... and returned", own(seen.refcount, seen.call_holds))
    del frame
    seen = header(thing)
    note("del generator", own(seen.refcount, seen.call_holds))
    del items[0]
    seen = header(thing)
    note("del items[0]", own(seen.refcount, seen.call_holds))
    table.clear()
    items.clear()
    seen = header(thing)
    note("items.clear(), table.clear()", own(seen.refcount, seen.call_holds))
    same = name is thing
    del name
    seen = header(thing)
    note("del name", own(seen.refcount, seen.call_holds))
    evidence = Evidence(
        title="One object's references, step by step",
        text="References to it, without the measuring call's own.",
        columns=("step", "references"),
        rows=tuple(rows),
        graph=picture,
    )
    if None in counts.values():
        unknown = "the calling frame could not be read, so the call's own references are not known"
        return evidence, (Check("Each name and container adds one", None, "the counts are not known", unknown),)
    expected = (1, 2, 4, 5, 6, 6, 5, 4, 2, 1)
    found = tuple(count for step, count in counts.items() if step != "counted_inside(thing)")
    inside, outside = counts["counted_inside(thing)"] or 0, counts["... and returned"] or 0
    return evidence, (
        Check(
            "Each name, container and frame that refers to it adds one, and takes it away when it goes",
            found == expected and same,
            f"counts of {', '.join(map(str, found))}; {', '.join(map(str, expected))} were expected",
        ),
        Check(
            "An argument adds one at most, for as long as the call lasts",
            inside - outside in (0, 1),
            f"{inside} inside the function, {outside} after it returned",
        ),
        Check(
            "sys.getrefcount gives what the header and this version's way of passing arguments foretell",
            shown == predicted,
            f"sys.getrefcount(thing) gave {shown}, {predicted} was foretold for an object with 1 reference",
        ),
    )


def death() -> tuple[Evidence, Check]:
    """What happens between two statements when the last reference goes."""
    events: list[str] = []
    thing = Thing()
    watch = weakref.ref(thing, lambda _: events.append("the object is freed"))
    other = thing
    events.append("before `del thing`")
    del thing
    events.append("after `del thing`, one name is left")
    del other
    events.append("after `del other`")
    gone = watch() is None
    evidence = Evidence(
        title="When it is freed",
        text="In the order in which it happened; a weak reference's callback tells of the object's end.",
        columns=("", "event"),
        rows=tuple((number, event) for number, event in enumerate(events, 1)),
    )
    held = gone and events[2:] == ["the object is freed", "after `del other`"]
    text = "it was freed inside `del other`, not before and not later" if held else " / ".join(events)
    return evidence, Check("The last reference to go frees the object before the next statement runs", held, text)


def reuse() -> tuple[Evidence, Check | None]:
    rows: list[tuple[Cell, ...]] = []
    fell = reused = tried = 0
    picture: Graph | None = None
    # enough to fill pools: a block freed in a full one puts it in front of all others of its size
    pile: list[Thing | None] = [Thing() for _ in range(PILE)]
    for place in range(0, PILE // 2, 2):
        stays, goes = pile[place], pile[place + 1]
        here, there = block(stays), block(goes)
        if tried == ROUNDS or here.pool is None:
            break
        if here.pool != there.pool or here.pool_free:
            continue
        tried += 1
        address = id(goes)
        pile[place + 1] = None
        del goes  # nothing may be made between this and the next line
        heir = Thing()
        again = id(heir)
        del heir
        after = block(stays).pool_used
        pile[place + 1] = Thing()
        fell += after is not None and here.pool_used is not None and after < here.pool_used
        reused += again == address
        if picture is None and again == address:
            picture = with_freed(
                drawn({"reuse()": {"stays": stays, "heir": pile[place + 1]}}),
                address,
                "Thing",
                heir=id(pile[place + 1]) == address,
            )
        if len(rows) < 4:
            rows.append((f"{here.pool:#x}", f"{address:#x}", f"{again:#x}", here.pool_used, after))
    evidence = Evidence(
        title="The block goes back to its pool",
        text="One of two objects in a pool is freed, another is made, and freed too.",
        columns=("pool", "address of the freed", "address of the next", "blocks used before", "used after"),
        rows=tuple(rows),
        graph=picture,
    )
    claim = "A freed block is the first of its pool to be given out again"
    if tried < ROUNDS // 2:
        used = allocator()
        reason = f"this interpreter allocates by {used}, whose blocks lie in no pool of pymalloc's"
        if used.startswith("pymalloc"):
            reason = "no full pool was left alone by other threads"
        return evidence, None if free_threaded() else Check(claim, None, reason, reason)
    text = f"the pool had fewer used blocks in {fell} of {tried} rounds, the next object the address in {reused}"
    return evidence, Check(claim, min(fell, reused) >= ENOUGH * tried, text)


def constants() -> tuple[Evidence, Check]:
    """None's count while a thousand references are added."""
    before = header(None)
    kept = [None] * NONES
    after = header(None)
    added = after.refcount - before.refcount
    evidence = Evidence(
        title=f"None, before and after {NONES} more references to it",
        text="An immortal object's count is a constant that only says so.",
        columns=("moment", "count", "immortal"),
        rows=(
            ("before", f"{before.refcount:,}", "yes" if before.immortal else "no"),
            (f"[None] * {len(kept)}", f"{after.refcount:,}", "yes" if after.immortal else "no"),
        ),
    )
    text = f"{NONES} references changed the count by {added}; it is {'' if after.immortal else 'not '}immortal"
    # other threads may add to a count that counts
    held = added == 0 if after.immortal else added > NONES // 2
    return evidence, Check("None's count is either immortal and fixed, or counts like any other", held, text)


def two_counts() -> tuple[Evidence, Check]:
    """Of free-threaded builds: a reference that another thread takes goes to the shared count."""
    thing = Thing()
    rows: list[tuple[Cell, ...]] = []
    kept: list[object] = []

    def note(moment: str) -> tuple[int | None, int | None, bool | None]:
        seen = header(thing)
        rows.append((moment, seen.local_refcount, seen.shared_refcount, "yes" if seen.merged else "no"))
        return seen.local_refcount, seen.shared_refcount, seen.merged

    def take() -> None:
        kept.extend([thing] * 10)

    before = note("made by this thread")
    other = threading.Thread(target=take, name="meminspect-demo")
    other.start()
    other.join()
    shared = note("ten references more, by another thread")
    made: list[Thing] = []
    maker = threading.Thread(target=lambda: made.append(Thing()), name="meminspect-demo")
    maker.start()
    maker.join()
    theirs = header(made[0])
    rows.append(("an object of a thread that ended", theirs.local_refcount, theirs.shared_refcount, str(theirs.merged)))
    evidence = Evidence(
        title="Two counts of one object",
        text="The owner counts without atomic operations; everybody else adds to the shared count.",
        columns=("moment", "local", "shared", "merged"),
        rows=tuple(rows),
    )
    grown = (shared[1] or 0) - (before[1] or 0)
    return evidence, Check(
        "References that another thread takes are counted apart from the owner's",
        grown == 10 and shared[0] == before[0],
        f"the shared count grew by {grown}, the local one went from {before[0]} to {shared[0]}",
    )
