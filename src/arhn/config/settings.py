"""All settings of the commands, as one tree: what a config file holds, and what a run's summary says of it.

Each section's class stands beside what it is about; this puts them together, and checks what one asks of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods import METHODS
from arhn.cleaning.run.failures import USUAL_LIMIT
from arhn.cluster.settings import Cluster
from arhn.config.file_settings import FileSettings
from arhn.engines import ENGINES, choose_engine, settings_of
from arhn.engines.openai.settings import BudgetSettings
from arhn.engines.settings import EngineSettings
from arhn.errors import UsageError
from arhn.mine.settings import MiningSettings

_MOST = 2**31 - 1
#: What a small LLM's word is joined with.
USUAL_SIMILARITY = "all-minilm-l6-v2-int8"
#: Our methods that look at similarities. Those of other packages may do so, too.
_COMPARING = ("arhn", "margin")


class SimilaritySettings(BaseModel):
    """A retriever whose similarities count. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)

    model: str = Field(
        min_length=1,
        description="An embedding model that arhn models lists; or a sentence-transformers folder, or its name on "
        "the hub. Required with a similarity.",
    )
    device: str | None = Field(
        default=None, description="As PyTorch names it, such as cpu or cuda:1; the best there is unless given."
    )
    threads: StrictInt | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="CPU threads; unless given, PyTorch's choice, or 1 for a model without PyTorch.",
        json_schema_extra={"unit": "threads"},
    )
    batch_size: StrictInt = Field(
        default=32, ge=1, le=_MOST, description="Texts encoded at once.", json_schema_extra={"unit": "texts"}
    )


