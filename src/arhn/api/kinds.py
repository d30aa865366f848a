"""Kinds of data sets in Python: each is written to a file that a run reads, and made of a file that it wrote.

Everything but lists goes as Arrow batches through Parquet, so that types stay and memory is flat. A library is imported
only where its data arrive, so that none is needed for the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn.errors import CannotHold, FileMissing, UsageError
from arhn.files import jsonl
from arhn.files.rows import describe_value

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1000  # rows of a batch, and of a row group of the Parquet file
KINDS = (
    "a Dataset, IterableDataset or DatasetDict of datasets, a pandas or polars frame, an Arrow table, a list of dicts, "
    "or the path of a file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    `write`: data to a file, at most so many rows of them; returns how many rows there are. `read`: the file of cleaned
    groups as the same kind. `tabulate`: an Arrow table, made from batches, as that library has tables; both get a path
    where a file may be put that lives as long as what is returned. `on_disk`: what is returned reads from it.
    """

    name: str
    suffix: str
    write: Callable[[Any, Path, int | None], int]
    read: Callable[[Path, Any], Any]
    tabulate: Callable[[pa.Schema, Iterable[pa.Table], Path], Any]
    on_disk: bool = False


def find_kind(data: object) -> Kind:
    """The kind of some data. Raises UsageError: they are of none."""
    for module, names, kind in (
        ("datasets", ("Dataset",), DATASET),
        ("datasets", ("IterableDataset",), STREAM),
        ("pandas", ("DataFrame",), PANDAS),
        ("polars", ("DataFrame",), POLARS),
        ("pyarrow", ("Table",), ARROW),
    ):
        library = sys.modules.get(module)
        if library is not None and isinstance(data, tuple(getattr(library, name) for name in names)):
            return kind
    if isinstance(data, list):
        return ROWS
    found = type(data).__name__
    advice = "For groups, or anything that gives them one by one, there is arhn.clean_groups"
    raise UsageError(f"data: expected {KINDS}, found {found}. {advice}")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Says what is wrong with data that can't be read or written."""
    import pyarrow as pa

    try:
        yield
    except (FileNotFoundError, PermissionError, EOFError) as error:
        raise FileMissing(f"{name}: a file that it reads from can't be read ({error}). Load it again") from error
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise CannotHold(
            f"{name}: a column can't be held as Arrow has it ({error}). Give each column values of one type, or leave "
            "it out"
        ) from error


def _write_batches(name: str, schema: pa.Schema, batches: Iterable[pa.Table], path: Path, most: int | None) -> int:
    import pyarrow.parquet as pq

    plain, rows = _strip_types(schema), 0
    with _reading(name), pq.ParquetWriter(path, plain) as writer:
        for batch in batches:
            taken = batch if most is None else batch.slice(0, most - rows)
            writer.write_table(taken.cast(plain), row_group_size=_BATCH)
            rows += taken.num_rows
            if rows == most:
                break
    return rows


def _strip_types(schema: pa.Schema) -> pa.Schema:
    """The columns by what they hold: no dictionaries, no types of other libraries."""
    import pyarrow as pa

    def strip(kind: pa.DataType) -> pa.DataType:
        if isinstance(kind, pa.BaseExtensionType):
            return strip(kind.storage_type)
        return strip(kind.value_type) if pa.types.is_dictionary(kind) else kind

    return pa.schema([field.with_type(strip(field.type)).remove_metadata() for field in schema])


