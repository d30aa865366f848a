"""Where new negatives come from while a model is trained: a corpus that must fit the groups, and the model itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arhn.errors import CollectionError, DuplicateId, MissingPassages
from arhn.libraries import library
from arhn.mine.rules import Settings
from arhn.retrieval.collection import find_files, list_some, read_judged_queries
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.dense import FAISS_ABOVE, Dense
from arhn.retrieval.embedder import Embedder, as_text
from arhn.retrieval.search import Searcher
from arhn.train.filtered import query_key, text_key
from arhn.types import Group, Passage

#: What flags and records call the model in training.
CURRENT = "current"

_FIT = (
    "Groups and corpus must name a passage by the same doc_id: give the corpus that the groups come from. Groups in a "
    "format without doc_ids can't be mined for again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """How a refresh mines, and where.

    `folder` is a BEIR folder; `queries` and `corpus` are files instead of its own. With `corpus` alone nothing is
    known of the queries but what the groups say. `retrievers` by name, each made anew for every refresh; None is the
    model in training, which encodes `batch_size` texts at once and searches approximately above `faiss_above`
    passages. `score_by` names the one whose scores the rules go by, the first unless given.
    """

    folder: str | os.PathLike[str] | None = None
    queries: str | os.PathLike[str] | None = None
    corpus: str | os.PathLike[str] | None = None
    settings: Settings = field(default_factory=Settings)
    retrievers: Mapping[str, Callable[[Corpus], Searcher] | None] = field(default_factory=lambda: {CURRENT: None})
    score_by: str | None = None
    batch_size: int = 32
    faiss_above: int = FAISS_ABOVE

    def searchers(self, corpus: Corpus, model: Any, identity: str) -> dict[str, Searcher]:
        """The retrievers over a corpus. `identity` says which weights `model` has by now."""
        holding = Embedder.from_model(model, identity=identity, batch_size=self.batch_size)
        return {
            name: Dense(corpus, holding, faiss_above=self.faiss_above) if make is None else make(corpus)
            for name, make in self.retrievers.items()
        }


def open_corpus(mining: Mining, groups: Iterable[Group], called: str) -> tuple[str, Corpus]:
    """The name of a collection and its corpus, known to be the one that groups come from.

    Args:
        called: what messages call the groups.

    Raises:
        UsageError, FileMissing, UnknownFormat, NotUtf8, BadJson, BadRow, DuplicateId, EmptyCorpus: see
            `arhn.retrieval.collection.open_collection`.
        MissingQueries, MissingPassages: it lacks queries, or labelled positives, of the groups.
        CollectionError: it has their ids, but for other texts.
        whatever reading `groups` raises.
    """
    queries, positives = _labelled(groups, called)
    given = {"queries": mining.queries, "corpus": mining.corpus}
    if mining.folder is None and mining.queries is None:
        del given["queries"]
    name, files = find_files(mining.folder, given)
    if "queries" in files:
        _require_queries(files["queries"], queries, called)
    corpus = Corpus.open(files["corpus"])
    _require_positives(corpus, positives, called)
    return name, corpus


def fingerprint(model: Any) -> str:
    """`sha256:` and 16 hex digits over names and values of all weights, whatever device they are on."""
    torch = library("torch", "train")
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()[:16]}"


def _labelled(groups: Iterable[Group], called: str) -> tuple[dict[str, int], dict[str, Set[int]]]:
    """The keys of queries and of labelled positives, by id."""
    queries: dict[str, int] = {}
    positives: dict[str, Set[int]] = {}
    for group in groups:
        if group.query_id in queries:
            raise DuplicateId(f"query_id {group.query_id!r} occurs again. Give each group its own", path=called)
        queries[group.query_id] = query_key(group.query)
        positives.update((passage.doc_id, _keys(passage)) for passage in group.positives)
    return queries, positives


def _keys(passage: Passage) -> Set[int]:
    """A passage's text, with its title and without: some formats have no title, others a dash."""
    return {text_key(passage.text), text_key(as_text(passage))}


def _require_queries(path: Path, queries: Mapping[str, int], called: str) -> None:
    texts = read_judged_queries(path, queries, called)
    if not any(query_key(texts[query_id]) == key for query_id, key in queries.items()):
        raise _others(called, "queries", path, "query_id", queries)


def _require_positives(corpus: Corpus, positives: Mapping[str, Set[int]], called: str) -> None:
    there = corpus.find_positions(positives)
    if lacking := [doc_id for doc_id in positives if doc_id not in there]:
        error = MissingPassages(
            f"{len(lacking)} of {len(positives)} labelled positives aren't in {corpus.path}: {list_some(lacking)}",
            path=called,
        )
        error.advice = _FIT
        raise error
    found = (corpus.read_at([position])[0] for position in there.values())
    if not any(_keys(passage) & positives[passage.doc_id] for passage in found):
        raise _others(called, "labelled positives", corpus.path, "doc_id", positives)


def _others(called: str, what: str, path: Path, name: str, ids: Mapping[str, object]) -> CollectionError:
    error = CollectionError(
        f"none of its {len(ids)} {what} has the text that {path} has for the same {name}: {list_some(ids)}",
        path=called,
    )
    error.advice = _FIT
    return error
