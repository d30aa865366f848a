"""Which negatives the LLM is asked about: those that cheaper evidence finds likely. Pure; no labels needed.

A negative's likelihood is what its other signals add to its confidence, or a small model's log-odds, against the mean
of its group. How far the decisions stay the same is measured on groups of which every negative was asked about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from statistics import fmean

from arhn.cleaning.evidence.calibration import Calibration, TriagePoint
from arhn.cleaning.evidence.confidence import centre_group, find_band, make_confidences, take_means
from arhn.cleaning.evidence.signals import VERDICT, Signals

#: Shares of all negatives to ask about that are tried, falling.
SHARES = tuple(n / 20 for n in range(20, 0, -1))
#: Of the spared negatives, one in so many is asked about all the same, to see how often that was right.
CHECKED_ONE_IN = 20
#: Where a calibration says what sparing costs and no agreement is asked for.
USUAL_AGREEMENT = 0.99

#: One value a negative; None where it isn't known.
Likelihood = Sequence[float | None]
#: A group's signals, and its likelihood; None where nothing tells likely negatives.
Asked = tuple[Signals, Likelihood | None]


def find_likelihood(signals: Signals, calibration: Calibration, flags: Likelihood | None = None) -> Likelihood | None:
    """How likely each negative of a group is to answer, by what is known before the LLM is asked.

    Args:
        signals: of all negatives; the verdict isn't looked at.
        flags: their log-odds by a small model in front, which go before similarities.
    """
    if flags is not None:
        known = [flag for flag in flags if flag is not None]
        mean = fmean(known) if known else 0.0
        return [None if flag is None else flag - mean for flag in flags]
    weights = {name: weight for name, weight in calibration.signals.items() if name != VERDICT}
    if not weights:
        return None
    used = {name: signals[name] for name in weights}
    means = take_means(used, calibration.model_copy(update={"signals": weights}))
    return [
        None
        if None in values
        else math.fsum(
            weight.weight * (value - weight.centre * means[name])
            for value, (name, weight) in zip(values, weights.items(), strict=True)
            if value is not None
        )
        for values in zip(*used.values(), strict=True)
    ]


def pick_likeliest(likelihood: Likelihood, cut: float) -> tuple[int, ...]:
    """Positions of the negatives to ask about: those at or above the cut, and those whose likelihood isn't known."""
    return tuple(i for i, value in enumerate(likelihood) if value is None or value >= cut)


def is_checked(query: str, text: str) -> bool:
    """Whether a negative that would be spared is asked about all the same: by chance, but always the same ones."""
    digest = blake2b(f"{len(query)} {query}{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % CHECKED_ONE_IN == 0


def measure_triage(groups: Sequence[Asked], calibration: Calibration) -> Calibration:
    """The calibration with what sparing negatives costs; see `TriagePoint`.

    Groups with a broken answer are left out, also by the small model in front: it would make a cut look as if it
    agreed further than where nothing breaks. Without points where there is nothing to tell likely negatives by.
    """
    usable = [(s, likely) for s, likely in groups if likely is not None and not _lacks_a_value(s, likely)]
    values = sorted((value for _, likely in usable for value in likely if value is not None), reverse=True)
    if not values:
        return calibration
    cuts = {share: _round_down(values[math.ceil(round(share * len(values), 9)) - 1]) for share in SHARES}
    points = []
    for cut in dict.fromkeys(cuts.values()):
        asked = sum(value >= cut for value in values)
        agreed = sum(_count_agreeing(s, likely, calibration, cut) for s, likely in usable)
        points.append(
            TriagePoint(cut=cut, share=round(asked / len(values), 4), agreement=round(agreed / len(values), 4))
        )
    return calibration.model_copy(update={"triage": tuple(points)})


def _round_down(value: float) -> float:
    """To 4 digits, so that the value itself stays at or above it."""
    return math.floor(value * 10_000) / 10_000


def _lacks_a_value(signals: Signals, likely: Likelihood) -> bool:
    return None in likely or any(None in values for values in signals.values())


def _count_agreeing(signals: Signals, likely: Likelihood, calibration: Calibration, cut: float) -> int:
    """Negatives of a group that are found to answer, or not to, as if all were asked about."""
    asked = pick_likeliest(likely, cut)
    own = {name: [values[i] for i in asked] for name, values in signals.items()}
    means = centre_group({**signals, VERDICT: own[VERDICT]}, calibration, size=len(likely))
    some = make_confidences(own, calibration, means=means)
    every = make_confidences(signals, calibration)
    found = {i for i, c in zip(asked, some, strict=True) if _answers(c, calibration)}
    return sum((i in found) == _answers(c, calibration) for i, c in enumerate(every))


def _answers(confidence: float | None, calibration: Calibration) -> bool:
    return confidence is not None and find_band(confidence, calibration) == "answer"


__all__ = [
    "CHECKED_ONE_IN",
    "SHARES",
    "USUAL_AGREEMENT",
    "find_likelihood",
    "is_checked",
    "measure_triage",
    "pick_likeliest",
]
