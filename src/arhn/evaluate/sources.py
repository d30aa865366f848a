"""Where a data set comes from: a BEIR folder, or one of BEIR's public sets, fetched through mteb once and kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from arhn.errors import UsageError
from arhn.evaluate import public
from arhn.evaluate.sets import BeirSet, canonical, chosen
from arhn.retrieval.collection import Collection, OnMisfit, open_collection
from arhn.weights.cache import cache_root

#: Names of folders that say nothing of the data set in them.
_UNNAMED = frozenset({"beir", "data", "dataset"})
_NAME = re.compile(r"\w[\w.+-]*")


class Opened(NamedTuple):
    """A collection, its split, and where it is from."""

    collection: Collection
    split: str
    origin: str

    @property
    def data(self) -> str:
        """Hexadecimal SHA-256 over queries, judgements and corpus: equal for equal content, whatever the files."""
        queries = sorted(self.collection.queries.items())
        qrels = [(q, sorted(grades.items())) for q, grades in sorted(self.collection.qrels.items())]
        content = [self.collection.corpus.digest, queries, qrels]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()


class Source(Protocol):
    """A data set to be opened; `name` is what tables and run files call it."""

    @property
    def name(self) -> str: ...

    def check(self) -> Opened | None:
        """Find out, before anything long begins, whether it can be opened: open it where that is quick.

        Raises as `open` does.
        """
        ...

    def open(self) -> Opened:
        """Read and check it.

        Raises:
            FileMissing, UnknownFormat, ...: see `open_collection`.
            TaskUnavailable: a public set can't be fetched.
            MissingDependency: a public set needs mteb.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Folder:
    """A BEIR folder. It is read once, when it is checked."""

    name: str
    path: Path
    split: str = "test"
    missing: OnMisfit = "fail"
    without_positives: OnMisfit = "fail"
    _opened: Opened | None = field(default=None, init=False)

    def check(self) -> Opened:
        self._opened = self.open()
        return self._opened

    def open(self) -> Opened:
        return self._opened or Opened(
            open_collection(
                folder=self.path, split=self.split, missing=self.missing, without_positives=self.without_positives
            ),
            self.split,
            str(self.path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A public set of BEIR, kept under `cache` as a BEIR folder.

    Judgements of passages that the corpus lacks, and queries without a relevant passage, stay as they are, for
    everybody's numbers have them.
    """

    of: BeirSet
    cache: Path

    @property
    def name(self) -> str:
        return self.of.name

    def check(self) -> None:
        if public.kept(self._folder) is None:
            public.require_reachable(self.of)

    def open(self) -> Opened:
        found = public.kept(self._folder) or public.fetch(self.of, self._folder)
        collection = open_collection(folder=self._folder, split=found.split, missing="keep", without_positives="keep")
        return Opened(collection, found.split, found.origin)

    @property
    def _folder(self) -> Path:
        return self.cache / "beir" / self.of.name


def sources(
    tasks: Iterable[str] = (),
    folders: Iterable[str] = (),
    *,
    split: str = "test",
    missing: OnMisfit = "fail",
    without_positives: OnMisfit = "fail",
    cache_dir: Path | None = None,
) -> list[Source]:
    """The data sets to evaluate on: those of `tasks` first, then the other folders.

    Args:
        tasks: names of BEIR's sets or suites of them (`beir.toml`). A folder of the same name takes a set's place.
        folders: `PATH` or `NAME=PATH`. Without a name a data set is called after its folder, or the one above where
            that is only called `beir` or `data`.
        split: which qrels of the folders.
        missing, without_positives: what to do about misfits in the folders; see `open_collection`.
        cache_dir: where public sets are kept, as in `arhn.weights`.

    Raises:
        UnknownTask: a task that is neither a set nor a suite.
        UsageError: a set that can't be fetched and has no folder, a bad name, one name twice, no data set at all.
    """
    own = [
        Folder(name=name, path=path, split=split, missing=missing, without_positives=without_positives)
        for name, path in map(_named, folders)
    ]
    _require_distinct([folder.name for folder in own])
    by_name: dict[str, Source] = {canonical(folder.name): folder for folder in own}
    wanted = chosen(tasks)
    _require_had(each for each in wanted if each.task is None and each.name not in by_name)
    root = cache_root(cache_dir)
    found = [by_name.pop(each.name, Public(of=each, cache=root)) for each in wanted]
    found += by_name.values()
    if not found:
        raise UsageError("nothing to evaluate on. Name BEIR folders with --data, or sets of BEIR with --tasks.")
    return found


def _named(spec: str) -> tuple[str, Path]:
    name, equals, path = spec.partition("=")
    if equals and not Path(spec).exists():
        return _checked(name, spec), Path(path)
    place = Path(spec).absolute()
    return _checked(place.parent.name if place.name.casefold() in _UNNAMED else place.name, spec), Path(spec)


def _checked(name: str, spec: str) -> str:
    if _NAME.fullmatch(name):
        return name
    raise UsageError(f"--data {spec!r}: {name!r} can't name a data set. Write NAME=FOLDER, with letters and digits.")


def _require_distinct(names: Sequence[str]) -> None:
    kinds = [canonical(name) for name in names]
    if twice := next((name for name, kind in zip(names, kinds, strict=True) if kinds.count(kind) > 1), None):
        raise UsageError(f"--data: two data sets are called {twice!r}. Tell them apart with NAME=FOLDER.")


def _require_had(lacking: Iterator[BeirSet]) -> None:
    if names := [each.name for each in lacking]:
        raise UsageError(
            f"{', '.join(names)}: not public, only their owners hand them out. Give BEIR folders of them "
            f"(--data {names[0]}=FOLDER), or leave them out: --tasks beir12 has the public ones of the 16."
        )
