"""SQL over snapshots: DuckDB on tables in memory, with no way to a file, a network or an extension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from ..errors import SnapshotError
from ..models.snapshot import QueryResult, Snapshot
from .schema import TABLES
from .write import require

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # names in SQL are tables, and never variables of ours
    "allow_community_extensions": "false",
    "temp_directory": "",
}
ROW_LIMIT = 1000


def query(sql: str, snapshots: Sequence[Snapshot], *, limit: int = ROW_LIMIT) -> QueryResult:
    """Runs one statement over the tables of snapshots, each with a column `snapshot` in front that names the snapshot.

    A table has the rows of every snapshot that has it. At most `limit` rows come back. Raises SnapshotError: DuckDB
    (extra `store`) is not installed, or refuses the statement.
    """
    require("duckdb", "pyarrow")
    import duckdb

    connection = duckdb.connect(":memory:", config=SETTINGS)
    try:
        for name, table in joined(snapshots).items():
            connection.register(name, table)
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise SnapshotError(f"one SQL statement is run, and these are {len(statements)}")
        connection.execute(statements[0])
        description = connection.description or []
        rows = connection.fetchmany(limit + 1) if description else []
    except duckdb.Error as error:
        raise SnapshotError(f"SQL: {one_line(error)}") from None
    finally:
        connection.close()
    return QueryResult(
        columns=tuple(column[0] for column in description),
        types=tuple(str(column[1]) for column in description),
        rows=tuple(rows[:limit]),
        cut=len(rows) > limit,
    )


def joined(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Each table with the rows of all snapshots."""
    import pyarrow as pa

    result = {}
    names = labels([snapshot.path for snapshot in snapshots])
    for known in TABLES:
        parts = []
        for label, snapshot in zip(names, snapshots, strict=True):
            if known.name in snapshot.tables:
                table = snapshot.table(known.name)
                parts.append(table.add_column(0, "snapshot", pa.array([label] * len(table), pa.string())))
        if parts:
            result[known.name] = pa.concat_tables(parts)
    return result


def labels(paths: Sequence[str]) -> list[str]:
    """What names each snapshot: its file name, or its path where two have the same."""
    shorts = [PurePath(path).name for path in paths]
    counts = Counter(shorts)
    return [short if counts[short] == 1 else path for short, path in zip(shorts, paths, strict=True)]


def one_line(error: BaseException) -> str:
    """DuckDB's message without the picture of the place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^"))]
    return " ".join(kept)[:500]