def _read_batches(path: Path, schema: pa.Schema) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """What a run wrote, with the types that its columns had before where they still hold it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    found = file.schema_arrow.remove_metadata()
    types = {field.name: field.type for field in schema}
    wanted = [f.with_type(types[f.name]) if _fits(f.type, types.get(f.name)) else f for f in found]

    def read() -> Iterator[pa.Table]:
        with file:
            for batch in file.iter_batches(_BATCH):
                columns = [_cast(c, f.type) for c, f in zip(batch.columns, wanted, strict=True)]
                yield pa.Table.from_arrays(columns, schema=pa.schema(wanted))

    return pa.schema(wanted), read()


def _fits(found: pa.DataType, before: pa.DataType | None) -> bool:
    import pyarrow as pa

    if before is None:
        return False
    try:
        _cast(pa.array([], found), before)
    except pa.ArrowException:
        return False
    return True


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, column.cast(wanted.storage_type))
    if pa.types.is_dictionary(wanted):
        return column.cast(wanted.value_type).dictionary_encode().cast(wanted)
    return column.cast(wanted)


def _read_table(path: Path, schema: pa.Schema) -> pa.Table:
    found, batches = _read_batches(path, schema)
    return _collect(found, batches, path).replace_schema_metadata(schema.metadata)


def _collect(schema: pa.Schema, batches: Iterable[pa.Table], _: Path) -> pa.Table:
    import pyarrow as pa

    found = list(batches)
    return pa.concat_tables(found).unify_dictionaries() if found else schema.empty_table()


def _split_table(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _BATCH):
        yield table.slice(start, _BATCH)


def _write_table(table: pa.Table, path: Path, most: int | None) -> int:
    _require_columns(table.column_names)
    return _write_batches("the table", table.schema, _split_table(table), path, most)


def _require_columns(names: Iterable[object]) -> None:
    seen = set()
    for name in names:
        if not isinstance(name, str) or name in seen:
            raise UsageError(f"data: the columns need names of their own, which are texts; found {name!r}")
        seen.add(name)


def _table_of_pandas(frame: Any) -> pa.Table:
    import pyarrow as pa

    _require_columns(frame.columns)
    with _reading("the frame"):
        return pa.Table.from_pandas(frame, preserve_index=False)


def _schema_of_pandas(frame: Any) -> pa.Schema:
    import pyarrow as pa

    return pa.Schema.from_pandas(frame, preserve_index=False)


def _table_of_polars(frame: Any) -> pa.Table:
    with _reading("the frame"):
        return frame.to_arrow()


def _frame_of_polars(table: pa.Table) -> Any:
    import polars

    return polars.from_arrow(table)


def _batches_of_dataset(data: Any) -> Iterator[pa.Table]:
    return iter(data.with_format("arrow").iter(batch_size=_BATCH))


def _write_dataset(data: Any, path: Path, most: int | None) -> int:
    schema = data.features.arrow_schema
    return _write_batches("the Dataset", schema, _batches_of_dataset(data), path, most)


def _read_dataset(path: Path, data: Any) -> Any:
    schema, batches = _read_batches(path, data.features.arrow_schema)
    return _store_dataset(schema, batches, path.with_suffix(".arrow"), data.features)


def _store_dataset(schema: pa.Schema, batches: Iterable[pa.Table], path: Path, features: Any = None) -> Any:
    import datasets
    import pyarrow as pa

    inferred = datasets.Features.from_arrow_schema(schema)
    before = {field.name: field.type for field in features.arrow_schema} if features else {}
    kept = {
        name: features[name] if before.get(name) == schema.field(name).type else inferred[name] for name in inferred
    }
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema.remove_metadata()) as stream:
        for batch in batches:
            stream.write_table(batch)
    return datasets.Dataset.from_file(str(path), info=datasets.DatasetInfo(features=datasets.Features(kept)))


def _write_stream(data: Any, path: Path, most: int | None) -> int:
    from arhn.files.parquet import ParquetFile

    if data.features is not None:
        return _write_dataset(data, path, most)
    rows = 0
    with ParquetFile(path) as file, _reading("the IterableDataset"):
        for rows, row in enumerate(islice(data, most), start=1):  # noqa: B007 - counted
            file.write(row)
    return rows


def _read_stream(path: Path, data: Any) -> Any:
    import pyarrow.parquet as pq

    schema = data.features.arrow_schema if data.features is not None else pq.read_schema(path)
    found, batches = _read_batches(path, schema)
    return _store_dataset(found, batches, path.with_suffix(".arrow"), data.features).to_iterable_dataset()


def _write_rows(rows: list[Any], path: Path, most: int | None) -> int:
    with jsonl.JsonlFile(path) as file:
        for number, row in enumerate(islice(rows, most), start=1):
            if not isinstance(row, dict):
                raise UsageError(f"data: row {number}: expected a dict, found {describe_value(row)}")
            try:
                file.write(row)
            except CannotHold as error:
                raise CannotHold(
                    f"the list of dicts, row {number}: {error.message.partition(';')[0]}. Leave such a field out, or "
                    "give a Dataset or an Arrow table, which hold dates, images and bytes"
                ) from error
    return len(rows)


def _read_rows(path: Path, _: object) -> list[Any]:
    return [jsonl.read_row(record) for record in jsonl.read(path)]


ROWS = Kind(
    name="the list of dicts",
    suffix=".jsonl",
    write=_write_rows,
    read=_read_rows,
    tabulate=lambda schema, batches, path: _collect(schema, batches, path).to_pylist(),
)
ARROW = Kind(
    name="the table",
    suffix=".parquet",
    write=_write_table,
    read=lambda path, data: _read_table(path, data.schema),
    tabulate=_collect,
)
PANDAS = Kind(
    name="the frame",
    suffix=".parquet",
    write=lambda data, path, most: _write_table(_table_of_pandas(data), path, most),
    read=lambda path, data: _read_table(path, _schema_of_pandas(data)).to_pandas(),
    tabulate=lambda schema, batches, path: _collect(schema, batches, path).to_pandas(),
)
POLARS = Kind(
    name="the frame",
    suffix=".parquet",
    write=lambda data, path, most: _write_table(_table_of_polars(data), path, most),
    read=lambda path, data: _frame_of_polars(_read_table(path, _table_of_polars(data[:0]).schema)),
    tabulate=lambda schema, batches, path: _frame_of_polars(_collect(schema, batches, path)),
)
DATASET = Kind(
    name="the Dataset",
    suffix=".parquet",
    write=_write_dataset,
    read=_read_dataset,
    tabulate=_store_dataset,
    on_disk=True,
)
STREAM = Kind(
    name="the IterableDataset",
    suffix=".parquet",
    write=_write_stream,
    read=_read_stream,
    tabulate=_store_dataset,
    on_disk=True,
)

__all__ = ["ARROW", "KINDS", "Kind", "find_kind"]
