"""Retrievers by name, as settings name them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from arhn.libraries import require
from arhn.mine.settings import BM25, MiningSettings
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.search import Searcher


def opener(settings: MiningSettings, name: str) -> Callable[[Corpus], Searcher]:
    """What makes a retriever over a corpus. All that can be seen of it before is checked.

    Raises:
        MissingDependency, ModelMissing, DeviceMissing, UsageError
    """
    if name == BM25:
        require("bm25s", "bm25s", "mine")
        from arhn.retrieval.bm25 import Bm25

        options = settings.bm25.options
        Bm25.make_tokenizer(**options)
        return partial(Bm25, **options)
    from arhn.retrieval.dense import Dense, require_faiss_above
    from arhn.retrieval.embedder import Embedder

    embedder = Embedder(name, **settings.models.loading)
    embedder.require_device()
    require_faiss_above(settings.models.faiss_above)
    return partial(Dense, embedder=embedder, cache=settings.models.embeddings, faiss_above=settings.models.faiss_above)


__all__ = ["opener"]
