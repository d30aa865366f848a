"""Calibrations: how a model's log-odds become confidences, and from which on a passage is taken to answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from arhn.cleaning.evidence.signals import QUERY, SIMILARITIES, VERDICT
from arhn.errors import CalibrationError

#: Labelled positives, as a share, that are called doubtful: those that the LLM finds least sure.
DOUBTFUL = 0.1


class CurvePoint(BaseModel):
    """What acting on confidences of at least `threshold` gave on the labelled groups."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(ge=0, le=1)
    precision: float = Field(ge=0, le=1)
    recall: float = Field(ge=0, le=1)


class TriagePoint(BaseModel):
    """What asking only about the negatives at or above a likelihood gave, on groups of which all were asked about.

    `cut`: that likelihood (`triage.find_likelihood`). `share`: of all negatives, those that were asked about.
    `agreement`: the share of all negatives that were found to answer, or not to, as when all were asked about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cut: float
    share: float = Field(gt=0, le=1)
    agreement: float = Field(ge=0, le=1)


class SignalWeight(BaseModel):
    """How one signal counts: `weight * (value - centre * group mean)`.

    The group's mean is drawn to `prior`, as if the group held `PRIOR_PASSAGES` more of it. Values further than
    `spread` from their group's median are clipped to it before the mean is taken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weight: float
    centre: float = 0.0
    prior: float = 0.0
    spread: float = Field(default=1000.0, ge=0)


#: Fields of a point of triage in older files.
_OLDER_POINT = {"share", "agreement"}


class _Older(BaseModel):
    """The weights of calibrations written before signals had names: the verdict's and the query's side by side."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    slope: float = 1.0
    centre: float = 0.0
    prior: float = 0.0
    spread: float = Field(default=1000.0, ge=0)
    similarity: float = 0.0
    similarity_centre: float = 0.0
    similarity_prior: float = 0.0

    @property
    def signals(self) -> dict[str, SignalWeight]:
        verdict = SignalWeight(weight=self.slope, centre=self.centre, prior=self.prior, spread=self.spread)
        if not self.similarity:
            return {VERDICT: verdict}
        query = SignalWeight(weight=self.similarity, centre=self.similarity_centre, prior=self.similarity_prior)
        return {VERDICT: verdict, QUERY: query}


def _drop_older_triage(values: Any) -> Any:
    """Without points of older files, which say the share of each group to ask about and not from which cut on."""
    points = values.get("triage") if isinstance(values, Mapping) else None
    if not isinstance(points, Sequence) or not all(isinstance(p, Mapping) and p.keys() == _OLDER_POINT for p in points):
        return values
    return {**values, "triage": ()}


class Calibration(BaseModel):
    """How the signals of a passage become a confidence and a band, for one model, prompt and scorer.

    confidence = sigmoid(sum of weight * (value - centre * group mean) over the signals + intercept).
    A passage answers where that is at least `threshold`, doesn't where it is below `lower`; between, arhn abstains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: SHA-256 of the weights (or the server's model name), hash of the prompt.
    model: str = ""
    prompt: str = ""
    family: str = ""
    samples: int = Field(default=0, ge=0)
    scorer: str = ""
    #: By name (`signals.py`); all of them must be there for a passage to have a confidence.
    signals: dict[str, SignalWeight] = Field(default_factory=lambda: {VERDICT: SignalWeight(weight=1.0)})
    intercept: float = 0.0
    threshold: float = Field(default=0.5, ge=0, le=1)
    lower: float = Field(default=0.5, ge=0, le=1)
    #: From which on a passage may become a positive; from the threshold on unless given.
    relabel: float = Field(default=0.0, ge=0, le=1)
    #: Log-odds (uncentred) under which a labelled positive is doubtful.
    doubtful: float = 0.0
    #: By falling threshold; empty where nothing was fitted.
    curve: tuple[CurvePoint, ...] = ()
    #: By falling share; empty where neither a similarity nor a small model in front was given.
    triage: tuple[TriagePoint, ...] = ()
    #: The small model that `triage` goes by; empty where that is the scorer.
    flagger: str = ""
    #: What it was fitted on: groups, labels, date.
    fitted: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        values = _drop_older_triage(values)
        older = _Older.model_fields
        if not isinstance(values, Mapping) or "signals" in values or not older.keys() & values.keys():
            return values
        rest = {name: value for name, value in values.items() if name not in older}
        return {**rest, "signals": _Older.model_validate(values).signals}

    @field_validator("signals")
    @classmethod
    def _require_known(cls, signals: dict[str, SignalWeight]) -> dict[str, SignalWeight]:
        known = (VERDICT, *SIMILARITIES)
        if not signals or not signals.keys() <= set(known):
            raise ValueError(f"expected at least one of {', '.join(known)}, found {', '.join(signals) or 'none'}")
        return signals

    @model_validator(mode="after")
    def _require_order(self) -> Calibration:
        if self.lower > self.threshold:
            raise ValueError(f"lower must not be above threshold, found {self.lower} and {self.threshold}")
        return self

    def reach_precision(self, precision: float) -> Calibration:
        """This calibration with the lowest threshold whose precision on the labelled groups was that high.

        Raises:
            CalibrationError: no threshold reaches it.
        """
        reached = [point for point in self.curve if point.precision >= precision]
        if not reached:
            best = max((point.precision for point in self.curve), default=0.0)
            raise CalibrationError(
                f"precision {precision}: no threshold reaches it for {self.family or 'this prompt'} with this model; "
                f"the labelled groups gave at most {best:.2f}. Ask for less, calibrate on more labelled groups "
                "(arhn calibrate), or use a larger model"
            )
        threshold = min(point.threshold for point in reached)
        return self.model_copy(update={"threshold": threshold, "lower": min(self.lower, threshold)})

    def abstain(self) -> Calibration:
        """The same confidences, but nothing follows from them: all are below 1."""
        return self.model_copy(update={"threshold": 1.0, "lower": 0.0})

    def find_triage(self, agreement: float, small_model: str = "") -> TriagePoint | None:
        """The point of the smallest share that agreed so far; None where only asking about all did.

        Args:
            small_model: the identity of the small model in front; empty where triage is to go by similarities.

        Raises:
            CalibrationError: see `knows_triage`.
        """
        if not self.knows_triage(small_model):
            raise CalibrationError(
                f"agreement {agreement}: the calibration for {self.family or 'this prompt'} doesn't say what sparing "
                "negatives by this signal costs. Make it anew with 'arhn calibrate' and the same similarity and "
                "small_model"
            )
        # By falling share: that a smaller one agrees further than a larger one is luck.
        reached = takewhile(lambda point: point.agreement >= agreement, self.triage)
        *_, last = (None, *reached)
        return last if last is not None and last.share < 1 else None

    def knows_triage(self, small_model: str = "") -> bool:
        """Whether it says what sparing negatives by this small model, or else by similarities, costs."""
        return bool(self.triage) and _matches(self.flagger, small_model)


