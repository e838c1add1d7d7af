"""What a demo shows: a claim, the experiment that tests it, and the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .base import Model

SCHEMA = 1
Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True, repr=False)
class Point(Model):
    """One point of a series: the median of its repetitions, between the lowest and the highest of them."""

    x: float
    y: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"<Point {self.x:g}: {self.y:g} ({self.low:g} to {self.high:g})>"


@dataclass(frozen=True, repr=False)
class Series(Model):
    """Points that belong together, in order of x."""

    name: str
    points: tuple[Point, ...]

    def __repr__(self) -> str:
        return f"<Series {self.name}: {len(self.points)} points>"


@dataclass(frozen=True, repr=False)
class Chart(Model):
    """What a plot shows; `log_x` and `log_y` when the axis grows by factors."""

    x_label: str
    y_label: str
    log_x: bool
    log_y: bool
    series: tuple[Series, ...]

    def __repr__(self) -> str:
        return f"<Chart {self.y_label} by {self.x_label}>"


@dataclass(frozen=True, repr=False)
class Span(Model):
    """Something that went on in one lane of a timeline, in seconds since its beginning."""

    lane: str
    label: str
    begin_s: float
    end_s: float

    def __repr__(self) -> str:
        return f"<Span {self.lane}: {self.label}, {self.begin_s:.6f} to {self.end_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class Timeline(Model):
    """What went on beside what: `lanes` from top to bottom, spans in order of their beginning."""

    lanes: tuple[str, ...]
    spans: tuple[Span, ...]

    def __repr__(self) -> str:
        return f"<Timeline of {len(self.lanes)} lanes, {len(self.spans)} spans>"


@dataclass(frozen=True, repr=False)
class GraphNode(Model):
    """A frame, an object, or what is left of one; `column` is how far to the right it stands, frames in 0.

    kind  -- "frame", "object" or "freed"
    lines -- what is to be said of it: address (id()), block (pymalloc's pools), references (the header's count)
    """

    id: str
    label: str
    column: int
    kind: str = "object"
    lines: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<GraphNode {self.label}>"


@dataclass(frozen=True, repr=False)
class GraphEdge(Model):
    """A reference from one node to another, by their ids; the label is a name of a frame, or a place in a container."""

    source: str
    target: str
    label: str

    def __repr__(self) -> str:
        return f"<GraphEdge {self.source} -> {self.target}>"


@dataclass(frozen=True, repr=False)
class Graph(Model):
    """Frames, objects, and the references between them."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} nodes, {len(self.edges)} references>"


@dataclass(frozen=True, repr=False)
class Evidence(Model):
    """One table of what was observed; `text` says how to read it.

    chart, timeline, graph -- the same as a picture, or None
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    chart: Chart | None = None
    timeline: Timeline | None = None
    graph: Graph | None = None

    def __repr__(self) -> str:
        return f"<Evidence {self.title}: {len(self.rows)} rows>"


@dataclass(frozen=True, repr=False)
class Check(Model):
    """One part of the claim against the evidence.

    held -- True or False as observed, None where it cannot be shown here (`reason` says why)
    text -- what was observed, with figures
    """

    claim: str
    held: bool | None
    text: str
    reason: str | None = None

    def __repr__(self) -> str:
        return f"<Check held={self.held}: {self.claim}>"


@dataclass(frozen=True, repr=False)
class DemoResult(Model):
    """`demo(name)`: what was claimed, done and observed, on this interpreter.

    held  -- True when every check held, False when one did not, None when one could not be shown (`reason`)
    notes -- what differs between versions of CPython
    summary -- what the evidence proves where the claim held; no more than a promise where it did not
    title_zh, claim_zh, summary_zh -- the same in Simplified Chinese
    """

    name: str
    chapter: str
    title: str
    claim: str
    title_zh: str
    claim_zh: str
    summary: str
    summary_zh: str
    experiment: str
    python: str
    allocator: str
    evidence: tuple[Evidence, ...]
    checks: tuple[Check, ...]
    held: bool | None
    reason: str | None
    notes: tuple[str, ...]
    duration_s: float

    def __repr__(self) -> str:
        return f"<DemoResult {self.name}: held={self.held}, {len(self.checks)} checks>"
