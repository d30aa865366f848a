"""How sure we are that a passage answers: signals to calibrated confidences, centred within their group. Pure.

Signals carry an offset per query (docs/log, 2026-11-23), so each is taken against its group's mean. Which weights turn
them into a probability is fitted on labelled groups (calibrate/fit.py), with `fit_centring`, `predict_from` and
`weigh`, or assumed from other data (assume.py): what is centred on what is decided in this file alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from arhn.cleaning.evidence.calibration import Calibration, SignalWeight
from arhn.cleaning.evidence.signals import VERDICT, Signals
from arhn.types import Band

#: A group's means, by signal.
Means = Mapping[str, float]

#: How many passages the prior of a group's mean weighs.
PRIOR_PASSAGES = 1.0
#: Log-odds, as a share, that pull their group's mean with their full weight.
WITHIN = 0.95


def make_confidences(
    signals: Signals, calibration: Calibration, *, means: Means | None = None
) -> tuple[float | None, ...]:
    """Confidences of one group's passages, in [0, 1] and in the same order.

    None for a passage that lacks a signal of the calibration; and for all of them where a mean that lacks a passage
    would move its neighbours' labels.

    Args:
        signals: at least those of the calibration, all of the same length.
        means: of the group, if known from before (passages taken in later don't move them).
    """
    weights = calibration.signals
    used = {name: signals[name] for name in weights}
    means = means or centre_group(used, calibration)
    found = zip(*used.values(), strict=True)
    if means is None:
        return tuple(None for _ in found)
    return tuple(_make_confidence(values, weights, means, calibration.intercept) for values in found)


def _make_confidence(
    values: Sequence[float | None], weights: Mapping[str, SignalWeight], means: Means, intercept: float
) -> float | None:
    total = intercept
    for value, (name, w) in zip(values, weights.items(), strict=True):
        if value is None:
            return None
        total += w.weight * (value - w.centre * means[name])
    return sigmoid(total)


def centre_group(signals: Signals, calibration: Calibration, *, size: int | None = None) -> Means | None:
    """What a group's confidences are made against; None where a value is missing from it, so that nothing can.

    Args:
        signals: the verdict of the passages that were asked about, the others of all the group's passages.
        size: passages of the group; as many as were asked about, unless given.
    """
    weights = calibration.signals
    known = {name: signals[name] for name in weights}
    if any(weight.centre and None in known[name] for name, weight in weights.items()):
        return None
    if VERDICT in weights:
        odds = known[VERDICT]
        known[VERDICT] = add_spared(odds, size or len(odds))
    return take_means(known, calibration)


def add_spared(log_odds: Sequence[float | None], size: int) -> tuple[float | None, ...]:
    """Log-odds of the passages that were asked about, and for each other one of a group the lowest of these.

    Only the group's mean is made from them: a mean of the likeliest passages alone would be too high, and hide them.
    What their similarities let one expect of them was worse (docs/log, 2026-11-28).

    Args:
        size: passages of the group.
    """
    known = [odds for odds in log_odds if odds is not None]
    return (*log_odds, *[min(known, default=None)] * (size - len(log_odds)))


def take_means(signals: Signals, calibration: Calibration) -> Means:
    """Means of what is known of each signal of the calibration, drawn towards its prior."""
    return {name: _take_mean(signals[name], weight) for name, weight in calibration.signals.items()}


def _take_mean(values: Iterable[float | None], weight: SignalWeight) -> float:
    known = [value for value in values if value is not None]
    if known:
        # One passage with extreme log-odds must not decide about its neighbours.
        middle = median(known)
        known = [max(middle - weight.spread, min(middle + weight.spread, value)) for value in known]
    return (math.fsum(known) + PRIOR_PASSAGES * weight.prior) / (len(known) + PRIOR_PASSAGES)


def fit_centring(name: str, groups: Sequence[Sequence[float | None]]) -> dict[str, float]:
    """What `take_means` needs of one signal, from its values by group: `prior` and, for the verdict, `spread`."""
    means = [fmean(known) for group in groups if (known := [v for v in group if v is not None])]
    centring = {"prior": fmean(means) if means else 0.0}
    return {**centring, "spread": _spread(groups)} if name == VERDICT else centring


def _spread(groups: Sequence[Sequence[float | None]]) -> float:
    """The distance from their group's median that nearly all log-odds keep."""
    distances: list[float] = []
    for group in groups:
        known = [odds for odds in group if odds is not None]
        distances += [abs(odds - median(known)) for odds in known]
    distances.sort()
    return distances[math.floor(WITHIN * (len(distances) - 1))]


def predict_from(values: Mapping[str, float], means: Means) -> list[float]:
    """What a logistic regression of a passage's label is fitted on: for each signal its difference from the group's
    mean, and the mean.
    """
    return [part for name, value in values.items() for part in (value - means[name], means[name])]


def weigh(
    names: Sequence[str], coefficients: Sequence[float], centring: Mapping[str, Mapping[str, float]]
) -> dict[str, SignalWeight]:
    """Weights of a calibration, from the coefficients of what `predict_from` gives and from `fit_centring`."""
    found = {}
    for name, own, mean in zip(names, coefficients[::2], coefficients[1::2], strict=True):
        centre = 1 - mean / own if own else 0.0
        parts = {"weight": own, "centre": centre, **centring[name]}
        found[name] = SignalWeight(**{part: round(value, 5) for part, value in parts.items()})
    return found


def find_band(confidence: float, calibration: Calibration) -> Band:
    """The band of a confidence: the passage answers, it doesn't, or this model can't tell."""
    if confidence >= calibration.threshold:
        return "answer"
    return "uncertain" if confidence >= calibration.lower else "no_answer"


def sigmoid(z: float) -> float:
    """To 4 digits, so that decisions don't depend on the last bits; never 0 or 1."""
    return min(0.9999, max(0.0001, round(1 / (1 + math.exp(-max(-60.0, min(60.0, z)))), 4)))
