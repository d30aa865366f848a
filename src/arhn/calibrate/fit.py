"""Fitting a model's confidences and thresholds on labelled groups. Pure; job.py reads, asks and writes.

A logistic regression over a passage's log-odds, taken apart into the group's mean and the difference from it (and the
same of a retriever's similarity, if it is fused): Platt scaling (1999) with the group's offset. What is
reported, and what thresholds are chosen by, are confidences that each group got from a fit without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from arhn.cleaning.evidence.calibration import Calibration, CurvePoint, SignalWeight, find_doubtful
from arhn.cleaning.evidence.confidence import (
    fit_centring,
    make_confidences,
    predict_from,
    take_means,
    weigh,
)
from arhn.cleaning.evidence.signals import VERDICT, Signals
from arhn.cleaning.evidence.triage import find_likelihood, measure_triage
from arhn.errors import CalibrationError, MissingDependency, describe_count

#: Fewer labels of a class than this can't be told from chance.
LEAST_OF_A_CLASS = 10
LEAST_GROUPS = 20
#: True negatives, as a share, that the default threshold may cost.
MOST_LOST = 0.03
#: False negatives, as a share, that may lie below `lower` and so be called no answers.
MOST_MISSED = 0.05
FOLDS = 5
_BINS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledGroup:
    """Signals and labels of one group's negatives, in the same order; and the log-odds of its positives.

    `labels`: True for a false negative, False for a true one, None for what counts in the group's means only
    (ambiguous and unlabelled ones). `flags`: log-odds of a small model in front, where there is one.
    """

    query_id: str
    signals: Signals
    labels: tuple[bool | None, ...]
    positives: tuple[float | None, ...] = ()
    flags: tuple[float | None, ...] | None = None

    @property
    def complete(self) -> bool:
        """Whether no signal of any negative is missing."""
        return not any(None in values for values in self.signals.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Confidences between two bounds: how many, their mean, and the share that are false negatives."""

    low: float
    high: float
    count: int
    mean: float
    observed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What acting from a threshold on gives: shares in [0, 1]; `lost` is of the true negatives."""

    name: str
    threshold: float
    precision: float
    recall: float
    lost: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A calibration and how good it is on labelled groups it hasn't seen (cross-validation over groups)."""

    calibration: Calibration
    auc: float
    brier: float
    reliability: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]
    skipped_groups: int


Scored = Sequence[tuple[float, bool]]


def fit(groups: Sequence[LabelledGroup], **identity: Any) -> Fit:
    """Fit one calibration.

    Args:
        groups: groups with an answer that was broken, or without a label that counts, are left out.
        identity: fields of `Calibration` that say what it is for.

    Raises:
        CalibrationError: too few groups or labels, one class only, or log-odds that don't tell false negatives from
            true ones.
        MissingDependency: scikit-learn isn't installed.
    """
    usable = [g for g in groups if g.complete and any(label is not None for label in g.labels)]
    require_enough(usable, len(groups) - len(usable))
    weights = _fit_weights(usable)
    _require_telling(weights)
    held_out: list[tuple[float, bool]] = []
    for fold in range(FOLDS):
        seen = [g for i, g in enumerate(usable) if i % FOLDS != fold]
        held_out += _score(usable[fold::FOLDS], _fit_weights(seen))
    curve = _draw_curve(held_out)
    threshold = _find_best([point for point, _ in curve]).threshold
    lower = min(threshold, _find_lower(held_out))
    false = sum(label for _, label in held_out)
    calibration = Calibration(
        **identity,
        **weights,
        threshold=threshold,
        lower=lower,
        doubtful=find_doubtful(g.positives for g in usable),
        curve=tuple(
            CurvePoint(threshold=p.threshold, precision=round(promised, 4), recall=round(p.recall, 4))
            for p, promised in curve
        ),
        fitted={
            "groups": len(usable),
            "false_negatives": false,
            "true_negatives": len(held_out) - false,
            "auc": round(auc(held_out), 4),
        },
    )
    asked = [(g.signals, find_likelihood(g.signals, calibration, g.flags)) for g in usable]
    calibration = measure_triage(asked, calibration)
    named = [_measure_at(held_out, "threshold", threshold), _measure_at(held_out, "lower", lower)]
    for precision in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        reached = [p.threshold for p in calibration.curve if p.precision >= precision]
        if reached:
            named.append(_measure_at(held_out, f"precision {precision:g}", min(reached)))
    return Fit(
        calibration=calibration,
        auc=auc(held_out),
        brier=sum((c - label) ** 2 for c, label in held_out) / len(held_out),
        reliability=_make_bins(held_out),
        thresholds=tuple(named),
        skipped_groups=len(groups) - len(usable),
    )


def require_library() -> None:
    """Check that scikit-learn is installed, before the LLM is asked for hours; raises MissingDependency."""
    if find_spec("sklearn") is None:
        raise MissingDependency("scikit-learn", "calibrate")


