"""Settings of a cleaning run. Unknown keys are refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arhn.cleaning.evidence.calibration import Calibration
from arhn.cleaning.margin_rule import Margin
from arhn.families.choice import TaskMap
from arhn.types import Mode


class Ranker(StrEnum):
    LISTWISE = "listwise"
    CONSISTENT = "consistent"
    PIVOT = "pivot"


class RankBy(StrEnum):
    """What of a candidate is shown: the words that answer, the whole passage, or these words and then the passage."""

    SNIPPET = "snippet"
    PASSAGE = "passage"
    BOTH = "both"


FloorPolicy = Literal["keep", "drop", "backfill"]


class Method(StrEnum):
    """How decisions are made: `arhn` is ours, `none` changes nothing, the others are there to compare with."""

    ARHN = "arhn"
    RLHN = "rlhn"
    MARGIN = "margin"
    NONE = "none"


class CleanConfig(BaseModel):
    """How groups are cleaned. Every field changes the result, so all of them are part of summary.json.

    Raises:
        pydantic.ValidationError: an unknown key, or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Method.ARHN
    mode: Mode = Mode.RF
    #: Negatives used per group, the first ones; the others are only there for backfill. All, unless given.
    negatives: int | None = Field(default=None, ge=1)
    #: Negatives that a group should have left.
    floor: int = Field(default=1, ge=0)
    #: What happens to a group with fewer: keep it, drop it, or take in mined negatives that weren't used.
    floor_policy: FloorPolicy = "keep"
    #: Act only where the model's calibration gives this precision, in (0, 1]; its usual thresholds unless given.
    precision: float | None = Field(default=None, gt=0, le=1)
    #: Ask only about the likeliest negatives, by a smaller model in front or else by similarity: as many as agree with
    #: asking about all of them on this share of the calibration's negatives, in (0, 1]. All, unless given.
    triage: float | None = Field(default=None, gt=0, le=1)
    #: Ask for whole answers and let this many vote, instead of reading log-probabilities. 0: only where there are none.
    samples: int = Field(default=0, ge=0, le=64)
    #: Whether the positives' answer is shown when a negative is judged; else each passage is judged alone.
    show_answer: bool = True
    #: The user's own calibrations, looked up before the shipped ones.
    calibrations: tuple[Calibration, ...] = ()
    #: How candidates are put in order, and what of them is shown.
    ranker: Ranker = Ranker.LISTWISE
    rank_by: RankBy = RankBy.SNIPPET
    #: Shuffled orders of the ranker `consistent`, even because each pair shows both directions; and the share of them
    #: that must agree for a relabel.
    shuffles: int = Field(default=6, ge=2, le=64, multiple_of=2)
    stable: float = Field(default=0.8, ge=0.5, le=1)
    #: Whether a negative that answers in part is kept from becoming a positive.
    fullness: bool = True
    #: Which kind of query a subset holds; known subsets and a guess fill in what it doesn't name.
    task_map: TaskMap = Field(default_factory=TaskMap)
    #: The rule of method `margin`.
    margin: Margin = Field(default_factory=Margin)
