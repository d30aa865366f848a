"""The method that a configuration asks for, with what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from arhn.asking import Asker
from arhn.config import CleanConfig, Method
from arhn.engines import Capabilities, Engine, Reporting
from arhn.errors import UsageError
from arhn.methods.arhn import Arhn, Flagger
from arhn.methods.margin import MarginMethod
from arhn.methods.none import NoMethod
from arhn.methods.rlhn import Rlhn
from arhn.methods.task import Task, samples_of, tasks_for
from arhn.similarity import Similarity
from arhn.tasks import Family
from arhn.types import CleanedGroup, Group


class Cleaning(Protocol):
    """Cleans one group at a time."""

    async def clean(self, group: Group) -> CleanedGroup: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Models as records tell of them.

    `names`: by `model`, `flagger` and `similarity`, each only where there is one. `capabilities`: the LLM's.
    `context`: the largest of all LLMs, in tokens. `serving`: by role, what engines say of how they answered.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    capabilities: Capabilities | None = None
    context: int | None = None
    serving: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What decisions are made with; which of them a method needs is up to it.

    `engine`: the LLM. `flagger`: the cheaper one that is asked first: by method `rlhn`, where `engine` does it unless
    given, and by `arhn` to spare the other one what it finds unlikely (triage).
    `similarity`: a retriever's scores, needed by `margin`, a second signal for `arhn` where a calibration fuses it.
    """

    engine: Engine | None = None
    flagger: Engine | None = None
    similarity: Similarity | None = None

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(e for e in (self.engine, self.flagger) if e is not None)

    @property
    def roles(self) -> dict[str, Engine]:
        """The LLMs, by what each is called in records."""
        found = {"model": self.engine, "flagger": self.flagger}
        return {role: engine for role, engine in found.items() if engine is not None}

    @property
    def names(self) -> dict[str, str]:
        """What each is called in records."""
        return {
            **({"model": self.engine.model} if self.engine else {}),
            **({"flagger": self.flagger.model} if self.flagger else {}),
            **({"similarity": self.similarity.identity} if self.similarity else {}),
        }

    @property
    def described(self) -> Described:
        """What records tell of them, as of now."""
        return Described(
            names=self.names,
            capabilities=self.engine.capabilities if self.engine else None,
            context=max((e.capabilities.context for e in self.engines), default=None),
            serving={name: engine.report() for name, engine in self.roles.items() if isinstance(engine, Reporting)},
        )


def tasks_of(config: CleanConfig, described: Described) -> dict[Family, Task]:
    """Prompts and calibrations that method `arhn` uses with an LLM. Raises CalibrationError as `Arhn` does."""
    assert described.capabilities is not None
    return tasks_for(
        config,
        described.names["model"],
        samples_of(config, described.capabilities),
        scorer=described.names.get("similarity", ""),
        flagger=described.names.get("flagger", ""),
    )


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
            raise UsageError("--method margin: needs a similarity model. Give one with --similarity")
        return MarginMethod(models.similarity, config)
    if config.method is Method.ARHN:
        return arhn_method(config, models, asker_for)
    engine = _required(models.engine, config)
    return Rlhn(asker_for(engine), asker_for(models.flagger or engine), config)


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
        flagger=_flagger(models.flagger, asker_for),
        calibrated=calibrated,
    )


def _flagger(engine: Engine | None, asker_for: Callable[[Engine], Asker]) -> Flagger | None:
    if engine is None:
        return None
    if not engine.capabilities.logprobs:
        raise UsageError(
            f"--flag-model: {engine.model} gives no log-probabilities, so it can't say which negatives are likelier "
            "to answer. Use another model or server, or triage by --similarity"
        )
    return Flagger(asker=asker_for(engine), capabilities=engine.capabilities)


def _required(engine: Engine | None, config: CleanConfig) -> Engine:
    if engine is None:
        raise UsageError(f"--method {config.method}: needs an LLM. Give one with --model")
    return engine
