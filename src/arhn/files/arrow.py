"""Rows to Arrow tables in constant memory, when the columns are only known after the last row."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from arhn.errors import CannotHold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from arhn.files.rows import Row

BATCH = 1000  # rows of a table, and of a row group of the Parquet file

_FAILURES = (pa.ArrowException, OverflowError, UnicodeEncodeError)


class Spool:
    """Rows set aside in a temporary file until their common schema is known.

    Columns are in the order of their first use. A column that holds integers and other numbers becomes one of
    floating point; types may widen in other ways that keep every value, never from text to number or back.

    Args:
        folder: where the temporary file goes; it is as large as the rows.
        schema: columns to start with.
    """

    def __init__(self, folder: Path, schema: pa.Schema | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None  # made when needed, so that making a spool can't fail
        self._rows: list[Row] = []
        self._tables = 0
        self._schema = schema or pa.schema([])

    def add(self, row: Row) -> None:
        """Raises CannotHold: a column has values of several types."""
        self._rows.append(row)
        if len(self._rows) == BATCH:
            self._set_aside()

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()

    def finish(self) -> pa.Schema:
        """The schema of all rows; none may be added afterwards."""
        if self._rows:
            self._set_aside()
        return pa.schema([field.with_type(_not_null(field.type)) for field in self._schema])

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows again, in tables of `BATCH` rows."""
        if self._file is None:
            return
        self._file.seek(0)
        for _ in range(self._tables):
            with pa.ipc.open_stream(self._file) as stream:
                yield pa.Table.from_pylist(stream.read_all().to_pylist(), schema=schema)

    def _set_aside(self) -> None:
        try:
            table = _table(self._rows)
            self._schema = pa.unify_schemas([self._schema, table.schema], promote_options="permissive")
        except _FAILURES as error:
            raise CannotHold(f"Parquet and Arrow can't hold these rows: {error}; write JSONL instead") from error
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by close()
        with pa.ipc.new_stream(self._file, table.schema) as stream:
            stream.write_table(table)
        self._rows.clear()
        self._tables += 1


def _table(rows: list[Row]) -> pa.Table:
    """`pa.Table.from_pylist` would look for columns in the first row only."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(name, rows) for name in names})


def _column(name: str, rows: list[Row]) -> Any:
    try:
        return pa.array([row.get(name) for row in rows])
    except _FAILURES as error:
        raise CannotHold(f"Parquet and Arrow can't hold the field {name}: {error}; write JSONL instead") from error


def _not_null(kind: pa.DataType) -> pa.DataType:
    """A list that is empty in every row is taken to be one of strings: readers stumble over lists of null."""
    if pa.types.is_list(kind) and pa.types.is_null(kind.value_type):
        return pa.list_(pa.string())
    return kind
