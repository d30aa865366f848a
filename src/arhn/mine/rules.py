"""The rules by which candidates of a query become its negatives. Pure: equal candidates have equal fates."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from arhn.cleaning.select import Content, take_content
from arhn.errors import UsageError, describe_count
from arhn.types import Passage

#: Digits to which scores are compared, so that the rounding error of a subtraction decides nothing.
_DIGITS = 6


class Fate(StrEnum):
    """What became of a candidate: the first rule in this order that applies to it, after the range.

    The values are written to summaries and candidate files, and don't change.
    """

    #: A negative of the group.
    CHOSEN = "chosen"
    #: No rule is against it, but there were enough negatives.
    SPARE = "spare"
    #: It is among the first `range_min` candidates.
    SKIPPED = "skipped"
    #: Its text is empty.
    BLANK = "blank"
    #: It has title and text of a labelled positive.
    EQUALS_POSITIVE = "equals_positive"
    #: Cleaning filtered it from this query before.
    FILTERED = "filtered"
    #: It has title and text of a candidate before it.
    DUPLICATE = "duplicate"
    #: Scored above `max_score`.
    MAX_SCORE = "max_score"
    #: Scored below `min_score`.
    MIN_SCORE = "min_score"
    #: Not at least `absolute_margin` below the positive.
    ABSOLUTE_MARGIN = "absolute_margin"
    #: Not at least the share `relative_margin` below the positive.
    RELATIVE_MARGIN = "relative_margin"


_MOST = 2**31 - 1


class Settings(BaseModel):
    """How negatives are chosen. Unknown keys are an error.

    Of a query's candidates, ranked from 1 without its positives, the first `range_min` are skipped, and none after
    rank `range_max` is considered. From the candidates that pass the rules, `negatives` are taken: the first (`top`),
    or a random sample seeded by `seed` and the query_id (`random`). The rules on scores have the names and meanings of
    `mine_hard_negatives` in sentence-transformers, except that its range counts the candidates that pass the rules.

    Raises:
        UsageError: the range is empty, or holds fewer than `negatives`.
        pydantic.ValidationError: an unknown key, or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    negatives: StrictInt = Field(
        default=7, ge=1, le=_MOST, description="Negatives of a query, at most.", json_schema_extra={"unit": "passages"}
    )
    range_min: StrictInt = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Passages skipped at the top of a query's list.",
        json_schema_extra={"unit": "passages"},
    )
    range_max: StrictInt = Field(
        default=100,
        ge=1,
        le=_MOST,
        description="The last rank that is looked at.",
        json_schema_extra={"unit": "passages"},
    )
    sampling: Literal["top", "random"] = Field(
        default="top", description="Take the first ones of the range, or a sample that depends on the seed."
    )
    seed: StrictInt = Field(default=0, ge=-_MOST, le=_MOST, description="Seed of the sampling random.")
    max_score: StrictFloat | None = Field(
        default=None, allow_inf_nan=False, description="Take out passages that score above it."
    )
    min_score: StrictFloat | None = Field(
        default=None, allow_inf_nan=False, description="Take out passages that score below it."
    )
    absolute_margin: StrictFloat | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Take out what isn't at least so much below the positive.",
    )
    relative_margin: StrictFloat | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Take out what isn't at least this share of the positive's score below it.",
    )
    margin_to: Literal["lowest", "best"] = Field(
        default="lowest",
        description="The labelled positive that margins are measured from: the lowest-scored one, as in "
        "sentence-transformers, or the best.",
    )

    @model_validator(mode="after")
    def _require_wide_range(self) -> Settings:
        width = self.range_max - self.range_min
        if width < self.negatives:
            raise UsageError(
                f"Range {self.range_min}:{self.range_max} holds {describe_count(max(0, width), 'passage')}, fewer than "
                f"the {describe_count(self.negatives, 'negative')} wanted. Widen it, or ask for fewer."
            )
        return self

    @property
    def by_score(self) -> bool:
        """Whether a rule needs scores."""
        rules = (self.max_score, self.min_score, self.absolute_margin, self.relative_margin)
        return any(rule is not None for rule in rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that a retriever found.

    `position` is its place in the corpus, from 0, and `rank` its place among the query's candidates, from 1. `score` is
    that of the retriever whose scores the rules compare; None where no rule needs it and that retriever didn't find
    the passage. `passage` is None where the range skips it, so that it wasn't read.
    """

    position: int
    rank: int
    score: float | None
    passage: Passage | None


def decide_fates(
    candidates: Sequence[Candidate],
    positives: Sequence[Passage],
    positive_scores: Sequence[float],
    settings: Settings,
    query_id: str,
    filtered: Callable[[Passage], bool] = lambda _: False,
) -> list[Fate]:
    """Decide the fate of each candidate of a query, in their order.

    Args:
        candidates: in the order of their ranks, without labelled positives.
        positives: the query's labelled positives.
        positive_scores: their scores, needed where `settings.by_score`; if empty, no rule on scores applies.
        query_id: the query's id, which seeds a random sample together with `settings.seed`.
        filtered: whether cleaning filtered a passage from the query before.
    """
    limits = _compute_limits(positive_scores, settings) if positive_scores else {}
    labelled = {take_content(passage) for passage in positives}
    earlier: set[Content] = set()
    found = [
        _judge_passage(candidate.passage, labelled, earlier, filtered) or _judge_score(candidate.score, limits)
        for candidate in candidates
    ]
    chosen = _choose([i for i, fate in enumerate(found) if fate is None], settings, query_id)
    return [fate or (Fate.CHOSEN if i in chosen else Fate.SPARE) for i, fate in enumerate(found)]


def _judge_passage(
    passage: Passage | None, labelled: Set[Content], earlier: set[Content], filtered: Callable[[Passage], bool]
) -> Fate | None:
    if passage is None:
        return Fate.SKIPPED
    if not passage.text.strip():  # a group can't hold it
        return Fate.BLANK
    shown = take_content(passage)
    if shown in labelled:
        return Fate.EQUALS_POSITIVE
    if filtered(passage):
        return Fate.FILTERED
    if shown in earlier:
        return Fate.DUPLICATE
    earlier.add(shown)
    return None


#: A rule, and the score above which it takes a candidate out; below which, for `MIN_SCORE`.
_Limits = Mapping[Fate, float]


def _compute_limits(positives: Sequence[float], settings: Settings) -> _Limits:
    """The limit of each rule on scores.

    A relative margin lies below the positive's score also where that is negative (see sentence-transformers #3819).
    """
    positive = min(positives) if settings.margin_to == "lowest" else max(positives)
    absolute, relative = settings.absolute_margin, settings.relative_margin
    limits = {
        Fate.MAX_SCORE: settings.max_score,
        Fate.MIN_SCORE: settings.min_score,
        Fate.ABSOLUTE_MARGIN: None if absolute is None else positive - absolute,
        Fate.RELATIVE_MARGIN: None if relative is None else positive - abs(positive) * relative,
    }
    return {fate: round(limit, _DIGITS) for fate, limit in limits.items() if limit is not None}


def _judge_score(score: float | None, limits: _Limits) -> Fate | None:
    for fate, limit in limits.items():
        assert score is not None, "a rule needs the score of every candidate"  # nosec B101 - narrows a type
        gap = round(score - limit, _DIGITS)
        if gap < 0 if fate is Fate.MIN_SCORE else gap > 0:
            return fate
    return None


def _choose(eligible: Sequence[int], settings: Settings, query_id: str) -> Set[int]:
    if settings.sampling == "top" or len(eligible) <= settings.negatives:
        return set(eligible[: settings.negatives])
    return set(random.Random(f"{settings.seed} {query_id}").sample(eligible, settings.negatives))  # noqa: S311  # nosec B311 - no secret depends on it
