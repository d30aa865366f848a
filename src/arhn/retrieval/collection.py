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
from arhn.retrieval import collection_files
from arhn.retrieval.corpus import Corpus

#: What to do about judged passages that the corpus lacks, and about queries without a positive: raise an error, leave
#: them out and count them, or leave them as they are.
OnMisfit = Literal["fail", "drop", "keep"]
Qrels = dict[str, dict[str, int]]
_T = TypeVar("_T")

_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".tsv", ".tsv.gz", ".tsv.zst")
_QRELS = (".tsv", ".tsv.gz", ".tsv.zst", ".txt", ".qrels", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_SHOWN = 5  # ids that a message lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Queries, qrels and corpus.

    `queries` are texts by query_id: those that the qrels name, in the order of the queries file. `qrels` are grades by
    query_id and doc_id; a grade above 0 means relevant, 0 or below means judged and not relevant. `dropped` counts
    what was left out, by reason.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Corpus
    dropped: Mapping[str, int] = field(default_factory=dict)

    def positives(self, query_id: str) -> list[str]:
        """The doc_ids of a query's relevant passages, in the order of the qrels."""
        return relevant_ids(self.qrels[query_id])


def relevant_ids(judged: Mapping[str, int]) -> list[str]:
    """The doc_ids of one query's judgements with a grade above 0."""
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
    """Open a collection and check that its parts fit together. The corpus is read once and stays on disk.

    Args:
        folder: a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`; they may also be compressed,
            Parquet or tab-separated.
        queries, corpus, qrels: files to use instead of the folder's.
        split: which qrels of the folder to use.
        missing: what to do about judged passages that the corpus lacks; with "drop", about judged queries that the
            queries file lacks, too.
        without_positives: what to do about queries without a relevant passage.

    Raises:
        UsageError: no folder was given, and not all three files.
        FileMissing: a file doesn't exist; for a split, the message lists those that do.
        UnknownFormat, NotUtf8, BadJson, BadRow: a file can't be parsed; see `collection_files`.
        DuplicateId: an id occurs twice, or a query has two different grades for one passage.
        MissingQueries: the qrels name a query that the queries file lacks, and `missing` isn't "drop".
        MissingPassages, NoPositives: with `missing` and `without_positives` as "fail".
        EmptyCorpus: there is no passage or no judgement, or none is left.
    """
    name, files = find_files(folder, {"queries": queries, "corpus": corpus, "qrels": qrels}, split)
    path = files["qrels"]
    dropped: dict[str, int] = {}
    judged = _read_qrels(path)
    _settle_positives(judged, path, without_positives, dropped)
    texts = read_judged_queries(files["queries"], judged, str(path), drop=missing == "drop")
    _drop_queries(judged, texts, dropped)
    passages = Corpus.open(files["corpus"])
    _settle_passages(judged, passages, path, missing, dropped)
    if judged:
        _settle_positives(judged, path, without_positives, dropped)
    if not judged:
        raise EmptyCorpus("no query is left", path=str(path))
    remaining = {query_id: text for query_id, text in texts.items() if query_id in judged}
    return Collection(name=name, queries=remaining, qrels=judged, corpus=passages, dropped=dropped)


# --- Which files ----------------------------------------------------------------------------------


def find_files(
    folder: str | os.PathLike[str] | None, given: Mapping[str, str | os.PathLike[str] | None], split: str = ""
) -> tuple[str, dict[str, Path]]:
    """Find the files of a collection.

    Args:
        folder: a BEIR folder.
        given: by what a file holds ("queries", "corpus", "qrels"), its path; None for the one in the folder.
        split: which qrels of the folder to use.

    Returns:
        The collection's name, and the files by what they hold.

    Raises:
        UsageError: no folder was given, and not all files.
        FileMissing: the folder doesn't exist, or lacks a file.
    """
    lacking = [what for what, path in given.items() if path is None]
    if folder is None and lacking:
        *others, last = given
        needed = f"all of {', '.join(others)} and {last}" if others else last
        raise UsageError(f"Give a folder, or {needed}; found no {' and no '.join(lacking)}.")
    root = Path(folder) if folder is not None else Path()
    if folder is not None and lacking and not root.is_dir():
        if root.is_file():
            raise FileMissing(
                "is a file; give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv), or each file by its "
                "option: --queries, --corpus, --qrels",
                path=str(root),
            )
        raise FileMissing("there is no such folder; check the path", path=str(root))
    paths = {
        what: Path(path) if path is not None else _find_in_folder(root, what, split) for what, path in given.items()
    }
    return root.resolve().name if folder is not None else paths["corpus"].name.split(".")[0], paths


def _find_in_folder(root: Path, what: str, split: str) -> Path:
    """The path of a file in a BEIR folder."""
    place, suffixes = (root / "qrels" / split, _QRELS) if what == "qrels" else (root / what, _FILES)
    for suffix in suffixes:
        if (path := place.with_name(place.name + suffix)).is_file():
            return path
    raise FileMissing(_explain_missing(place, what, suffixes), path=str(place.parent))


def _explain_missing(place: Path, what: str, suffixes: tuple[str, ...]) -> str:
    if what != "qrels" or not place.parent.is_dir():
        return f"holds no {place.name}{suffixes[0]} (or {', '.join(suffixes[1:])}); name the file with --{what}"
    splits = sorted({path.name.split(".")[0] for path in place.parent.iterdir() if path.name.endswith(_QRELS)})
    return f"there is no split {place.name!r}; there are {', '.join(splits) or 'none'}. Choose one with --split"


# --- Reading and checking -------------------------------------------------------------------------


def _read_qrels(path: Path) -> Qrels:
    judged: Qrels = {}
    for line, query_id, doc_id, grade in _require_rows(path, collection_files.read_qrels(path), "judgement"):
        before = judged.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise DuplicateId(
                f"query {query_id!r}, passage {doc_id!r} is judged again, {grade} after {before}",
                path=str(path),
                line=line,
            )
    return judged


def read_judged_queries(path: Path, judged: Sized[str], qrels: str, *, drop: bool = False) -> dict[str, str]:
    """The texts of the judged queries by query_id; every row of the file is checked.

    Args:
        path: a file of queries.
        judged: the query_ids to read.
        qrels: what messages call the source of `judged`.
        drop: leave out what the file lacks.

    Raises:
        UnknownFormat, NotUtf8, BadJson, BadRow, DuplicateId, EmptyCorpus: as `open_collection`.
        MissingQueries: the file lacks some of them.
    """
    texts: dict[str, str] = {}
    with closing(SeenIds()) as seen:
        for line, query_id, text in _require_rows(path, collection_files.read_queries(path), "query"):
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
    if lacking and not drop:
        message = f"{len(lacking)} of {len(judged)} queries aren't in {path}: {list_some(lacking)}"
        advice = "Check that both files belong together, or drop these judgements with --missing-qrels drop"
        raise _with_advice(MissingQueries(message, path=qrels), advice)
    return texts


def _require_rows(path: Path, rows: Iterator[_T], what: str) -> Iterator[_T]:
    """Yield `rows`. Raises EmptyCorpus where there is none."""
    try:
        first = next(rows, None)
    except UnknownFormat as error:
        if error.message != collection_files.EMPTY:
            raise
        first = None
    if first is None:
        raise EmptyCorpus(f"holds no {what}", path=str(path))
    yield first
    yield from rows


def _drop_queries(judged: Qrels, texts: Mapping[str, str], dropped: dict[str, int]) -> None:
    lacking = [query_id for query_id in judged if query_id not in texts]
    if lacking:
        what = "judgements of queries that the queries file lacks"
        dropped[what] = sum(len(judged.pop(query_id)) for query_id in lacking)


def _settle_passages(judged: Qrels, corpus: Corpus, path: Path, on_misfit: OnMisfit, dropped: dict[str, int]) -> None:
    """Raise an error for judgements of passages that the corpus lacks, drop them, or leave them: see `OnMisfit`."""
    if on_misfit == "keep":
        return
    named = dict.fromkeys(doc_id for grades in judged.values() for doc_id in grades)
    there = corpus.find_positions(named)
    lacking = [doc_id for doc_id in named if doc_id not in there]
    if lacking and on_misfit == "fail":
        message = f"{len(lacking)} of {len(named)} judged passages aren't in {corpus.path}: {list_some(lacking)}"
        advice = "Check that both files belong together, or drop these judgements with --missing-qrels drop"
        raise _with_advice(MissingPassages(message, path=str(path)), advice)
    if lacking:
        dropped["judgements of passages that the corpus lacks"] = _drop_passages(judged, frozenset(lacking))


def _drop_passages(judged: Qrels, lacking: frozenset[str]) -> int:
    before = sum(map(len, judged.values()))
    for query_id, grades in judged.items():
        judged[query_id] = {doc_id: grade for doc_id, grade in grades.items() if doc_id not in lacking}
    return before - sum(map(len, judged.values()))


def _settle_positives(judged: Qrels, path: Path, on_misfit: OnMisfit, dropped: dict[str, int]) -> None:
    """Raise an error for queries without a relevant passage, drop them, or leave them: see `OnMisfit`."""
    if on_misfit == "keep":
        return
    without = [query_id for query_id, grades in judged.items() if not relevant_ids(grades)]
    if without and on_misfit == "fail":
        message = (
            f"{len(without)} of {len(judged)} queries have no relevant passage (a grade above 0): {list_some(without)}"
        )
        advice = "Correct the qrels, or drop these queries with --no-positives drop"
        raise _with_advice(NoPositives(message, path=str(path)), advice)
    for query_id in without:
        del judged[query_id]
    if without:
        what = "queries without a relevant passage"
        dropped[what] = dropped.get(what, 0) + len(without)


def _with_advice(error: DataError, advice: str) -> DataError:
    error.advice = advice
    return error


def list_some(ids: Sized[str]) -> str:
    """The first five of some ids, for a message."""
    listed = ", ".join(map(repr, islice(ids, _SHOWN)))
    return f"{listed}, …" if len(ids) > _SHOWN else listed
