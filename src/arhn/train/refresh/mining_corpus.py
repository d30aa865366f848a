"""The corpus that refreshes mine new negatives in, which must fit the groups, and the retrievers that search it."""

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
from arhn.train.filtered_passages import query_key, text_key
from arhn.types import Group, Passage

#: The name of the model in training, among retrievers.
CURRENT = "current"

_FIT = (
    "Groups and corpus must have the same doc_id for a passage: give the corpus that the groups come from. Groups in a "
    "format without doc_ids can't be refreshed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """How refreshes mine, and in which corpus.

    `folder` is a BEIR folder; `queries` and `corpus` are files to use instead of its own. With `corpus` alone, the
    groups' queries aren't checked. `settings` are those of mining. `retrievers` are functions by name that open a
    retriever over the corpus for each refresh; None stands for the model in training, which encodes `batch_size` texts
    at once and searches approximately above `faiss_above` passages. `score_by` names the retriever whose scores the
    rules compare, by default the first.
    """

    folder: str | os.PathLike[str] | None = None
    queries: str | os.PathLike[str] | None = None
    corpus: str | os.PathLike[str] | None = None
    settings: Settings = field(default_factory=Settings)
    retrievers: Mapping[str, Callable[[Corpus], Searcher] | None] = field(default_factory=lambda: {CURRENT: None})
    score_by: str | None = None
    batch_size: int = 32
    faiss_above: int = FAISS_ABOVE

    def open_searchers(self, corpus: Corpus, model: Any, identity: str) -> dict[str, Searcher]:
        """Open the retrievers over a corpus, by name.

        Args:
            model: the SentenceTransformer in training.
            identity: a name for its present weights.
        """
        embedder = Embedder.from_model(model, identity=identity, batch_size=self.batch_size)
        return {
            name: Dense(corpus, embedder, faiss_above=self.faiss_above) if make is None else make(corpus)
            for name, make in self.retrievers.items()
        }


def open_corpus(mining: Mining, groups: Iterable[Group], called: str) -> tuple[str, Corpus]:
    """Open the corpus to mine in, and check that the groups come from it.

    Args:
        mining: says which corpus.
        groups: the groups in training.
        called: what messages call the groups.

    Returns:
        The name of the collection, and its corpus.

    Raises:
        UsageError, FileMissing, UnknownFormat, NotUtf8, BadJson, BadRow, DuplicateId, EmptyCorpus: see
            `arhn.retrieval.collection.open_collection`.
        MissingQueries, MissingPassages: the collection lacks queries, or labelled positives, of the groups.
        CollectionError: it has their ids, but with other texts.
        what reading `groups` raises.
    """
    queries, positives = _read_labels(groups, called)
    given = {"queries": mining.queries, "corpus": mining.corpus}
    if mining.folder is None and mining.queries is None:
        del given["queries"]
    name, files = find_files(mining.folder, given)
    if "queries" in files:
        _require_queries(files["queries"], queries, called)
    corpus = Corpus.open(files["corpus"])
    _require_positives(corpus, positives, called)
    return name, corpus


def hash_weights(model: Any) -> str:
    """A hash over names and values of all weights of a model, as `sha256:` and 16 hexadecimal digits."""
    torch = library("torch", "train")
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()[:16]}"


def _read_labels(groups: Iterable[Group], called: str) -> tuple[dict[str, int], dict[str, Set[int]]]:
    """The keys of the queries by query_id, and those of the labelled positives by doc_id."""
    queries: dict[str, int] = {}
    positives: dict[str, Set[int]] = {}
    for group in groups:
        if group.query_id in queries:
            raise DuplicateId(f"query_id {group.query_id!r} occurs again. Give each group its own", path=called)
        queries[group.query_id] = query_key(group.query)
        positives.update((passage.doc_id, _text_keys(passage)) for passage in group.positives)
    return queries, positives


def _text_keys(passage: Passage) -> Set[int]:
    """The keys of a passage's text with and without its title, because some formats have no title and others a dash."""
    return {text_key(passage.text), text_key(as_text(passage))}


def _require_queries(path: Path, queries: Mapping[str, int], called: str) -> None:
    texts = read_judged_queries(path, queries, called)
    if not any(query_key(texts[query_id]) == key for query_id, key in queries.items()):
        raise _other_texts_error(called, "queries", path, "query_id", queries)


def _require_positives(corpus: Corpus, positives: Mapping[str, Set[int]], called: str) -> None:
    found = corpus.find_positions(positives)
    if lacking := [doc_id for doc_id in positives if doc_id not in found]:
        error = MissingPassages(
            f"{len(lacking)} of {len(positives)} labelled positives aren't in {corpus.path}: {list_some(lacking)}",
            path=called,
        )
        error.advice = _FIT
        raise error
    passages = (corpus.read_at([position])[0] for position in found.values())
    if not any(_text_keys(passage) & positives[passage.doc_id] for passage in passages):
        raise _other_texts_error(called, "labelled positives", corpus.path, "doc_id", positives)


def _other_texts_error(called: str, what: str, path: Path, name: str, ids: Mapping[str, object]) -> CollectionError:
    error = CollectionError(
        f"none of its {len(ids)} {what} has the text that {path} holds for the same {name}: {list_some(ids)}",
        path=called,
    )
    error.advice = _FIT
    return error
