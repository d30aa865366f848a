"""How a refresh mines and cleans, as `arhn.train.refresh` takes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from arhn.cleaning.models import Models
from arhn.config.opening import open_models
from arhn.config.settings import CleaningSettings, RefreshMining
from arhn.errors import UsageError
from arhn.mine.openers import opener
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.search import Searcher
from arhn.train.refresh.mining_corpus import CURRENT, Mining
from arhn.train.refresh.negatives import Cleaning


def make_mining(settings: RefreshMining) -> Mining:
    """How a refresh mines. All that can be seen of its retrievers is checked.

    Raises:
        UsageError: no corpus is named.
        MissingDependency, ModelMissing, DeviceMissing: a retriever that can't be used.
    """
    if settings.folder is None and settings.corpus is None:
        raise UsageError(
            "refresh.mining.folder: which corpus do the groups come from? Give it, or refresh.mining.corpus"
        )
    for name in settings.names:
        if name != CURRENT:
            opener(settings, name)
    return Mining(
        folder=settings.folder,
        queries=settings.queries,
        corpus=settings.corpus,
        settings=settings.rules,
        retrievers={name: None if name == CURRENT else _open_anew(settings, name) for name in settings.names},
        score_by=settings.scorer,
        batch_size=settings.models.batch_size,
        faiss_above=settings.models.faiss_above,
    )


def _open_anew(settings: RefreshMining, name: str) -> Callable[[Corpus], Searcher]:
    """A retriever whose model isn't kept in memory between refreshes."""
    return lambda corpus: opener(settings, name)(corpus)


def make_cleaning(settings: CleaningSettings) -> Cleaning:
    """How a refresh cleans."""
    return Cleaning(
        config=settings.cleaning,
        open_models=partial(_open, settings),
        store=settings.store,
        max_failures=settings.max_failures,
    )


def _open(settings: CleaningSettings, stack: ExitStack) -> Models:
    try:
        return open_models(settings, stack)
    except UsageError as error:
        raise UsageError(f"refresh.cleaning: {error}") from error


__all__ = ["make_cleaning", "make_mining"]