def _read_engine(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    try:
        return settings_of(value)
    except UsageError as error:
        problem = _make_problem(("name",), "{error}", value.get("name"), error=error)
        raise ValidationError.from_exception_data("engine", [problem]) from None


def _read_none(value: object) -> object:
    named = value.get("model") if isinstance(value, Mapping) and len(value) == 1 else value
    return None if named == "none" else value


#: An engine's settings; which class reads them is up to its `name`.
AnyEngine = Annotated[SerializeAsAny[EngineSettings], BeforeValidator(_read_engine)]


class CleaningSettings(CleanConfig):
    """How groups are cleaned, and the models that do it."""

    #: Whether a calibration is to be made, so that nothing has to use the small model yet.
    fitting: ClassVar[bool] = False

    engine: AnyEngine = Field(default_factory=lambda: settings_of({}), description="The LLM, and what computes it.")
    small_model: AnyEngine | None = Field(
        default=None,
        description="A smaller LLM that is asked about every negative first: what triage goes by, and the first stage "
        "of method rlhn. What isn't given here is as in [engine], where the engine is the same.",
    )
    similarity: Annotated[SimilaritySettings | None, BeforeValidator(_read_none)] = Field(
        default=None,
        description="What method margin filters by; for method arhn further signals, and triage's. With an engine in "
        f"this process {USUAL_SIMILARITY} unless given; none: no such signals.",
    )
    budget: BudgetSettings = Field(
        default_factory=BudgetSettings, description="When to stop asking servers; all engines of a run share it."
    )
    store: Path | None = Field(
        default=None, description="The file that keeps the LLM's answers; beside the output unless given."
    )
    max_failures: StrictFloat = Field(
        default=USUAL_LIMIT,
        ge=0,
        le=1,
        description="Requests that may stay without an answer; more end with exit code 112.",
        json_schema_extra={"unit": "share"},
    )

    @property
    def cleaning(self) -> CleanConfig:
        """What decisions depend on, without the models."""
        return CleanConfig.model_construct(**{name: getattr(self, name) for name in CleanConfig.model_fields})

    @property
    def asks(self) -> bool:
        """Whether the method asks an LLM."""
        return bool(METHODS.get(self.method).asks_llm)

    @model_validator(mode="before")
    @classmethod
    def _small_as_the_other(cls, values: Any) -> Any:
        """What the small model's section doesn't say of the same engine is as the other section says."""
        if not isinstance(values, Mapping) or not isinstance(values.get("small_model"), Mapping):
            return values
        engine = values.get("engine", {})
        given = engine.model_dump(exclude_unset=True) if isinstance(engine, EngineSettings) else engine
        small = values["small_model"]
        if not isinstance(given, Mapping):
            return values
        name = choose_engine(given)
        if small.get("name", name) != name:
            return values
        shared = {key: value for key, value in given.items() if key != "model"}
        return {**values, "small_model": {**shared, "name": name, **small}}

    @model_validator(mode="before")
    @classmethod
    def _small_llms_are_not_alone(cls, values: Any) -> Any:
        """Method arhn has similarities beside an LLM in this process, where what is calibrated isn't known before."""
        if not isinstance(values, Mapping) or "similarity" in values or values.get("method", "arhn") != "arhn":
            return values
        calibrations = values.get("calibrations", ())
        named = [calibrations] if isinstance(calibrations, str) else calibrations
        engine = values.get("engine", {})
        given = engine.model_dump(exclude_unset=True) if isinstance(engine, EngineSettings) else engine
        # What is fitted is given to runs, which have no similarity then unless it is named. And one sampled answer says
        # yes or no: nothing is joined with that.
        if cls.fitting or values.get("samples") == 1:
            return values
        if not isinstance(given, Mapping) or not all(each == "auto" for each in named) or not find_spec("onnxruntime"):
            return values
        with suppress(UsageError):
            if ENGINES.get(choose_engine(given)).in_process:
                return {**values, "similarity": {"model": USUAL_SIMILARITY}}
        return values

    @model_validator(mode="after")
    def _models_fit_the_method(self) -> Self:
        problems = [*self._unused_models(), *self._lacking()]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    def _unused_models(self) -> list[InitErrorDetails]:
        given = {
            ("engine", "model"): (self.engine.model, _list_asking),
            ("small_model",): (self.small_model and (self.small_model.model or self.small_model.name), _list_asking),
            ("similarity",): (self.similarity and self.similarity.model, lambda: _COMPARING),
        }
        found = [
            _make_problem(key, "does nothing with method {method}, only with {others}", value,
                     method=self.method, others=", ".join(methods))
            for key, (value, list_methods) in given.items()
            if value and self.method in METHODS.built_in and self.method not in (methods := list_methods())
        ]  # fmt: skip
        engines = [engine for engine in (self.engine, self.small_model) if engine is not None]
        if self.budget.limited and not any(engine.paid for engine in engines):
            text = "does nothing with the engine {name}, whose requests cost nothing"
            found.append(_make_problem(("budget",), text, "a limit", name=self.engine.name))
        return found

    def _lacking(self) -> list[InitErrorDetails]:
        if self.small_model is not None and not self.small_model.model and self.method in _list_asking():
            return [_make_problem(("small_model", "model"), "names no model. Give one (--small-model)", "")]
        if self.method != "arhn":
            return []
        if self.triage is not None and self.triage < 1 and self.similarity is None and self.small_model is None:
            text = (
                "needs something to tell likely from unlikely negatives by. Give similarity.model (--similarity), or "
            )
            return [
                _make_problem(("triage",), text + "a smaller LLM with small_model.model (--small-model)", self.triage)
            ]
        if self.small_model is not None and self.triage == 1 and not self.fitting:
            text = "does nothing with method arhn where all negatives are asked about (triage = 1)"
            return [_make_problem(("small_model",), text, self.small_model.model)]
        return []


def _list_asking() -> tuple[str, ...]:
    """Our methods that ask an LLM."""
    return tuple(name for name in METHODS.built_in if METHODS.get(name).asks_llm)


def _make_problem(key: tuple[str, ...], text: str, found: object, **context: object) -> InitErrorDetails:
    return {"type": PydanticCustomError("without_effect", text, context), "loc": key, "input": found}


class FittingSettings(CleaningSettings):
    """How labelled groups are asked about, to make a calibration."""

    fitting: ClassVar[bool] = True


class RefreshMining(MiningSettings):
    """How negatives are mined again, and where; `current` is the model in training."""

    folder: str | None = Field(
        default=None, description="A BEIR folder that the groups come from: corpus.jsonl and queries.jsonl."
    )
    queries: str | None = Field(default=None, description="The queries, instead of the folder's.")
    corpus: str | None = Field(default=None, description="The corpus, instead of the folder's.")
    retrievers: tuple[str, ...] = Field(
        default=("current",),
        min_length=1,
        description="current, the model in training; bm25; or folders or hub names of sentence-transformers models; "
        "several take turns.",
    )

    @model_validator(mode="after")
    def _current_is_as_it_is(self) -> Self:
        others = {*self.names} - {"current", "bm25"}
        if not others and (changed := [name for name in ("query_prompt", "document_prompt", "max_length", "dtype",
                                                         "device", "threads", "embeddings")
                                       if getattr(self.models, name) is not None]):  # fmt: skip
            text = "models.{name}: does nothing for the model in training, which is used as it is. Leave it out"
            raise PydanticCustomError("without_effect", text, {"name": changed[0]})
        return self


class RefreshSettings(BaseModel):
    """Negatives that are mined and cleaned again while training goes on. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    every: StrictInt = Field(
        ge=1,
        le=_MOST,
        description="Epochs between two refreshes, with the model as it is by then. Required with a refresh.",
        json_schema_extra={"unit": "epochs"},
    )
    mining: RefreshMining = Field(default_factory=RefreshMining, description="How negatives are mined again.")
    cleaning: CleaningSettings = Field(
        default_factory=CleaningSettings, description="How they are cleaned: the keys that stand at the top for clean."
    )


class RunConfig(CleaningSettings):
    """Everything that a config file may hold.

    Raises:
        pydantic.ValidationError: an unknown key, a value out of range, or one that does nothing beside the others. The
            errors' `loc` is the path of the key.
        UsageError, CalibrationError: see `arhn.cleaning.config.CleanConfig`; an engine that doesn't exist.
    """

    files: FileSettings = Field(default_factory=FileSettings, description="How groups are read and written.")
    cluster: Cluster = Field(default_factory=Cluster, description="Workers on a Ray cluster.")
    mine: MiningSettings = Field(default_factory=MiningSettings, description="For arhn mine: how negatives are mined.")
    refresh: RefreshSettings | None = Field(
        default=None, description="For arhn train: negatives mined and cleaned again while training goes on."
    )

    @property
    def record(self) -> dict[str, Any]:
        """The settings of a cleaning run, as its summary holds them; they can be read again."""
        return self.model_dump(mode="json", exclude={"mine", "refresh"})

    @model_validator(mode="after")
    def _fits_a_cluster(self) -> Self:
        if self.cluster.address is None:
            return self
        problems = []
        if self.store is not None:
            text = "on a cluster the answers are kept by partition. Give a folder with cluster.work"
            problems.append(_make_problem(("store",), text, str(self.store)))
        if self.budget.limited:
            text = "isn't kept to on a cluster, whose workers don't know what the others spend"
            problems.append(_make_problem(("budget",), text, "a limit"))
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self


__all__ = [
    "CleaningSettings",
    "FileSettings",
    "FittingSettings",
    "RefreshMining",
    "RefreshSettings",
    "RunConfig",
    "SimilaritySettings",
]
