"""Groups to a file, which is there whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn.errors import CannotHold, OutputNotWritable
from arhn.files import datasets as hub
from arhn.files import parquet
from arhn.files.atomic import Output
from arhn.files.claims import Claim, Mark
from arhn.files.datasets import SavedDataset
from arhn.files.jsonl import JsonlFile
from arhn.files.parquet import ParquetFile
from arhn.files.remote import Remote, is_url
from arhn.formats import FORMATS, labeled_list
from arhn.formats.detection import Container, Source

if TYPE_CHECKING:
    import pyarrow as pa

    from arhn.types import Group

_Sink = JsonlFile | ParquetFile | SavedDataset

_SUFFIXES = {
    ".jsonl": Container.JSONL,
    ".json": Container.JSONL,
    ".gz": Container.JSONL,
    ".zst": Container.JSONL,
    ".parquet": Container.PARQUET,
}


def list_losses(source: str, target: str) -> list[str]:
    """What groups of the format `source` may have that the format `target` can't hold."""
    return sorted(FORMATS.get(source).HOLDS - FORMATS.get(target).HOLDS)


class GroupWriter(Output):
    """Writes groups; `with` commits at the end and aborts on an exception.

    The same groups give the same bytes. `written` counts groups, and `losses` what the format couldn't hold:
    by kind (`query_id`, `doc_id`, `title`, `label`, `field x`, `passage field x`) how many were left out;
    `groups without negatives` were left out altogether.

    Args:
        path: where they go; a suffix .gz or .zst compresses JSON lines.
        format: the name of the format to write.
        container: what to store rows in. Unless given, a path that ends in "/" is a folder for `datasets`,
            else the suffix decides, else `like`, else it is JSON lines.
        like: a source whose names and order of columns (and, Parquet to Parquet, types) to take over.
        overwrite: replace what is there; or the claim of a process that writes several outputs.

    Raises:
        OutputExists, OutputLocked, OutputNotWritable, DiskFull: see `AtomicFile` and `AtomicFolder`.
        MissingDependency: a `datasets` folder is wanted and the library isn't installed.
        UsageError: a format or container that there isn't.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str,  # noqa: A002  # the users' word
        *,
        container: Container | str | None = None,
        like: Source | None = None,
        overwrite: bool | Claim = False,
    ) -> None:
        self.format = format
        self._format = FORMATS.get(format)
        self.container = choose_container(path, container, like)
        self.losses: Counter[str] = Counter()
        self._path = os.fspath(path)
        self.written = 0
        self._like = like.fields if like is not None and like.format == format else ()
        self._sink = _open(self._path, self.container, _schema(like, format), overwrite)

    def write(self, group: Group) -> None:
        """Write one group, or count it in `losses` if the format can't hold it at all.

        Raises:
            CannotHold: a field has a value that the container can't hold.
            OutputNotWritable, DiskFull
        """
        rows = self._format.encode(group, self.losses, self._like)
        if not rows:
            return
        if "label" not in self._format.HOLDS:
            self._count_labels(group)
        with self._named():
            for row in rows:
                self._sink.write(row)
        self.written += 1

    def close(self) -> None:
        """The same as `commit`."""
        self.commit()

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        return self._sink.marks

    def _prepare(self) -> None:
        with self._named():
            self._sink.prepare()

    def _publish(self) -> None:
        self._sink.publish()

    def _abort(self) -> None:
        self._sink.abort()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except CannotHold as error:
            error.path = self._path
            raise

    def _count_labels(self, group: Group) -> None:
        lost = sum(map(labeled_list.loses_label, group.passages))
        if lost:
            self.losses["label"] += lost


def choose_container(
    path: str | os.PathLike[str], container: Container | str | None = None, like: Source | None = None
) -> Container:
    """The container that an output goes into; see `GroupWriter`."""
    name = os.fspath(path)
    if container is not None:
        return Container(container)
    if name.endswith(("/", os.sep)):
        return Container.DATASETS
    return _SUFFIXES.get(Path(name).suffix, like.container if like is not None else Container.JSONL)


def _open(path: str, container: Container, schema: pa.Schema | None, overwrite: bool | Claim) -> _Sink:
    if path.startswith(hub.SCHEME):
        raise OutputNotWritable(f"{path}: data sets on the hub are only read; write a file or folder")
    if container is Container.JSONL:
        return JsonlFile(path, overwrite=overwrite)
    kind = ParquetFile if container is Container.PARQUET else SavedDataset
    return kind(path, overwrite=overwrite, schema=schema)


def _schema(like: Source | None, target: str) -> Any:
    """The columns to start with: a source's columns stay even where all their values are null."""
    if like is None or like.container is not Container.PARQUET or like.format != target:
        return None
    return parquet.read_schema(Remote(like.path) if is_url(like.path) else Path(like.path))
