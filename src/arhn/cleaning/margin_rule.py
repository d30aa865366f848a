"""The rule of method `margin`: how like a query a negative may be, measured against its positives.

Source: NV-Retriever (arXiv 2407.15831), section 3, with the best value of its ablation (section 4) as each
rule's default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, model_validator

from arhn.errors import UsageError

#: `absolute` is the paper's TopK-Abs, `relative` its TopK-MarginPos, `perc` its TopK-PercPos.
Rule = Literal["absolute", "relative", "perc"]

DEFAULTS: Mapping[str, float] = MappingProxyType({"absolute": 0.7, "relative": 0.05, "perc": 0.95})
#: What each rule's value may be, both ends included. Cosine similarities lie in [-1, 1].
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"absolute": (-1.0, 1.0), "relative": (0.0, 2.0), "perc": (0.0, 1.0)}
)
#: Scores have 6 digits: the noise of one subtraction must not decide about a score right on the threshold.
_DIGITS = 9


class Margin(BaseModel):
    """A rule and its value. Unknown keys are refused.

    A negative is dropped when its score is at least
    - `absolute`: `value`, in [-1, 1];
    - `relative`: the positive's score minus `value`, in [0, 2];
    - `perc`: the positive's score times `value`, a share in [0, 1].

    Without a value, the rule's own of `DEFAULTS`.

    Raises:
        UsageError: the value is outside of its rule's range.
        pydantic.ValidationError: an unknown rule or key, or a value that is no number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    rule: Rule = Field(
        default="perc",
        description="What a negative's score is held against. absolute: the value itself; relative: the positive's "
        "score minus the value; perc: the positive's score times the value.",
    )
    value: StrictFloat = Field(
        default=DEFAULTS["perc"],
        allow_inf_nan=False,
        description="absolute: a cosine similarity in [-1, 1], 0.7 unless given; relative: in [0, 2], 0.05 unless "
        "given; perc: a share in [0, 1], 0.95 unless given.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_default(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("value") is None:
            rule = str(data.get("rule", "perc"))
            return {**data, "value": DEFAULTS.get(rule, DEFAULTS["perc"])}
        return data

    @model_validator(mode="after")
    def _in_range(self) -> Margin:
        low, high = RANGES[self.rule]
        if not low <= self.value <= high:
            raise UsageError(f"margin.value: with rule {self.rule!r}, {self.value:g} is not in [{low:g}, {high:g}]")
        return self

    def threshold(self, positives: Sequence[float]) -> float:
        """The score from which on a negative is dropped.

        With several positives, the lowest-scored one counts: a negative goes when any (query, positive) pair
        would drop it. The paper has one pair a row; sentence-transformers takes the lowest of a query's too.
        For a positive below 0, `perc` means |score| * (1 - value) under it (sentence-transformers #3819), for
        its bare product would lie above the positive and keep what scores higher.

        Raises:
            UsageError: no positive, or a score that isn't finite.
        """
        _require_finite("positive", positives)
        if not positives:
            raise UsageError("A margin needs the score of at least one positive, found none.")
        lowest = min(positives)
        if self.rule == "absolute":
            return self.value
        if self.rule == "relative":
            return round(lowest - self.value, _DIGITS)
        return round(lowest - abs(lowest) * (1 - self.value), _DIGITS)


def find_dropped(positives: Sequence[float], negatives: Sequence[float], margin: Margin) -> tuple[bool, ...]:
    """Whether each negative is dropped, in the order of `negatives`.

    Args:
        positives: the query's similarity with each of its labelled positives; at least one, in any order.
        negatives: its similarity with each negative, by the same model.

    Raises:
        UsageError: no positive, or a score that isn't finite (a comparison with NaN would keep silently).
    """
    threshold = margin.threshold(positives)
    _require_finite("negative", negatives)
    return tuple(score >= threshold for score in negatives)


def _require_finite(which: str, scores: Sequence[float]) -> None:
    for score in scores:
        if not math.isfinite(score):
            raise UsageError(f"Score of a {which}: expected a finite number, found {score}.")
