"""Reading a snapshot's folder. It is another's: file names are ours and never the manifest's, each is a plain file of
bounded size, its checksum and columns are held against what is expected, rows and unpacked bytes have limits.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from typing import Any

from ..analysis.diff import compare
from ..errors import SnapshotError
from ..models.diff import Diff
from ..models.snapshot import Snapshot, TableInfo
from .folder import SUFFIX
from .rebuild import census_of, report_of
from .schema import BY_NAME, FORMAT, MANIFEST, SCHEMA, TABLES, Table
from .write import arrow_schema, require

MANIFEST_LIMIT = 16 << 20
FILE_LIMIT = 256 << 20
ROW_LIMIT = 20_000_000
TEXT_LIMIT = 65536  # of one value
BYTES_LIMIT = 4 << 30  # of one table in memory
BATCH_ROWS = 65536
THRIFT_LIMIT = 1 << 20
PHYSICAL = {"string": "BYTE_ARRAY", "int64": "INT64", "uint64": "INT64", "double": "DOUBLE", "bool": "BOOLEAN"}


def load(path: str | os.PathLike[str], *, partial: bool = False) -> Snapshot:
    """A snapshot that `snapshot()` wrote; its tables are read when they are asked for.

    partial -- take what can be read of one that is damaged or from a newer meminspect; `missing` says what cannot, why

    Raises SnapshotError: no snapshot; damaged or newer (then its `readable` names the tables that partial=True gives).
    Needs pyarrow (the extra `store`).
    """
    require("pyarrow")
    name = os.fspath(path)
    folder = Folder(name)
    try:
        manifest, trouble = folder.manifest()
        known: Mapping[str, Any] = manifest.get("tables") if isinstance(manifest.get("tables"), dict) else {}  # type: ignore[assignment]
        tables, broken = {}, {}
        for table in TABLES:
            entry = known.get(table.name)
            if entry is None and (manifest or not folder.has(table.file)):
                continue
            try:
                rows = folder.examine(table, entry)
                tables[table.name] = TableInfo(table.name, rows, table.description, plain_columns(table))
            except SnapshotError as error:
                broken[table.name] = str(error)
    finally:
        folder.close()
    if not trouble and broken:
        trouble = f"{name} is damaged: {next(iter(broken.values()))}"
        trouble += f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    if trouble and not (partial and tables):
        raise SnapshotError(trouble, tuple(tables))
    missing = {str(key): str(value) for key, value in dict_of(manifest.get("missing")).items()}
    return Snapshot(
        path=name,
        host=text_of(manifest.get("host")),
        pid=whole_of(manifest.get("pid")),
        taken_s=number_of(manifest.get("taken_s")),
        python=text_of(dict_of(manifest.get("python")).get("version")),
        tables=tables,
        missing={**missing, **broken},
        whole=trouble is None,
        reason=trouble,
        one_moment=flag_of(dict_of(manifest.get("objects")).get("with_census")),
        _facts=dict_of(manifest.get("facts")),
        _read=read_table,
        _make_report=report_of,
        _make_census=census_of,
    )


def diff(before: Snapshot | str | os.PathLike[str], after: Snapshot | str | os.PathLike[str]) -> Diff:
    """What grew from one snapshot to another, by type, module, size class, arena and cause of RSS.

    before, after -- paths, or what `load()` returned. What only one of them has a table for is None, with the reason
    in `missing`. Raises SnapshotError for a path that cannot be read.
    """
    first, second = (item if isinstance(item, Snapshot) else load(item) for item in (before, after))
    return compare(first, second)


def read_table(path: str, name: str) -> Any:
    """One table as a pyarrow.Table. SnapshotError when its pages cannot be read."""
    require("pyarrow")
    folder = Folder(path)
    try:
        return folder.read(BY_NAME[name])
    finally:
        folder.close()


class Folder:
    """The open folder; every file is opened in it by its fixed name, and no link is followed."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not path.rstrip("/").endswith(SUFFIX):
            raise SnapshotError(f"a snapshot's name ends in {SUFFIX}: {path!r} does not")
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            what = "it is no folder" if error.errno == errno.ENOTDIR else error.strerror
            raise SnapshotError(f"{path} cannot be read: {what}") from None

    def close(self) -> None:
        os.close(self.fd)

    def has(self, file: str) -> bool:
        try:
            os.stat(file, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def open(self, file: str, limit: int) -> int:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            what = "it is a link" if error.errno == errno.ELOOP else error.strerror
            raise SnapshotError(f"{file} cannot be read: {what}") from None
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
            return fd
        os.close(fd)
        what = f"it has more than {limit >> 20} MiB" if stat.S_ISREG(status.st_mode) else "it is no plain file"
        raise SnapshotError(f"{file} cannot be read: {what}")

    def manifest(self) -> tuple[dict[str, Any], str | None]:
        """The manifest as far as it can be used, and what is wrong with it."""
        try:
            with os.fdopen(self.open(MANIFEST, MANIFEST_LIMIT), "rb") as file:
                value = json.loads(file.read(MANIFEST_LIMIT + 1))
        except SnapshotError as error:
            return {}, f"{self.path} is not a snapshot: {error}"
        except (ValueError, RecursionError):
            return {}, f"{self.path} is damaged: its {MANIFEST} is not whole"
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            return {}, f"{self.path} is not a snapshot: its {MANIFEST} does not say so"
        schema = value.get("schema")
        if type(schema) is not int or schema < 1:
            return {}, f"{self.path} is damaged: its {MANIFEST} names no schema"
        if schema > SCHEMA:
            maker = str(value.get("meminspect"))[:40]
            return value, f"{self.path} is from meminspect {maker}, with schema {schema}; this one reads up to {SCHEMA}"
        if not isinstance(value.get("tables"), dict) or not isinstance(value.get("facts"), dict):
            return {}, f"{self.path} is damaged: its {MANIFEST} is not whole"
        return value, None

    def examine(self, table: Table, entry: Any) -> int:
        """Holds a file against the manifest's entry for it (None: there is no manifest) and our columns; its rows."""
        with os.fdopen(self.open(table.file, FILE_LIMIT), "rb") as file:
            if entry is not None:
                if hashlib.file_digest(file, "sha256").hexdigest() != dict_of(entry).get("sha256"):
                    raise SnapshotError(f"{table.file} is not what was written: its checksum differs")
                file.seek(0)
            parquet_file = opened(file, table)
            rows: int = parquet_file.metadata.num_rows
            if entry is not None and rows != dict_of(entry).get("rows"):
                raise SnapshotError(f"{table.file} has another number of rows than its {MANIFEST} says")
        if entry is None:
            self.read(table)
        return rows

    def read(self, table: Table) -> Any:
        import pyarrow as pa

        schema = arrow_schema(table)
        with os.fdopen(self.open(table.file, FILE_LIMIT), "rb") as file:
            try:
                parquet_file = opened(file, table)
                room = BYTES_LIMIT
                parts = []
                columns = [column.name for column in table.columns]
                for batch in parquet_file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
                    part, size = unpacked(batch, table, schema)
                    room -= size
                    if room < 0:
                        raise SnapshotError(f"{table.file} unpacks to more than {BYTES_LIMIT >> 30} GiB")
                    parts.append(part)
                return pa.Table.from_batches(parts, schema=schema)
            except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
                raise SnapshotError(f"{table.file} is damaged: {first_line(error)}") from None


def opened(file: Any, table: Table) -> Any:
    """The Parquet file, once its columns are known to be those of the table."""
    import pyarrow as pa
    from pyarrow import parquet

    text_columns = [column.name for column in table.columns if column.type == "string"]
    try:
        found = parquet.ParquetFile(
            file,
            read_dictionary=text_columns,  # a value of a megabyte in each of many rows stays one megabyte
            page_checksum_verification=True,
            thrift_string_size_limit=THRIFT_LIMIT,
            thrift_container_size_limit=THRIFT_LIMIT,
            pre_buffer=False,
        )
    except KeyError as error:  # of those that are to be read as a dictionary
        name = error.args[0].decode(errors="backslashreplace") if isinstance(error.args[0], bytes) else error.args[0]
        raise SnapshotError(f"{table.file} has no column {name!r}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SnapshotError(f"{table.file} is damaged: {first_line(error)}") from None
    if found.metadata.num_rows > ROW_LIMIT:
        raise SnapshotError(f"{table.file} has more than {ROW_LIMIT} rows")
    places = {found.schema.column(at).path: found.schema.column(at) for at in range(len(found.schema))}
    for column in table.columns:
        place = places.get(column.name)
        if place is None:
            raise SnapshotError(f"{table.file} has no column {column.name!r}")
        if place.physical_type != PHYSICAL[column.type] or place.max_repetition_level or place.max_definition_level > 1:
            raise SnapshotError(f"{table.file} has another kind of column {column.name!r}")
    return found


def unpacked(batch: Any, table: Table, schema: Any) -> tuple[Any, int]:
    """A batch with its columns as they are documented, and its size in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays, size = [], 0
    for column, field in zip(table.columns, schema, strict=True):
        values = batch.column(column.name)
        if isinstance(values, pa.DictionaryArray):
            lengths = pc.binary_length(values.dictionary)
            if (pc.max(lengths).as_py() or 0) > TEXT_LIMIT:
                raise SnapshotError(f"{table.file} has a text of more than {TEXT_LIMIT} bytes")
            size += pc.sum(lengths.take(values.indices)).as_py() or 0
            if size > BYTES_LIMIT:
                raise SnapshotError(f"{table.file} unpacks to more than {BYTES_LIMIT >> 30} GiB")
        values = values.cast(field.type)
        if values.null_count and not column.nullable:
            raise SnapshotError(f"{table.file} has no value in a row of {column.name!r}")
        values.validate(full=True)
        size += 8 * len(values)
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=schema), size


def plain_columns(table: Table) -> tuple[dict[str, Any], ...]:
    return tuple(dict(vars(column)) for column in table.columns)


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    return value[:256] if isinstance(value, str) else None


def whole_of(value: Any) -> int | None:
    return value if type(value) is int else None


def number_of(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def flag_of(value: Any) -> bool | None:
    return value if type(value) is bool else None
