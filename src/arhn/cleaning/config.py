"""Settings of a cleaning run. Unknown keys are refused.

The descriptions are what help texts and the reference of settings show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from arhn.cleaning.evidence.calibration import Calibration, load_calibrations
from arhn.cleaning.margin_rule import Margin
from arhn.cleaning.methods import METHODS
from arhn.cleaning.prompts.own import OwnFamily, check_own
from arhn.cleaning.rank import RANKERS
from arhn.errors import UsageError
from arhn.families.choice import FamilyMap
from arhn.families.data_set_names import normalize
from arhn.families.family import Family
from arhn.registry import Registry
from arhn.types import Mode

T = TypeVar("T")
_MOST = 2**31 - 1


class RankBy(StrEnum):
    """What of a candidate is shown: the words that answer, the whole passage, or these words and then the passage."""

    SNIPPET = "snippet"
    PASSAGE = "passage"
    BOTH = "both"


FloorPolicy = Literal["keep", "drop", "backfill"]

#: What decides where no calibration of the user's own fits.
Fallback = Literal["auto", "shipped", "none"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


#: Settings that only some of our methods look at. Methods of other packages may look at all of them.
ONLY_WITH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "precision": ("arhn",),
        "triage": ("arhn",),
        "samples": ("arhn",),
        "show_answer": ("arhn",),
        "calibrations": ("arhn",),
        "ranker": ("arhn",),
        "fullness": ("arhn",),
        "family": ("arhn",),
        "families": ("arhn",),
        "margin": ("margin",),
    }
)


def _name_in(registry: Registry[Any]) -> AfterValidator:
    """Takes the names of a registry only."""

    def require(name: str) -> str:
        try:
            registry.require(name)
        except UsageError as error:
            raise PydanticCustomError("unknown_name", "{reason}", {"reason": str(error)}) from error
        return name

    return AfterValidator(require)


def _without_effect(key: str, value: str, others: tuple[str, ...]) -> PydanticCustomError:
    text = "does nothing with {key} {value}, only with {others}"
    return PydanticCustomError("without_effect", text, {"key": key, "value": value, "others": ", ".join(others)})


def _is_default(model: type[BaseModel], name: str | None, value: object) -> bool:
    """Whether a setting is what it would be if it weren't given: records of a run hold all of them."""
    return name is not None and value == model.model_fields[name].get_default(call_default_factory=True)


