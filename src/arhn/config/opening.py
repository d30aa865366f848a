"""Opening the models that a run's settings name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from arhn.config.settings import CleaningSettings, SimilaritySettings
from arhn.engines import Engine
from arhn.engines.settings import EngineSettings

if TYPE_CHECKING:
    from arhn.cleaning.models import Models
    from arhn.retrieval.similarity import Similarity


def open_models(settings: CleaningSettings, stack: ExitStack) -> Models:
    """The models of a run. What is opened is closed with the stack.

    Raises:
        UsageError, ModelError, MissingDependency, DeviceMissing: see errors.py.
    """
    from arhn.cleaning.models import Models
    from arhn.cleaning.run import close

    similarity = open_similarity(settings.similarity)
    if not settings.asks:
        return Models(similarity=similarity)
    budget = settings.budget.open()

    def opened(given: EngineSettings) -> Engine:
        engine = given.open(budget if given.paid else None)
        stack.callback(close, engine)
        return engine

    engine = opened(settings.engine)
    small = opened(settings.small_model) if settings.small_model is not None else None
    return Models(engine=engine, small_model=small, similarity=similarity)


def open_similarity(settings: SimilaritySettings | None) -> Similarity | None:
    """The retriever whose similarities count, if there is one; its model is loaded on first use.

    Raises:
        MissingDependency: sentence-transformers, or what a model without PyTorch needs, isn't installed.
        ModelMissing: it isn't there.
        DeviceMissing: a model without PyTorch is asked to run elsewhere than on the CPU.
    """
    if settings is None:
        return None
    from arhn.retrieval.similarity import Similarity

    return Similarity(settings.model, **settings.model_dump(exclude={"model"}, exclude_unset=True))


__all__ = ["open_models", "open_similarity"]
