"""Who holds an object, by which way from a root, and what would go with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Model, shown

ROOTS = {
    "modules": "sys.modules",
    "frames": "a running frame",
    "interpreter": "the interpreter's state",
    "static": "immortal and static objects",
    "C": "C code or an evaluation stack",
    "memory": "live blocks of no known object",
    "garbage": "unreachable, waiting for the collector",
}


@dataclass(frozen=True, repr=False)
class Reference(Model):
    """How one object refers to another, as its structure says.

    role  -- "item", "key", "value" (of a dict), "attribute" (of an instance), "field" (of a built-in structure, or a
             slot), "local" and "stack" (of a frame), "type", "traverse" (told by the type's own tp_traverse), or
             "guess": a word of a structure that is not known, which is the address of an object that counts more
             references than are known
    name  -- index, key, attribute or variable; None where it is no short text or number
    frame -- the function's qualified name where a frame holds it
    """

    role: str
    name: str | int | None
    frame: str | None = None

    @property
    def text(self) -> str:
        """As an expression would have it: `.x`, `[3]`, `['x']`; in words where there is none."""
        name = self.name
        if self.role == "item":
            return f"[{name}]"
        if self.role == "value":
            return "[a key]" if name is None else f"[{shown(repr(name))}]"
        if self.role in ("attribute", "field"):
            plain = isinstance(name, str) and name.isidentifier()
            return f".{name}" if plain else f" ({shown(str(name)) if name is not None else 'an attribute'})"
        if self.role == "local":
            return f" (local variable {shown(str(name))})" if name is not None else " (a local variable)"
        return {
            "key": " (as a key)",
            "stack": " (on its evaluation stack)",
            "type": " (its type)",
            "traverse": " (told by its type's own code)",
            "guess": f" (guess: the word at byte {name})",
        }.get(self.role, f" ({self.role})")

    def __repr__(self) -> str:
        return f"<Reference {self.role}: {self.text.strip()}>"


@dataclass(frozen=True, repr=False)
class Node(Model):
    """One object or root.

    address   -- None of a root
    type_name -- qualified name of the type; of a root its kind, a key of ROOTS
    own_bytes -- its blocks as allocated, buffers included; 0 for static memory
    """

    address: int | None
    module: str | None
    type_name: str
    own_bytes: int

    @property
    def text(self) -> str:
        if self.address is None:
            return ROOTS.get(self.type_name, self.type_name)
        module = f"{self.module}." if self.module not in (None, "builtins") else ""
        return f"{module}{self.type_name} at {self.address:#x}"

    def __repr__(self) -> str:
        return f"<Node {shown(self.text)}>"


@dataclass(frozen=True, repr=False)
class Holder(Model):
    """What refers to the object. how -- None where it is not known (the interpreter's state, C code)

    count -- references of this kind: 1, or for many targets all from holders of the same type, of which this is one
    """

    node: Node
    how: Reference | None
    count: int

    def __repr__(self) -> str:
        return f"<Holder {shown(self.node.text)}{shown(self.how.text) if self.how else ''}>"


@dataclass(frozen=True, repr=False)
class Holders(Model):
    """`holders(obj)`: every object and root that refers to it, read from their structures.

    count       -- how many there are; `rows` has the first 200
    unexplained -- references that the object counts and nothing was found for: held by C code, or on the evaluation
                   stack of a frame that runs. From 3.14 on frames may borrow, and it can be too low
    known       -- False when the object is not in the graph: `reason` says why
    """

    target: Node | None
    targets: int
    count: int
    rows: tuple[Holder, ...]
    unexplained: int
    known: bool
    reason: str | None
    pause_s: float

    def __repr__(self) -> str:
        return f"<Holders: {self.count}, and {self.unexplained} references that are not explained>"


@dataclass(frozen=True, repr=False)
class Step(Model):
    """A node of a path, and how the one before refers to it (None at the root, and where it cannot be told)."""

    node: Node
    how: Reference | None

    def __repr__(self) -> str:
        return f"<Step {shown(self.node.text)}>"


@dataclass(frozen=True, repr=False)
class PathToRoot(Model):
    """`path_to_root(obj)`: one short way by which the object is held; through modules where that is not much longer.

    root  -- a key of ROOTS: why it is alive; "garbage" when no root leads to it, then there are no steps
    steps -- from the root on; the object is the last
    text  -- the same in one line
    """

    root: str
    steps: tuple[Step, ...]
    text: str
    known: bool
    reason: str | None
    pause_s: float

    def object(self) -> Any:
        """The object itself, reached once more from its root, each step by a reference that is there now.

        Raises LookupError when the path does not lead there any more, or begins where no path can be followed (the
        interpreter's state, static objects, C code).
        """
        from .. import _native

        addresses = [step.node.address for step in self.steps[1:] if step.node.address is not None]
        found = _native.references_reach(self.root, addresses)
        if found is None:
            raise LookupError(f"the path does not lead to the object any more, or begins at {ROOTS[self.root]}")
        return found

    def __repr__(self) -> str:
        return f"<PathToRoot {shown(self.text)}>"


@dataclass(frozen=True, repr=False)
class Retained(Model):
    """`retained(obj)`: what would go with it: all that no root leads to once it is taken out, itself included.

    objects, bytes -- blocks as allocated, buffers included
    own_bytes      -- its own
    """

    target: Node | None
    objects: int | None
    bytes: int | None
    own_bytes: int | None
    reason: str | None
    pause_s: float

    def __repr__(self) -> str:
        return f"<Retained {self.bytes} bytes in {self.objects} objects>"


@dataclass(frozen=True, repr=False)
class RetainedObject(Model):
    """One object of `top_retained()`.

    share  -- of all bytes of the graph, 0 to 1
    under  -- its immediate dominator: the nearest object without which it would go too; None: several roots hold it
    path   -- as path_to_root
    """

    node: Node
    retained_bytes: int
    share: float
    under: Node | None
    path: PathToRoot

    def __repr__(self) -> str:
        return f"<RetainedObject {shown(self.node.text)}: {self.retained_bytes} bytes>"


@dataclass(frozen=True, repr=False)
class RootRetained(Model):
    """What hangs under one kind of root alone; `references` are those that the root holds itself."""

    root: str
    references: int
    retained_bytes: int

    def __repr__(self) -> str:
        return f"<RootRetained {self.root}: {self.retained_bytes} bytes>"


@dataclass(frozen=True, repr=False)
class RetainedType(Model):
    """What hangs under the objects of one type, counted once where one of them hangs under another."""

    module: str | None
    type_name: str
    count: int
    retained_bytes: int

    @property
    def name(self) -> str:
        return self.type_name if self.module in (None, "builtins") else f"{self.module}.{self.type_name}"

    def __repr__(self) -> str:
        return f"<RetainedType {shown(self.name)}: {self.retained_bytes} bytes>"


@dataclass(frozen=True, repr=False)
class HeldByC(Model):
    """Objects of one type that only C code or an evaluation stack explains."""

    module: str | None
    type_name: str
    count: int

    def __repr__(self) -> str:
        return f"<HeldByC {shown(self.type_name)}: {self.count}>"


@dataclass(frozen=True, repr=False)
class RetainedSizes(Model):
    """`top_retained(n)`: the dominator tree's largest.

    types         -- the types under whose objects the most hangs
    total_bytes   -- of all: what is live in pymalloc, and the chunks of malloc that hold objects or their buffers
    small_bytes   -- of it, live in pymalloc
    unknown_bytes -- of that, in blocks of no known object (a root of its own)
    garbage_bytes -- reachable from no root
    objects, references -- of the graph; guesses are those references that were a word of an unknown structure;
                     dropped ones led to immortal or static objects
    pause_s       -- how long the GIL was held to read the graph; tree_s: the tree, computed without it
    graph_bytes, tree_bytes -- memory that it took beside the heap
    called        -- references that a type's tp_traverse told (foreign="call")
    consistent    -- read in a frozen copy of the process, of one moment; pause_s: until that was made
    reason        -- what is not in it of other interpreters, None: it is whole
    """

    rows: tuple[RetainedObject, ...]
    roots: tuple[RootRetained, ...]
    types: tuple[RetainedType, ...]
    held_by_c: tuple[HeldByC, ...]
    total_bytes: int
    small_bytes: int
    unknown_bytes: int
    garbage_bytes: int
    garbage_objects: int
    objects: int
    references: int
    guesses: int
    dropped: int
    graph_bytes: int
    tree_bytes: int
    pause_s: float
    tree_s: float
    consistent: bool = False
    called: int = 0
    reason: str | None = None

    def __repr__(self) -> str:
        return f"<RetainedSizes: {self.total_bytes} bytes in {self.objects} objects>"
