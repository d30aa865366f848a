"""Data sets of the Hugging Face library `datasets`: saved folders (read and written) and the hub (read).

`datasets` comes with the extra `hub`. It and pyarrow are imported where a data set is read or written.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

from arhn.errors import BadJson, CannotHold, FileMissing, MissingDependency, UsageError
from arhn.files.atomic import AtomicFolder, Output, output_errors
from arhn.files.claims import Claim, Mark
from arhn.files.record import Record, drop_nulls

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path
    from types import ModuleType

    import pyarrow as pa

    from arhn.files.rows import Row

SCHEME = "hf://"
_MARKS = ("dataset_info.json", "dataset_dict.json", "state.json")
_DATA = "data-00000-of-00001.arrow"


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` made this folder."""
    return any((folder / mark).is_file() for mark in _MARKS)


def read(path: str, split: str | None) -> Generator[Record]:
    """The rows of a saved folder or of `hf://org/name[/configuration][:split]`, which is streamed; from 1.

    Raises:
        MissingDependency: `datasets` isn't installed.
        FileMissing: the hub or folder doesn't have it.
        UsageError: there are several splits and none was named.
        BadJson: the data break off; rows before that have been yielded.
    """
    import pyarrow as pa

    rows = _read_hub(path, split) if path.startswith(SCHEME) else _read_folder(path, split)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield Record(number, drop_nulls(row))
    except (pa.ArrowException, OSError) as error:
        raise BadJson(f"the data set is damaged or ends early ({error})", path=path, line=number + 1) from error


class SavedDataset(Output):
    """Rows as a folder for `datasets.load_from_disk`. Raises as `AtomicFolder` does.

    Written here rather than with `save_to_disk`, which stores random fingerprints: the same rows give equal
    bytes.
    """

    def __init__(self, path: str | Path, *, overwrite: bool | Claim = False, schema: pa.Schema | None = None) -> None:
        from arhn.files.arrow import Spool

        self._datasets = _library()
        self._folder = AtomicFolder(path, ours=is_saved, overwrite=overwrite)
        self._spool = Spool(self._folder.path.parent, schema)

    def write(self, row: Row) -> None:
        """Raises CannotHold: a value or column that Arrow can't hold."""
        with output_errors(self._folder.path):
            self._spool.add(row)

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        return self._folder.marks

    def _prepare(self) -> None:
        with output_errors(self._folder.path), closing(self._spool):
            schema = self._spool.finish()
            self._write_rows(schema)
            self._write_json("dataset_info.json", self._info(schema))
            self._write_json("state.json", _describe_state(self._folder.partial / _DATA))
        self._folder.prepare()

    def _publish(self) -> None:
        self._folder.publish()

    def _abort(self) -> None:
        self._spool.close()
        self._folder.abort()

    def _write_rows(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        try:
            with (
                pa.OSFile(str(self._folder.partial / _DATA), "wb") as file,
                pa.ipc.new_stream(file, schema) as stream,
            ):
                for table in self._spool.tables(schema):
                    stream.write_table(table)
        except pa.ArrowException as error:
            raise CannotHold(f"Arrow can't hold these rows: {error}; write JSONL instead") from error

    def _info(self, schema: pa.Schema) -> dict[str, Any]:
        features = self._datasets.Features.from_arrow_schema(schema).to_dict()
        return {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        (self._folder.partial / name).write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _describe_state(data: Path) -> dict[str, Any]:
    """What `load_from_disk` wants to know; the fingerprint is the content's."""
    with data.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return {
        "_data_files": [{"filename": _DATA}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }


def _library() -> ModuleType:
    try:
        return import_module("datasets")
    except ModuleNotFoundError:
        raise MissingDependency("datasets", "hub") from None


def _read_folder(path: str, split: str | None) -> Generator[Row]:
    from arhn.files.arrow import BATCH

    library = _library()
    try:
        loaded = library.load_from_disk(path)
    except (OSError, ValueError, KeyError) as error:
        raise FileMissing(f"isn't a data set that can be loaded: {error}", path=path) from error
    if isinstance(loaded, library.DatasetDict):
        loaded = _choose_split(loaded, split, path)
    for table in loaded.with_format("arrow").iter(batch_size=BATCH):
        yield from table.to_pylist()


def _read_hub(path: str, split: str | None) -> Iterable[Row]:
    name, _, named_split = path.removeprefix(SCHEME).partition(":")
    organisation, _, rest = name.partition("/")
    repository, _, configuration = rest.partition("/")
    wanted = named_split or split
    try:
        loaded = _library().load_dataset(
            f"{organisation}/{repository}", configuration or None, split=wanted or None, streaming=True
        )
    except MissingDependency:
        raise
    except Exception as error:  # the library, the hub's client and the network each have their own errors
        raise FileMissing(f"the hub doesn't give this data set: {error}", path=path) from error
    rows: Iterable[Row] = loaded if wanted else _choose_split(loaded, None, path)
    return rows


def _choose_split(splits: Any, wanted: str | None, path: str) -> Any:
    if wanted is None and len(splits) == 1:
        return next(iter(splits.values()))
    if wanted not in splits:
        raise UsageError(f"{path}: name one of the splits {', '.join(splits)}" + (f", not {wanted}" if wanted else ""))
    return splits[wanted]
