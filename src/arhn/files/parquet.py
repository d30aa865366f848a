"""Parquet files. pyarrow is imported where one is read or written."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from arhn.errors import BadJson, BadRow, CannotHold, FileMissing, NotUtf8
from arhn.files.atomic import AtomicFile, Output, output_errors
from arhn.files.claims import Claim, Mark
from arhn.files.jsonl import DEEPEST
from arhn.files.record import Record, drop_nulls
from arhn.files.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import pyarrow as pa
    import pyarrow.parquet as pq

    from arhn.files.rows import Row

MAGIC = b"PAR1"


def read(path: Path | Remote) -> Generator[Record]:
    """The rows of a file, numbered from 1.

    Raises:
        FileMissing: the file can't be opened.
        BadJson: the file is damaged or ends early; rows before that have been yielded.
        NotUtf8: a text isn't UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from arhn.files.arrow import BATCH

    number = 0
    try:
        with _open(path) as content, pq.ParquetFile(content) as file:
            require_shallow(file.schema_arrow)
            for number, row in enumerate(_read_rows(file), start=1):
                yield Record(number, drop_nulls(row))
    except UnicodeDecodeError as error:
        raise NotUtf8(
            f"a text in this or the next {BATCH} rows isn't UTF-8", path=str(path), line=number + 1
        ) from error
    except PermissionError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error
    except (pa.ArrowException, OSError, RecursionError) as error:
        message = f"the Parquet file is damaged or ends early ({error})"
        raise BadJson(message, path=str(path), line=number + 1) from error


def require_shallow(schema: pa.Schema) -> None:
    """Raises BadRow: columns hold more lists and objects within each other than a row may."""
    depth, level = 0, [field.type for field in schema]
    while level and depth <= DEEPEST:
        depth += 1
        level = [kind.field(i).type for kind in level for i in range(kind.num_fields)]
    if depth > DEEPEST:
        raise BadRow("row", f"at most {DEEPEST} lists and objects within each other", "more")


def _read_rows(file: pq.ParquetFile) -> Generator[Row]:
    """Row group by row group: over a whole file `iter_batches` would hold on to what it has read."""
    from arhn.files.arrow import BATCH

    for group in range(file.num_row_groups):
        for batch in file.iter_batches(batch_size=BATCH, row_groups=[group]):
            yield from batch.to_pylist()


def read_schema(path: Path | Remote) -> pa.Schema:
    """The columns of a file, without metadata, which may say things that don't hold for other rows."""
    import pyarrow.parquet as pq

    with _open(path) as content:
        return pq.read_schema(content).remove_metadata()


def _open(path: Path | Remote) -> AbstractContextManager[Path | BinaryIO]:
    return path.open() if isinstance(path, Remote) else nullcontext(path)


class ParquetFile(Output):
    """Rows as a Parquet file, in row groups of `BATCH` rows. Raises as `AtomicFile` does."""

    def __init__(self, path: str | Path, *, overwrite: bool | Claim = False, schema: pa.Schema | None = None) -> None:
        from arhn.files.arrow import Spool

        self._file = AtomicFile(path, overwrite=overwrite)
        self._spool = Spool(self._file.path.parent, schema)

    def write(self, row: Row) -> None:
        """Raises CannotHold: a value or column that Parquet can't hold."""
        with output_errors(self._file.path):
            self._spool.add(row)

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        return self._file.marks

    def _prepare(self) -> None:
        with output_errors(self._file.path), closing(self._spool):
            self._write_file(self._spool.finish())
        self._file.prepare()

    def _publish(self) -> None:
        self._file.publish()

    def _abort(self) -> None:
        self._spool.close()
        self._file.abort()

    def _write_file(self, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetWriter(self._file.raw, schema) as writer:
                for table in self._spool.tables(schema):
                    writer.write_table(table)
        except pa.ArrowException as error:
            raise CannotHold(f"Parquet can't hold these rows: {error}; write JSONL instead") from error
