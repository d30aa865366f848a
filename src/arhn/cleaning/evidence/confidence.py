"""How sure we are that a passage answers: log-odds to calibrated confidences, within their group. Pure.

Log-odds carry an offset per query (docs/log, 2026-11-23), so a confidence is made against the group's mean; a
retriever's similarity, if there is one, is a second piece of evidence, centred likewise. Which weights turn
these into a probability is fitted on labelled groups, for one model and one prompt each (calibrate.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from arhn.cleaning.evidence.calibration import Calibration
from arhn.types import Band

#: How many passages the prior of a group's mean weighs.
PRIOR_PASSAGES = 1.0


def confidences(
    log_odds: Sequence[float | None],
    calibration: Calibration,
    *,
    similarities: Sequence[float] | None = None,
    means: tuple[float, float] | None = None,
) -> tuple[float | None, ...]:
    """Confidences of one group's passages, in [0, 1] and in the same order.

    None for a passage without log-odds; and for all of them where a mean that lacks a passage would move its
    neighbours' labels.

    Args:
        similarities: a retriever's, one per passage.
        means: of log-odds and similarities, if known from before (passages taken in later don't move them).
    """
    if calibration.centre and means is None and any(odds is None for odds in log_odds):
        return (None,) * len(log_odds)
    mean, similarity_mean = means or group_means(log_odds, similarities, calibration)
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


def likeliest(signal: Sequence[float | None], share: float) -> tuple[int, ...]:
    """Positions, in their order, of the `share` of passages (rounded up) with the highest signal; ties by position.

    Of what has none nothing is known, so it comes besides: whatever it were, nothing that would then be among these is
    left out.
    """
    wanted = math.ceil(round(share * len(signal), 9))
    known = sorted((-value, i) for i, value in enumerate(signal) if value is not None)
    unknown = [i for i, value in enumerate(signal) if value is None]
    return tuple(sorted([*unknown, *(i for _, i in known[:wanted])]))


def with_spared(log_odds: Sequence[float | None], total: int) -> tuple[float | None, ...]:
    """Log-odds of the passages that were asked about, and for each one that was spared the lowest of these.

    Only the group's mean is made from them: a mean of the likeliest passages alone would be too high, and hide them.
    """
    known = [odds for odds in log_odds if odds is not None]
    return (*log_odds, *[min(known, default=None)] * (total - len(log_odds)))


def group_means(
    log_odds: Sequence[float | None], similarities: Sequence[float] | None, calibration: Calibration
) -> tuple[float, float]:
    """Means of the log-odds that are known, and of the similarities, drawn towards the calibration's priors."""
    known = [odds for odds in log_odds if odds is not None]
    if known:
        # One passage, whatever it says, must not decide about its neighbours.
        middle = median(known)
        known = [max(middle - calibration.spread, min(middle + calibration.spread, odds)) for odds in known]
    return _mean(known, calibration.prior), _mean(similarities or (), calibration.similarity_prior)


def band(confidence: float, calibration: Calibration) -> Band:
    """What a confidence says: the passage answers, it doesn't, or this model can't tell."""
    if confidence >= calibration.threshold:
        return "answer"
    return "uncertain" if confidence >= calibration.lower else "no_answer"


def _mean(values: Sequence[float], prior: float) -> float:
    return (math.fsum(values) + PRIOR_PASSAGES * prior) / (len(values) + PRIOR_PASSAGES)


def sigmoid(z: float) -> float:
    """To 4 digits, so that decisions don't hang on the last bits; never 0 or 1."""
    return min(0.9999, max(0.0001, round(1 / (1 + math.exp(-max(-60.0, min(60.0, z)))), 4)))
