"""The method that a configuration asks for, with what it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig, Method
from arhn.cleaning.methods.arhn import Arhn, SmallModel
from arhn.cleaning.methods.margin import MarginMethod
from arhn.cleaning.methods.none import NoMethod
from arhn.cleaning.methods.rlhn import Rlhn
from arhn.cleaning.models import Models
from arhn.engines import Engine
from arhn.errors import UsageError
from arhn.types import CleanedGroup, Group


class Cleaning(Protocol):
    """Cleans one group at a time."""

    async def clean(self, group: Group) -> CleanedGroup: ...


def choose(config: CleanConfig, models: Models, asker_for: Callable[[Engine], Asker]) -> Cleaning:
    """The method that `config` names.

    Raises:
        UsageError: a model that it needs is missing.
        CalibrationError: see `Arhn`.
    """
    if config.method is Method.NONE:
        return NoMethod(config)
    if config.method is Method.MARGIN:
        if models.similarity is None:
            raise UsageError("method margin: needs a similarity model. Give one with --similarity")
        return MarginMethod(models.similarity, config)
    if config.method is Method.ARHN:
        return arhn_method(config, models, asker_for)
    engine = _required(models.engine, config)
    return Rlhn(asker_for(engine), asker_for(models.small_model or engine), config)


def arhn_method(
    config: CleanConfig, models: Models, asker_for: Callable[[Engine], Asker], *, calibrated: bool = True
) -> Arhn:
    """Method `arhn`. Raises as `choose` does."""
    engine = _required(models.engine, config)
    return Arhn(
        asker_for(engine),
        config,
        engine.capabilities,
        models.similarity,
        small_model=_small_model(models.small_model, asker_for),
        calibrated=calibrated,
    )


def _small_model(engine: Engine | None, asker_for: Callable[[Engine], Asker]) -> SmallModel | None:
    if engine is None:
        return None
    if not engine.capabilities.logprobs:
        raise UsageError(
            f"small_model: {engine.model} gives no log-probabilities, so it can't say which negatives are likelier "
            "to answer. Use another model or server, or triage by --similarity"
        )
    return SmallModel(asker=asker_for(engine), capabilities=engine.capabilities)


def _required(engine: Engine | None, config: CleanConfig) -> Engine:
    if engine is None:
        raise UsageError(f"method {config.method}: needs an LLM. Give one with --model")
    return engine