def require_enough(groups: Sequence[LabelledGroup], left_out: int = 0) -> None:
    """Raises CalibrationError where there are too few groups or labels, or one class only."""
    labels = [label for g in groups for label in g.labels if label is not None]
    false = sum(labels)
    counts = {"false negative": false, "true negative": len(labels) - false}
    found = ", ".join(describe_count(n, what) for what, n in counts.items())
    left = (
        f" ({describe_count(left_out, 'group')} without a label or with a broken answer left out)" if left_out else ""
    )
    if len(groups) >= LEAST_GROUPS and min(counts.values()) >= LEAST_OF_A_CLASS:
        return
    missing = [what for what, n in counts.items() if not n]
    only = f"a single class, no {missing[0]}s: " if len(missing) == 1 else ""
    raise CalibrationError(
        f"too little to calibrate on: {only}{found} in {describe_count(len(groups), 'group')}{left}. "
        f"At least {LEAST_GROUPS} groups and {LEAST_OF_A_CLASS} of each class are needed; more are better"
    )


def _fit_weights(groups: Sequence[LabelledGroup]) -> dict[str, Any]:
    """The parameters of a `Calibration`, by name."""
    require_library()
    # Loading it takes a moment that nothing else should wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    names = list(groups[0].signals)
    centring = {name: fit_centring(name, [g.signals[name] for g in groups]) for name in names}
    rows, labels = [], []
    priors = Calibration(signals={name: SignalWeight(weight=1.0, **centring[name]) for name in names})
    for group in groups:
        means = take_means(group.signals, priors)
        for values, label in zip(zip(*group.signals.values(), strict=True), group.labels, strict=True):
            if label is not None:
                # Those with a value missing were left out.
                rows.append(predict_from(dict(zip(names, map(float, values), strict=True)), means))
                labels.append(label)
    if len(set(labels)) < 2:
        raise CalibrationError(
            "too little to calibrate on: one part of the groups holds a single class. Label more groups"
        )
    scaler = StandardScaler()
    model = LogisticRegression(max_iter=1000).fit(scaler.fit_transform(rows), labels)
    # Back from standardised values.
    spread = [s or 1.0 for s in scaler.scale_.tolist()]
    coefficients = [c / s for c, s in zip(model.coef_[0].tolist(), spread, strict=True)]
    intercept = model.intercept_[0] - sum(c * m for c, m in zip(coefficients, scaler.mean_.tolist(), strict=True))
    return {"signals": weigh(names, coefficients, centring), "intercept": round(float(intercept), 5)}


def _require_telling(weights: Mapping[str, Any]) -> None:
    """Raises CalibrationError where higher log-odds aren't more often false negatives."""
    if weights["signals"][VERDICT].weight <= 0:
        raise CalibrationError(
            "this model's log-odds don't tell false negatives from true ones: higher ones aren't more often false "
            "negatives. Check that labels and groups belong together, or use a larger model"
        )


def _score(groups: Sequence[LabelledGroup], weights: Mapping[str, Any]) -> list[tuple[float, bool]]:
    calibration = Calibration(**weights)
    return [
        (confidence, label)
        for g in groups
        for confidence, label in zip(make_confidences(g.signals, calibration), g.labels, strict=True)
        if label is not None and confidence is not None
    ]


def _draw_curve(scored: Scored) -> list[tuple[Threshold, float]]:
    """Every threshold that finds one more false negative, falling; each with the precision to promise there.

    That is what was observed, but no more than the confidences above it say: the best of many thresholds is the
    luckiest one too; the mean confidence doesn't know of that luck.
    """
    false = sum(label for _, label in scored)
    found = above = 0
    total = 0.0
    curve = []
    for threshold, equal in groupby(sorted(scored, reverse=True), key=itemgetter(0)):
        labels = [label for _, label in equal]
        found, above, total = found + sum(labels), above + len(labels), total + threshold * len(labels)
        if any(labels):
            lost = (above - found) / (len(scored) - false)
            point = Threshold(name="", threshold=threshold, precision=found / above, recall=found / false, lost=lost)
            curve.append((point, min(point.precision, total / above)))
    return curve


def _measure_at(scored: Scored, name: str, threshold: float) -> Threshold:
    false = sum(label for _, label in scored)
    found = sum(label for c, label in scored if c >= threshold)
    wrong = sum(not label for c, label in scored if c >= threshold)
    return Threshold(
        name=name,
        threshold=threshold,
        precision=found / (found + wrong) if found + wrong else 1.0,
        recall=found / false,
        lost=wrong / (len(scored) - false),
    )


def _find_best(curve: Sequence[Threshold]) -> Threshold:
    """The best F1 among thresholds that lose few true negatives; a threshold that nothing reaches where none does."""
    nothing = Threshold(name="", threshold=1.0, precision=1.0, recall=0.0, lost=0.0)
    return max((p for p in curve if p.lost <= MOST_LOST), key=lambda p: p.f1, default=nothing)


def _find_lower(scored: Scored) -> float:
    """The highest threshold under which few false negatives lie."""
    false = sorted(c for c, label in scored if label)
    return false[math.floor(MOST_MISSED * len(false))]


def auc(scored: Scored) -> float:
    """Probability that a false negative is scored above a true one, ties half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([label for _, label in scored], [c for c, _ in scored]))


def _make_bins(scored: Scored) -> tuple[Bin, ...]:
    bins = []
    for low, high in pairwise(_BINS):
        inside = [(c, label) for c, label in scored if low <= c < high or (high == 1 and c == 1)]
        if inside:
            bins.append(
                Bin(
                    low=low,
                    high=high,
                    count=len(inside),
                    mean=sum(c for c, _ in inside) / len(inside),
                    observed=sum(label for _, label in inside) / len(inside),
                )
            )
    return tuple(bins)