def find_doubtful(positives: Iterable[Sequence[float | None]]) -> float:
    """The log-odds that nearly all labelled positives reach: below it, one is doubtful."""
    known = sorted(odds for each in positives for odds in each if odds is not None)
    return round(known[math.floor(DOUBTFUL * len(known))], 4) if known else 0.0


#: For prompts without a fitted calibration: the LLM's own word, as in the paper.
OWN_WORD = Calibration()


@cache
def load_shipped() -> tuple[Calibration, ...]:
    """The calibrations that come with arhn."""
    rows = json.loads(files("arhn.cleaning.evidence").joinpath("calibrations.json").read_text("utf-8"))
    return tuple(Calibration.model_validate(row) for row in rows)


def find_calibration(
    model: str,
    prompt: str,
    *,
    samples: int = 0,
    scorer: str = "",
    small_model: str = "",
    given: Sequence[Calibration] = (),
    shipped: bool = True,
) -> Calibration | None:
    """The calibration fitted for this model, prompt hash, signal and scorer: the user's own first, then ours.

    One whose triage goes by something else than `small_model` is taken where there is no other.

    Args:
        model: the engine's identity, which holds the weights' SHA-256 or the server's model name.
        samples: sampled answers per passage; 0 for log-probabilities.
        scorer: identity of the similarity model; empty without.
        small_model: the identity of the small model in front; empty without.
        shipped: whether to look among ours.
    """
    fitting = [
        c
        for c in (*given, *(load_shipped() if shipped else ()))
        if (c.prompt, c.samples, c.scorer) == (prompt, samples, scorer) and _matches(c.model, model)
    ]
    same = (c for c in fitting if _matches(c.flagger, small_model))
    return next(same, fitting[0] if fitting else None)


def _matches(named: str, model: str) -> bool:
    """Whether a calibration's model is this one: the same weights with any engine, or a server's model of that name."""
    return named in model if named.startswith("sha256:") else named == model


def load_calibrations(path: Path) -> tuple[Calibration, ...]:
    """The calibrations in a file that `arhn calibrate` wrote.

    Raises:
        CalibrationError: it can't be read, or holds something else.
    """
    try:
        rows = json.loads(path.read_text("utf-8"))
        if not isinstance(rows, list) or not rows:
            raise CalibrationError(f"{path}: expected a list of calibrations as 'arhn calibrate' writes it")
        found = tuple(Calibration.model_validate(row) for row in rows)
    except OSError as error:
        raise CalibrationError(f"{path}: can't be read ({error.strerror or error}). Check the path") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        raise CalibrationError(
            f"{path}: not a calibration: {where}{problem['msg']}. Expected a file that 'arhn calibrate' wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{path}: not JSON ({error}). Expected a file that 'arhn calibrate' wrote") from error
    if any(not (c.model and c.prompt) for c in found):
        raise CalibrationError(f"{path}: a calibration without model and prompt. Make it anew with 'arhn calibrate'")
    if any(not c.scorer and not c.signals.keys().isdisjoint(SIMILARITIES) for c in found):
        raise CalibrationError(
            f"{path}: a calibration that weighs similarities, but without the scorer they come from. Make it anew with "
            "'arhn calibrate'"
        )
    return found
