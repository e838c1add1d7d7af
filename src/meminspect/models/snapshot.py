"""One moment of a process, kept on disk, and what a query of it gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import SnapshotError
from .base import Model, shown
from .census import Census
from .report import Report

CENSUS = {"census", "buffers", "free_lists", "unknown", "contents"}  # the tables that a census is made of


@dataclass(frozen=True, repr=False)
class TableInfo(Model):
    """One table: rows, and its columns with `name`, `type`, `unit`, `description`, `nullable` (docs/snapshots.md)."""

    name: str
    rows: int
    description: str
    columns: tuple[dict[str, Any], ...]

    def __repr__(self) -> str:
        return f"<TableInfo {self.name}: {self.rows} rows, {len(self.columns)} columns>"


@dataclass(frozen=True, repr=False)
class Snapshot(Model):
    """`load()`: a snapshot's folder. Tables are read when they are asked for; nothing stays open.

    host, pid, taken_s, python -- of the process; None where the manifest does not tell
    tables  -- those that can be read
    missing -- why others are not there, by section or table
    one_moment -- whether census and references were read in one frozen copy; None where it has no references
    whole   -- False: it was loaded with partial=True, and `reason` says what is wrong with it
    """

    path: str
    host: str | None
    pid: int | None
    taken_s: float | None
    python: str | None
    tables: dict[str, TableInfo]
    missing: dict[str, str]
    whole: bool
    reason: str | None
    one_moment: bool | None = None
    _facts: Any = field(default=None, compare=False)
    _read: Any = field(default=None, compare=False)  # a callable: path and name to a pyarrow.Table
    _make_report: Any = field(default=None, compare=False)  # a callable: facts, `rows` and which tables there are
    _make_census: Any = field(default=None, compare=False)  # a callable: facts and `rows`

    def table(self, name: str) -> Any:
        """One of `tables` as a pyarrow.Table; SnapshotError when it is not there or cannot be read."""
        if name not in self.tables:
            raise SnapshotError(f"{self.path} has no table {name!r}: {self.missing.get(name) or self._why(name)}")
        return self._read(self.path, name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One of `tables` as a dict for each row."""
        rows: list[dict[str, Any]] = self.table(name).to_pylist()
        return rows

    @cached_property
    def _report(self) -> Report:
        made: Report = self._make_report(self._known_facts(), self.rows, self.tables.__contains__)
        return made

    @cached_property
    def _census(self) -> Census:
        facts = self._known_facts()
        if facts.get("census") is None or not self.has_census:
            why = next((text for name, text in self.missing.items() if name in CENSUS), "a table of it is not there")
            raise SnapshotError(f"{self.path} holds no whole census: {why}")
        made: Census = self._make_census(facts, self.rows)
        return made

    @property
    def has_census(self) -> bool:
        """Whether `census()` can be built."""
        return bool(self._facts) and "census" not in self.missing and self.tables.keys() >= CENSUS

    def report(self) -> Report:
        """The report of that moment; findings are drawn from its figures now."""
        return self._report

    def census(self) -> Census:
        """The census of that moment."""
        return self._census

    def _known_facts(self) -> dict[str, Any]:
        if not self._facts:
            raise SnapshotError(f"{self.path} has tables only: {self.reason or 'its manifest cannot be read'}")
        facts: dict[str, Any] = self._facts
        return facts

    def _why(self, name: str) -> str:
        return f"it has {', '.join(self.tables)}"

    def to_dict(self) -> dict[str, Any]:
        result = super().to_dict()
        return {name: value for name, value in result.items() if name[0] != "_"}

    def __repr__(self) -> str:
        return f"<Snapshot {shown(self.path)}: {len(self.tables)} tables of process {self.pid}>"


@dataclass(frozen=True, repr=False)
class QueryResult(Model):
    """`query`: columns, rows, and whether rows beyond the limit were left out."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cut: bool

    def __repr__(self) -> str:
        return f"<QueryResult {len(self.rows)} rows of {len(self.columns)} columns>"