class RankerSettings(BaseModel):
    """How candidates are put in order (stage 2), and what of them is shown.

    Raises:
        pydantic.ValidationError: an unknown key, a value out of range, or one that the ranker doesn't look at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[str, _name_in(RANKERS)] = Field(
        default="listwise",
        description="How candidates are put in order. listwise: all of them in one prompt, as in the paper; "
        "consistent: the same in several shuffled orders, which vote; pivot: each negative against the surest "
        "positive, in both orders; evidence: by confidence, without asking.",
    )
    by: RankBy = Field(
        default=RankBy.SNIPPET,
        description="What of a candidate is shown. snippet: the words that answer; passage: all of it; both: these "
        "words and then the passage.",
    )
    shuffles: StrictInt = Field(
        default=6,
        ge=2,
        le=64,
        multiple_of=2,
        description="Shuffled orders that the ranker consistent shows, 2 to 64; even, so that of two candidates each "
        "is shown first as often as the other.",
    )
    stable: StrictFloat = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Share of these orders, 0.5 to 1, that must agree on which side of the positive a negative is; "
        "where fewer do, it isn't relabelled.",
    )

    @field_validator("shuffles", "stable")
    @classmethod
    def _of_this_ranker(cls, value: T, info: ValidationInfo) -> T:
        name = info.data.get("name")
        if name in RANKERS.built_in and name != "consistent" and not _is_default(cls, info.field_name, value):
            raise _without_effect("ranker", name, ("consistent",))
        return value


def _read_families(value: object, info: ValidationInfo) -> object:
    own = tuple(info.data.get("family", ()))
    if isinstance(value, FamilyMap):
        return FamilyMap.of({}, own) if own and value == FamilyMap() else value
    if not isinstance(value, Mapping):
        return value
    # Where `family` isn't sound its names aren't known, and only that is said.
    return FamilyMap.of(value, own) if "family" in info.data else FamilyMap()


def _read_own_families(value: object) -> object:
    return check_own(value, {normalize(family): family for family in Family})


def _read_calibrations(value: object) -> object:
    if value in FALLBACKS:
        return [value]
    if not isinstance(value, list | tuple):
        return value
    return [c for each in value for c in _read_calibration(each)]


def _read_calibration(value: object) -> Sequence[object]:
    if value in FALLBACKS or not isinstance(value, str | PathLike):
        return [value]
    return load_calibrations(Path(value))


class CleanConfig(BaseModel):
    """How groups are cleaned. Every field changes the result, so all of them are part of summary.json.

    Raises:
        pydantic.ValidationError: an unknown key, a value out of range, or one that the method doesn't look at. The
            errors' `loc` is the path of the key, such as `ranker.shuffles`.
        UsageError: a family that doesn't exist, or a value of `margin` that its rule doesn't allow.
        CalibrationError: a file of calibrations that can't be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    #: Found out in the run, and no setting.
    _judged: frozenset[str] = PrivateAttr(default=frozenset())

    method: Annotated[str, _name_in(METHODS)] = Field(
        default="arhn",
        description="How decisions are made. arhn: extraction and ranking, as in the paper; rlhn: one LLM flags "
        "groups, another judges them; margin: by a retriever's scores; none: nothing changes.",
    )
    mode: Mode = Field(
        default=Mode.RF,
        description="Which actions are taken. R: false negatives that answer better than the positive become "
        "positives; F: the others are filtered; R+F: both; drop: whatever answers is filtered, nothing is relabelled.",
    )
    negatives: StrictInt | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="Negatives used per group, the first ones; the others are only there for the floor policy "
        "backfill. All of them, unless given.",
    )
    floor: StrictInt = Field(default=1, ge=0, le=_MOST, description="Negatives that a group should have left.")
    floor_policy: FloorPolicy = Field(
        default="keep",
        description="What happens to a group with fewer negatives than the floor. keep: it stays as it is; drop: it is "
        "left out; backfill: negatives that weren't used are taken in.",
    )
    precision: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Act only where the model's calibration gives this precision, above 0 and up to 1; its usual "
        "thresholds, unless given.",
    )
    triage: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Ask the LLM only about the negatives that a small model, or else similarities, find likely to "
        "answer. A higher share asks about more of them: at this share of the calibration's negatives, above 0 and up "
        "to 1, the decision is the one that asking about all would give. 0.99 where the calibration knows what that "
        "spares, unless given; 1: all are asked about.",
    )
    samples: StrictInt = Field(
        default=0,
        ge=0,
        le=64,
        description="How many whole answers about a passage are sampled, 1 to 64; they vote. 0: log-probabilities are "
        "read instead, or one answer is taken where the engine gives none.",
    )
    show_answer: StrictBool = Field(
        default=True,
        description="Show the positives' answer when a negative is judged; else each passage is judged alone, as in "
        "the paper.",
    )
    calibrations: Annotated[tuple[Calibration | Fallback, ...], BeforeValidator(_read_calibrations)] = Field(
        default=(),
        description="What turns signals into confidences. Calibrations of your own come first: the paths of files that "
        "'arhn calibrate' wrote. Where none fits: auto, made from the input's first groups without labels, unless "
        "shipped or none is named. shipped: those that come with arhn, else the LLM's own word; none: "
        "that word in any case, as in the paper.",
        json_schema_extra={"allowed": "auto, shipped, none, or a list of these, paths and tables"},
    )
    ranker: RankerSettings = Field(
        default_factory=RankerSettings, description="How the positives and the negatives that answer are ordered."
    )
    fullness: StrictBool = Field(
        default=True,
        description="Keep a negative that answers a part of the query, where the positive answers all of it, from "
        "becoming a positive.",
    )
    family: Annotated[Mapping[str, OwnFamily], BeforeValidator(_read_own_families)] = Field(
        default_factory=dict,
        description="Families of your own by name, each a table. answers: a sentence that says what answers such a "
        "query. examples: a JSON lines file, or a list of tables, with query, passage and answer, the words of the "
        "passage that answer (none where it doesn't); taken from the first groups unless given. prompt: how passage "
        "and query are shown, with {passage} and {query}.",
        json_schema_extra={"allowed": "a table of tables"},
    )
    families: Annotated[
        FamilyMap,
        BeforeValidator(_read_families),
        PlainSerializer(lambda found: found.entries, return_type=dict[str, str]),
    ] = Field(
        default_factory=FamilyMap,
        validate_default=True,
        description="Family of queries by subset, such as tickets = duplicate; * stands for every subset that isn't "
        "named. Known subsets, the task that a row names and the form of the first queries decide about the others.",
    )
    margin: Margin = Field(default_factory=Margin, description="The rule of method margin, and its value.")

    @property
    def own_calibrations(self) -> tuple[Calibration, ...]:
        """The calibrations that were given."""
        return tuple(c for c in self.calibrations if isinstance(c, Calibration))

    @property
    def fallback(self) -> Fallback:
        """What decides where none of them fits."""
        named = [c for c in self.calibrations if not isinstance(c, Calibration)]
        return named[-1] if named else "auto"

    @field_validator("mode")
    @classmethod
    def _does_something(cls, mode: Mode, info: ValidationInfo) -> Mode:
        if info.data.get("method") == "margin" and not mode.filters:
            raise PydanticCustomError(
                "without_effect", "method margin only filters, so R would change nothing. Use F or R+F"
            )
        return mode

    @field_validator(*ONLY_WITH)
    @classmethod
    def _of_this_method(cls, value: T, info: ValidationInfo) -> T:
        method, name = info.data.get("method"), info.field_name or ""
        others = ONLY_WITH[name]
        if method in METHODS.built_in and method not in others and not _is_default(cls, name, value):
            raise _without_effect("method", method, others)
        return value

    @property
    def judged(self) -> frozenset[str]:
        """Ids of the first queries, all of whose negatives were asked about already: none of these is spared."""
        return self._judged

    def remember_judged(self, query_ids: Iterable[str]) -> CleanConfig:
        """These settings, for a run that has asked about all negatives of these queries."""
        found = self.model_copy()
        found._judged = frozenset(query_ids)
        return found


__all__ = ["FALLBACKS", "ONLY_WITH", "CleanConfig", "Fallback", "FloorPolicy", "RankBy", "RankerSettings"]
