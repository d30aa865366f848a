"""A test collection or training collection: queries, judgements and a corpus that fit each other."""

from __future__ import annotations

import os
from collections.abc import Collection as Sized
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from arhn.errors import (
    BadRow,
    DataError,
    DuplicateId,
    EmptyCorpus,
    FileMissing,
    MissingPassages,
    MissingQueries,
    NoPositives,
    UnknownFormat,
    UsageError,
)
from arhn.formats.ids import SeenIds
from arhn.retrieval import readers
from arhn.retrieval.corpus import Corpus

#: What to do about judged passages that the corpus lacks, and about queries without a positive.
OnMisfit = Literal["fail", "drop", "keep"]
Qrels = dict[str, dict[str, int]]
_T = TypeVar("_T")

_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".tsv", ".tsv.gz", ".tsv.zst")
_QRELS = (".tsv", ".tsv.gz", ".tsv.zst", ".txt", ".qrels", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_SHOWN = 5  # ids that a message names


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Queries (those that the qrels name, in the order of their file), qrels and corpus.

    A grade above 0 is relevant; 0 and below is judged and not relevant. `dropped` counts what was left out, by why.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Corpus
    dropped: Mapping[str, int] = field(default_factory=dict)

    def positives(self, query_id: str) -> list[str]:
        """The doc_ids of a query's relevant passages, in the order of the qrels."""
        return relevant(self.qrels[query_id])


def relevant(judged: Mapping[str, int]) -> list[str]:
    """The doc_ids with a grade above 0."""
    return [doc_id for doc_id, grade in judged.items() if grade > 0]


def open_collection(
    *,
    folder: str | os.PathLike[str] | None = None,
    queries: str | os.PathLike[str] | None = None,
    corpus: str | os.PathLike[str] | None = None,
    qrels: str | os.PathLike[str] | None = None,
    split: str = "test",
    missing: OnMisfit = "fail",
    without_positives: OnMisfit = "fail",
) -> Collection:
    """Read and check a collection. The corpus is read once and stays on disk.

    Args:
        folder: a BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`; also compressed, as Parquet or
            tab-separated.
        queries, corpus, qrels: files instead of those of the folder.
        split: which qrels of the folder.
        missing: what to do about judged passages that the corpus lacks.
        without_positives: what to do about queries without a relevant passage.

    Raises:
        UsageError: no folder, and not all three files.
        FileMissing: a file isn't there; for a split, the message names those that are.
        UnknownFormat, NotUtf8, BadJson, BadRow: a file isn't what it should be; see `readers`.
        DuplicateId: an id comes twice, or a passage is judged twice and differently for one query.
        MissingQueries: qrels name a query that isn't there.
        MissingPassages, NoPositives: with `missing` and `without_positives` as "fail".
        EmptyCorpus: no passage, no judgement, or nothing left of them.
    """
    name, files = places(folder, {"queries": queries, "corpus": corpus, "qrels": qrels}, split)
    place = files["qrels"]
    dropped: dict[str, int] = {}
    judged = _qrels(place)
    _settle_positives(judged, place, without_positives, dropped)
    texts = judged_queries(files["queries"], judged, str(place))
    passages = Corpus.open(files["corpus"])
    _settle_passages(judged, passages, place, missing, dropped)
    _settle_positives(judged, place, without_positives, dropped)
    if not judged:
        raise EmptyCorpus("no query is left", path=str(place))
    kept = {query_id: text for query_id, text in texts.items() if query_id in judged}
    return Collection(name=name, queries=kept, qrels=judged, corpus=passages, dropped=dropped)


# --- Which files ----------------------------------------------------------------------------------


def places(
    folder: str | os.PathLike[str] | None, given: Mapping[str, str | os.PathLike[str] | None], split: str = ""
) -> tuple[str, dict[str, Path]]:
    """What a collection is called, and its files: those `given` by what they hold, else those of a BEIR folder.

    Raises:
        UsageError: no folder, and not all of them.
        FileMissing: there is no such folder, or one isn't in it.
    """
    lacking = [what for what, path in given.items() if path is None]
    if folder is None and lacking:
        *others, last = given
        needed = f"all of {', '.join(others)} and {last}" if others else last
        raise UsageError(f"A folder is needed, or {needed}; found no {' and no '.join(lacking)}.")
    root = Path(folder) if folder is not None else Path()
    if folder is not None and lacking and not root.is_dir():
        raise FileMissing("there is no such folder; check the path", path=str(root))
    paths = {what: Path(path) if path is not None else _inside(root, what, split) for what, path in given.items()}
    return root.resolve().name if folder is not None else paths["corpus"].name.split(".")[0], paths


def _inside(root: Path, what: str, split: str) -> Path:
    """A file of a BEIR folder."""
    place, suffixes = (root / "qrels" / split, _QRELS) if what == "qrels" else (root / what, _FILES)
    for suffix in suffixes:
        if (path := place.with_name(place.name + suffix)).is_file():
            return path
    raise FileMissing(_where(place, what, suffixes), path=str(place.parent))


def _where(place: Path, what: str, suffixes: tuple[str, ...]) -> str:
    if what != "qrels" or not place.parent.is_dir():
        return f"holds no {place.name}{suffixes[0]} (or {', '.join(suffixes[1:])}); name the file with --{what}"
    splits = sorted({path.name.split(".")[0] for path in place.parent.iterdir() if path.name.endswith(_QRELS)})
    return f"there is no split {place.name!r}; there are {', '.join(splits) or 'none'}. Choose one with --split"


# --- Reading and checking -------------------------------------------------------------------------


def _qrels(path: Path) -> Qrels:
    judged: Qrels = {}
    for line, query_id, doc_id, grade in _or_empty(path, readers.qrels(path), "judgement"):
        before = judged.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise DuplicateId(
                f"query {query_id!r}, passage {doc_id!r} is judged again, {grade} after {before}",
                path=str(path),
                line=line,
            )
    return judged


def judged_queries(path: Path, judged: Sized[str], qrels: str) -> dict[str, str]:
    """The texts of the judged queries; every row is checked.

    Args:
        qrels: what judges them, for messages.

    Raises:
        UnknownFormat, NotUtf8, BadJson, BadRow, DuplicateId, EmptyCorpus: as `open_collection`.
        MissingQueries: some aren't there.
    """
    texts: dict[str, str] = {}
    with closing(SeenIds()) as seen:
        for line, query_id, text in _or_empty(path, readers.queries(path), "query"):
            if (first := seen.add(query_id, line)).times > 1:
                message = f"query_id {query_id!r} occurs again; it was first in line {first.first_line}"
                raise DuplicateId(message, path=str(path), line=line)
            if query_id in judged:
                if not text.strip():
                    raise BadRow(
                        f"text of query {query_id!r}", "a non-empty string", repr(text), path=str(path), line=line
                    )
                texts[query_id] = text
    lacking = [query_id for query_id in judged if query_id not in texts]
    if lacking:
        named = f"{len(lacking)} of {len(judged)} queries aren't in {path}: {some(lacking)}"
        raise _advised(MissingQueries(named, path=qrels), "Check that both files belong together")
    return texts


def _or_empty(path: Path, rows: Iterator[_T], what: str) -> Iterator[_T]:
    """`rows`, where there is at least one."""
    try:
        first = next(rows, None)
    except UnknownFormat as error:
        if error.message != readers.EMPTY:
            raise
        first = None
    if first is None:
        raise EmptyCorpus(f"holds no {what}", path=str(path))
    yield first
    yield from rows


def _settle_passages(judged: Qrels, corpus: Corpus, path: Path, on_misfit: OnMisfit, dropped: dict[str, int]) -> None:
    """Fail over judgements of passages that the corpus lacks, or drop them."""
    if on_misfit == "keep":
        return
    named = dict.fromkeys(doc_id for grades in judged.values() for doc_id in grades)
    there = corpus.positions(named)
    lacking = [doc_id for doc_id in named if doc_id not in there]
    if lacking and on_misfit == "fail":
        message = f"{len(lacking)} of {len(named)} judged passages aren't in {corpus.path}: {some(lacking)}"
        advice = "Check that both files belong together, or leave them out with --missing-qrels drop"
        raise _advised(MissingPassages(message, path=str(path)), advice)
    if lacking:
        dropped["judgements of passages that the corpus lacks"] = _drop(judged, frozenset(lacking))


def _drop(judged: Qrels, lacking: frozenset[str]) -> int:
    before = sum(map(len, judged.values()))
    for query_id, grades in judged.items():
        judged[query_id] = {doc_id: grade for doc_id, grade in grades.items() if doc_id not in lacking}
    return before - sum(map(len, judged.values()))


def _settle_positives(judged: Qrels, path: Path, on_misfit: OnMisfit, dropped: dict[str, int]) -> None:
    """Fail over queries without a relevant passage, or drop them."""
    if on_misfit == "keep":
        return
    without = [query_id for query_id, grades in judged.items() if not relevant(grades)]
    if without and on_misfit == "fail":
        message = f"{len(without)} of {len(judged)} queries have no relevant passage (a grade above 0): {some(without)}"
        advice = "Correct them, or leave them out with --no-positives drop"
        raise _advised(NoPositives(message, path=str(path)), advice)
    for query_id in without:
        del judged[query_id]
    if without:
        what = "queries without a relevant passage"
        dropped[what] = dropped.get(what, 0) + len(without)


def _advised(error: DataError, advice: str) -> DataError:
    error.advice = advice
    return error


def some(ids: Sized[str]) -> str:
    """The first of some ids, for a message."""
    named = ", ".join(map(repr, islice(ids, _SHOWN)))
    return f"{named}, …" if len(ids) > _SHOWN else named
