"""The sources of data sets: a BEIR folder, or one of BEIR's public sets, which is fetched once and saved."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from arhn.errors import FileMissing, UsageError
from arhn.evaluate import public_sets
from arhn.evaluate.beir import BeirSet, canonical_name, choose_sets
from arhn.retrieval.collection import Collection, OnMisfit, find_files, open_collection
from arhn.weights.cache import cache_root

#: Names of folders that don't name the data set in them.
_UNNAMED = frozenset({"beir", "data", "dataset"})
_NAME = re.compile(r"\w[\w.+-]*")


class Dataset(NamedTuple):
    """An opened data set: its collection, its split, and where it came from."""

    collection: Collection
    split: str
    origin: str

    @property
    def data(self) -> str:
        """The SHA-256 over queries, judgements and corpus, hexadecimal: equal for equal content in any files."""
        queries = sorted(self.collection.queries.items())
        qrels = [(q, sorted(grades.items())) for q, grades in sorted(self.collection.qrels.items())]
        content = [self.collection.corpus.digest, queries, qrels]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()


class Source(Protocol):
    """A data set to open."""

    @property
    def name(self) -> str:
        """What tables and run files call the data set."""
        ...

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that the user gave it, by how they are named."""
        ...

    def check(self) -> Dataset | None:
        """Check, before any long work, that the data set can be opened; open it where that is quick.

        Raises as `open` does.
        """
        ...

    def open(self) -> Dataset:
        """Open and check the data set.

        Raises:
            FileMissing, UnknownFormat, ...: see `open_collection`.
            TaskUnavailable: a public set can't be fetched.
            MissingDependency: a public set needs mteb.
        """
        ...


@dataclass(slots=True, kw_only=True)
class BeirFolder:
    """A BEIR folder. It is read once, by `check`."""

    name: str
    path: Path
    split: str = "test"
    missing: OnMisfit = "fail"
    without_positives: OnMisfit = "fail"
    _opened: Dataset | None = field(default=None, init=False)

    @property
    def files(self) -> Mapping[str, Path]:
        """See `Source`."""
        try:
            _, found = find_files(self.path, dict.fromkeys(("queries", "corpus", "qrels")), self.split)
        except FileMissing:  # opening it says so
            return {}
        return {f"--data {self.path}": self.path} | {f"the {what} of {self.name}": path for what, path in found.items()}

    def check(self) -> Dataset:
        """See `Source`; the data set is always opened."""
        self._opened = self.open()
        return self._opened

    def open(self) -> Dataset:
        """See `Source`. Raises as `open_collection` does."""
        return self._opened or Dataset(
            open_collection(
                folder=self.path, split=self.split, missing=self.missing, without_positives=self.without_positives
            ),
            self.split,
            str(self.path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A public set of BEIR, saved under `cache` as a BEIR folder.

    Judgements of passages that the corpus lacks, and queries without a relevant passage, are left as they are, because
    published results include them.
    """

    of: BeirSet
    cache: Path

    @property
    def name(self) -> str:
        """See `Source`: BEIR's name for the set."""
        return self.of.name

    @property
    def files(self) -> Mapping[str, Path]:
        """See `Source`: none, it lies in arhn's cache."""
        return {}

    def check(self) -> None:
        """See `Source`. Raises as `public_sets.require_reachable` does."""
        if public_sets.find_saved(self._folder) is None:
            public_sets.require_reachable(self.of)

    def open(self) -> Dataset:
        """See `Source`. Raises as `public_sets.fetch` does."""
        saved = public_sets.find_saved(self._folder) or public_sets.fetch(self.of, self._folder)
        collection = open_collection(folder=self._folder, split=saved.split, missing="keep", without_positives="keep")
        return Dataset(collection, saved.split, saved.origin)

    @property
    def _folder(self) -> Path:
        return self.cache / "beir" / self.of.name


def find_sources(
    tasks: Iterable[str] = (),
    folders: Iterable[str] = (),
    *,
    split: str = "test",
    missing: OnMisfit = "fail",
    without_positives: OnMisfit = "fail",
    cache_dir: Path | None = None,
) -> list[Source]:
    """Find the sources of the data sets to evaluate on: first those of `tasks`, then the other folders.

    Args:
        tasks: names of BEIR's sets, or of suites of them (see `beir.toml`). A folder named like a set replaces it.
        folders: `PATH` or `NAME=PATH` each. Without a name a data set is called after its folder, or after the parent
            folder where the folder is called `beir`, `data` or `dataset`.
        split: which qrels of the folders to use.
        missing, without_positives: what to do about misfits in the folders: see `open_collection`.
        cache_dir: where public sets are saved, as in `arhn.weights`.

    Raises:
        UnknownTask: a task is neither a set nor a suite.
        UsageError: a set can't be fetched and has no folder, a name is bad or occurs twice, or there is no data set.
    """
    own = [
        BeirFolder(name=name, path=path, split=split, missing=missing, without_positives=without_positives)
        for name, path in map(_parse_folder, folders)
    ]
    _require_distinct([folder.name for folder in own])
    by_name: dict[str, Source] = {canonical_name(folder.name): folder for folder in own}
    wanted = choose_sets(tasks)
    _require_folders(each for each in wanted if each.task is None and each.name not in by_name)
    root = cache_root(cache_dir)
    found = [by_name.pop(each.name, PublicSet(of=each, cache=root)) for each in wanted]
    found += by_name.values()
    if not found:
        raise UsageError("nothing to evaluate on. Give BEIR folders with --data, or names of BEIR's sets with --tasks.")
    return found


def _parse_folder(spec: str) -> tuple[str, Path]:
    name, equals, path = spec.partition("=")
    if equals and not Path(spec).exists():
        return _require_name(name, spec), Path(path)
    place = Path(spec).absolute()
    return _require_name(place.parent.name if place.name.casefold() in _UNNAMED else place.name, spec), Path(spec)


def _require_name(name: str, spec: str) -> str:
    if _NAME.fullmatch(name):
        return name
    raise UsageError(f"--data {spec!r}: {name!r} can't name a data set. Write NAME=FOLDER, with letters and digits.")


def _require_distinct(names: Sequence[str]) -> None:
    kinds = [canonical_name(name) for name in names]
    if twice := next((name for name, kind in zip(names, kinds, strict=True) if kinds.count(kind) > 1), None):
        raise UsageError(f"--data: two data sets are called {twice!r}. Tell them apart with NAME=FOLDER.")


def _require_folders(lacking: Iterator[BeirSet]) -> None:
    if names := [each.name for each in lacking]:
        raise UsageError(
            f"{', '.join(names)}: not public; only their owners give them out. Give BEIR folders of them "
            f"(--data {names[0]}=FOLDER), or leave them out: --tasks beir12 has the 12 public sets of the 16."
        )
