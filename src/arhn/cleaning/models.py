"""The models that decisions are made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arhn.engines import Capabilities, Engine, Reporting
from arhn.retrieval.similarity import Similarity


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsRecord:
    """Models as the records of a run name them.

    `names`: by `model`, `flagger` and `similarity`, each only where there is one. `capabilities`: the LLM's.
    `context`: the largest of all LLMs, in tokens. `serving`: by role, what the engines report of how they answered.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    capabilities: Capabilities | None = None
    context: int | None = None
    serving: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What decisions are made with; which of them a method needs is up to it.

    `engine`: the LLM. `small_model`: a cheaper LLM that is asked first: by method `rlhn`, where `engine` does it unless
    given, and by `arhn` to spare the other one what it finds unlikely (triage). Records of a run and calibrations call
    it `flagger`. `similarity`: a retriever's scores, needed by `margin`, a second signal for `arhn` where a calibration
    fuses it.
    """

    engine: Engine | None = None
    small_model: Engine | None = None
    similarity: Similarity | None = None

    @classmethod
    def of(cls, models: Models | Engine) -> Models:
        """These models, or an LLM alone."""
        return models if isinstance(models, Models) else cls(engine=models)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The LLMs."""
        return tuple(e for e in (self.engine, self.small_model) if e is not None)

    @property
    def roles(self) -> dict[str, Engine]:
        """The LLMs, by what each is called in records."""
        found = {"model": self.engine, "flagger": self.small_model}
        return {role: engine for role, engine in found.items() if engine is not None}

    @property
    def names(self) -> dict[str, str]:
        """What each is called in records."""
        return {
            **({"model": self.engine.model} if self.engine else {}),
            **({"flagger": self.small_model.model} if self.small_model else {}),
            **({"similarity": self.similarity.identity} if self.similarity else {}),
        }

    @property
    def record(self) -> ModelsRecord:
        """What the records of a run name, as of now."""
        return ModelsRecord(
            names=self.names,
            capabilities=self.engine.capabilities if self.engine else None,
            context=max((e.capabilities.context for e in self.engines), default=None),
            serving={name: engine.report() for name, engine in self.roles.items() if isinstance(engine, Reporting)},
        )
