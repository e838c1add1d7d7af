"""A report and a census as a snapshot's folder. pyarrow is imported here: never in the process that is measured."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import islice
from typing import Any

from .. import __version__
from ..errors import SnapshotError
from ..models.base import plain
from ..models.census import Census
from ..models.report import Report
from . import objects
from .folder import create, new_folder
from .rebuild import facts_of
from .schema import FORMAT, MANIFEST, SCHEMA, TABLES, Column, Row, Table

ROWS_AT_ONCE = 65536
OF_OBJECTS = ("consistent", "with_census", "pause_s", "reasons")  # of the raw format's, what no table has
EXTRA = "install the extra: pip install 'meminspect[store]'"


def require(*modules: str) -> None:
    """SnapshotError that names the extra where one of its modules is not installed; imports none of them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SnapshotError(f"snapshots need {' and '.join(missing)}: {EXTRA}")


def write_raw(raw: Mapping[str, Any], context: Mapping[str, Any], path: str, *, force: bool) -> dict[str, Any]:
    """Builds the models of `native/raw.pxi`'s captures and writes them; the manifest. Raises SnapshotError, OSError."""
    from ..probes import report as reports

    census, reason = census_of_raw(raw.get("census"))
    return write(
        reports.build(raw, context), census, path, force=force, census_reason=reason, graph=raw.get("graph")
    )  # fmt: skip


def census_of_raw(raw: Any) -> tuple[Census | None, str | None]:
    """The census of a capture, which came from our own native code just now; or why there is none."""
    import marshal

    from ..probes import census

    if raw is None:
        return None, "it was not captured"
    value = marshal.loads(raw) if isinstance(raw, bytes) else raw
    if "error" in value:
        return None, str(value.get("reason") or value["error"])
    return census.build(value), None


def write(
    report: Report,
    census: Census | None,
    path: str,
    *,
    force: bool = False,
    census_reason: str | None = None,
    graph: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a snapshot under another name beside `path`, and renames it when it is whole.

    graph -- what `_native.graph_capture()` gave, or why it gave nothing; None: it was not asked for
    """
    missing = dict(report.missing)
    if graph is not None and "error" in graph:
        missing["objects"] = str(graph.get("reason") or graph["error"])
    if census is None:
        missing["census"] = census_reason or "it was not captured"
    if report.pymalloc is None or not report.pymalloc.has_pools:
        missing["pools"] = missing.get("pymalloc", "no record of each pool was kept")
    with new_folder(path, force=force) as folder:
        tables = {}
        for table in TABLES:
            if table.needs in missing or (table.needs == "objects" and graph is None):
                continue
            try:
                tables[table.name] = write_table(folder, table, report, census, graph)
            except OverflowError as error:  # one figure that cannot be right does not take the others away
                os.unlink(os.path.join(folder, table.file))
                missing[table.name] = f"it was not written: a figure is out of range ({error})"
        document = manifest(report, census, missing, tables, graph)
        with os.fdopen(create(folder, MANIFEST), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
    return document


def manifest(
    report: Report,
    census: Census | None,
    missing: Mapping[str, str],
    tables: Mapping[str, Any],
    graph: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "meminspect": __version__,
        "host": os.uname().nodename,
        "pid": report.process.pid,
        "taken_s": report.process.taken_s,
        "time": datetime.fromtimestamp(report.process.taken_s, UTC).isoformat(timespec="milliseconds"),
        "python": report.python.to_dict(),
        "tables": tables,
        "missing": dict(missing),
        "objects": None if graph is None or "error" in graph else {name: graph[name] for name in OF_OBJECTS},
        "facts": facts_of(report, census),
    }


def write_table(
    folder: str, table: Table, report: Report, census: Census | None, graph: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One Parquet file; what the manifest says of it."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema(table)
    if table.needs == "objects" and graph is not None:
        parts = objects.batches(table.name, graph)
    else:
        parts = arrays_of(table, schema, iter(table.rows(report, census)))
    count = 0
    with os.fdopen(create(folder, table.file), "wb") as file:
        with parquet.ParquetWriter(
            file, schema, compression="zstd", store_schema=False, write_page_checksum=True
        ) as writer:
            for arrays in parts:
                count += len(arrays[0])
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        file.flush()
        os.fsync(file.fileno())
    with open(os.path.join(folder, table.file), "rb") as done:
        digest = hashlib.file_digest(done, "sha256").hexdigest()
        size = os.fstat(done.fileno()).st_size
    return {
        "description": table.description,
        "rows": count,
        "file_bytes": size,
        "sha256": digest,
        "columns": plain([vars(column) for column in table.columns]),
    }


def arrays_of(table: Table, schema: Any, rows: Iterator[Row]) -> Iterator[list[Any]]:
    """Rows as arrays of the columns, some at a time."""
    import pyarrow as pa

    for batch in batches(rows):
        columns = zip(*batch, strict=True)
        yield [
            pa.array(stored(column, values), type=field.type)
            for column, values, field in zip(table.columns, columns, schema, strict=True)
        ]


def arrow_schema(table: Table) -> Any:
    import pyarrow as pa

    kinds = {"string": pa.string(), "int64": pa.int64(), "uint64": pa.uint64(), "double": pa.float64(),
             "bool": pa.bool_()}  # fmt: skip
    return pa.schema([pa.field(column.name, kinds[column.type], column.nullable) for column in table.columns])


def stored(column: Column, values: tuple[Any, ...]) -> list[Any]:
    """Values as Parquet can hold them: text without lone surrogates."""
    if column.type != "string":
        return list(values)
    return [value if value is None else value.encode("utf-8", "backslashreplace").decode() for value in values]


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        yield batch
