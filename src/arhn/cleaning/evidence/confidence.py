"""How sure we are that a passage answers: log-odds to calibrated confidences, centred within their group. Pure.

Log-odds carry an offset per query (LOG.md, 2026-11-23), so a confidence is made against the group's mean; a
retriever's similarity, if there is one, is a second piece of evidence, centred likewise. Which weights turn these into
a probability is fitted on labelled groups, for one model and one prompt each (calibrate/fit.py), with `fit_centring`,
`predict_from` and `weigh`: what is centred on what is decided in this file alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from arhn.cleaning.evidence.calibration import Calibration
from arhn.types import Band

#: Means of a group's log-odds and of its similarities.
Means = tuple[float, float]

#: How many passages the prior of a group's mean weighs.
PRIOR_PASSAGES = 1.0
#: Log-odds, as a share, that pull their group's mean with their full weight.
WITHIN = 0.95


def make_confidences(
    log_odds: Sequence[float | None],
    calibration: Calibration,
    *,
    similarities: Sequence[float] | None = None,
    means: Means | None = None,
) -> tuple[float | None, ...]:
    """Confidences of one group's passages, in [0, 1] and in the same order.

    None for a passage without log-odds; and for all of them where a mean that lacks a passage would move its
    neighbours' labels.

    Args:
        similarities: a retriever's, one per passage.
        means: of the group, if known from before (passages taken in later don't move them).
    """
    means = means or centre_group(log_odds, similarities, calibration)
    if means is None:
        return (None,) * len(log_odds)
    mean, similarity_mean = means
    return tuple(
        None
        if odds is None
        else sigmoid(
            calibration.slope * (odds - calibration.centre * mean)
            + calibration.similarity * (similarity - calibration.similarity_centre * similarity_mean)
            + calibration.intercept
        )
        for odds, similarity in zip(log_odds, similarities or (0.0,) * len(log_odds), strict=True)
    )


def centre_group(
    log_odds: Sequence[float | None],
    similarities: Sequence[float] | None,
    calibration: Calibration,
    *,
    size: int | None = None,
) -> Means | None:
    """What a group's confidences are made against; None where a broken answer is missing from it, so that nothing can.

    Args:
        log_odds: of the passages that were asked about.
        similarities: of all the group's passages.
        size: passages of the group; as many as were asked about, unless given.
    """
    if calibration.centre and None in log_odds:
        return None
    return take_means(add_spared(log_odds, size or len(log_odds)), similarities, calibration)


def add_spared(log_odds: Sequence[float | None], size: int) -> tuple[float | None, ...]:
    """Log-odds of the passages that were asked about, and for each other one of a group the lowest of these.

    Only the group's mean is made from them: a mean of the likeliest passages alone would be too high, and hide them.

    Args:
        size: passages of the group.
    """
    known = [odds for odds in log_odds if odds is not None]
    return (*log_odds, *[min(known, default=None)] * (size - len(log_odds)))


def take_means(
    log_odds: Sequence[float | None], similarities: Sequence[float] | None, calibration: Calibration
) -> Means:
    """Means of the log-odds that are known, and of the similarities, drawn towards the calibration's priors."""
    known = [odds for odds in log_odds if odds is not None]
    if known:
        # One passage with extreme log-odds must not decide about its neighbours.
        middle = median(known)
        known = [max(middle - calibration.spread, min(middle + calibration.spread, odds)) for odds in known]
    return _mean(known, calibration.prior), _mean(similarities or (), calibration.similarity_prior)


def _mean(values: Sequence[float], prior: float) -> float:
    return (math.fsum(values) + PRIOR_PASSAGES * prior) / (len(values) + PRIOR_PASSAGES)


def fit_centring(
    log_odds: Sequence[Sequence[float | None]], similarities: Sequence[Sequence[float]]
) -> dict[str, float]:
    """What `take_means` needs of a calibration, from groups: `prior`, `similarity_prior` and `spread`."""
    return {
        "prior": _mean_of_means(log_odds),
        "similarity_prior": _mean_of_means(similarities),
        "spread": _spread(log_odds),
    }


def _mean_of_means(values: Sequence[Sequence[float | None]]) -> float:
    means = [fmean(known) for group in values if (known := [v for v in group if v is not None])]
    return fmean(means) if means else 0.0


def _spread(groups: Sequence[Sequence[float | None]]) -> float:
    """The distance from their group's median that nearly all log-odds keep."""
    distances: list[float] = []
    for group in groups:
        known = [odds for odds in group if odds is not None]
        distances += [abs(odds - median(known)) for odds in known]
    distances.sort()
    return distances[math.floor(WITHIN * (len(distances) - 1))]


def predict_from(log_odds: float, similarity: float | None, means: Means) -> list[float]:
    """What a logistic regression of a passage's label is fitted on: differences from the group's means, and these."""
    mean, similarity_mean = means
    fused = [] if similarity is None else [similarity - similarity_mean, similarity_mean]
    return [log_odds - mean, mean, *fused]


def weigh(coefficients: Sequence[float], intercept: float) -> dict[str, float]:
    """Weights of a calibration, by name, from the coefficients of what `predict_from` gives."""
    own, mean, *fused = coefficients
    weights = {"slope": own, "centre": 1 - mean / own if own else 0.0, "intercept": intercept}
    if fused:
        weights["similarity"] = fused[0]
        weights["similarity_centre"] = 1 - fused[1] / fused[0] if fused[0] else 0.0
    return weights


def pick_likeliest(signal: Sequence[float | None], share: float) -> tuple[int, ...]:
    """Positions, in their order, of the `share` of passages (rounded up) with the highest signal; ties by position.

    Those without a signal come in addition: their signal isn't known, and however high it were, no other passage may be
    left out for them.
    """
    wanted = math.ceil(round(share * len(signal), 9))
    known = sorted((-value, i) for i, value in enumerate(signal) if value is not None)
    unknown = [i for i, value in enumerate(signal) if value is None]
    return tuple(sorted([*unknown, *(i for _, i in known[:wanted])]))


def find_band(confidence: float, calibration: Calibration) -> Band:
    """The band of a confidence: the passage answers, it doesn't, or this model can't tell."""
    if confidence >= calibration.threshold:
        return "answer"
    return "uncertain" if confidence >= calibration.lower else "no_answer"


def sigmoid(z: float) -> float:
    """To 4 digits, so that decisions don't depend on the last bits; never 0 or 1."""
    return min(0.9999, max(0.0001, round(1 / (1 + math.exp(-max(-60.0, min(60.0, z)))), 4)))
