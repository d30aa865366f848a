"""How far a run's decisions can be trusted, estimated from a person's answers on a stratified sample. Pure.

Shares over the whole set weigh each stratum by its size. Their variance is the stratified sample's, with the finite
population correction; the interval is Wilson's score interval at the effective number of answers, the one that a simple
random sample of the same variance would have (as E. L. Korn and B. I. Graubard, 1998, do for exact intervals). The
recall's interval joins those of its two parts (MOVER for ratios, A. Donner and G. Y. Zou, 2012). `bench/coverage.py`
simulates how often all of them hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from arhn.cleaning.evidence.intervals import wilson

#: The answers with which a decision was right. A relabelled passage must answer fully; a dropped one may answer in
#: part, for either way it was no negative to train on; one that stays a negative must not answer.
RIGHT: Mapping[str, frozenset[str]] = {
    "relabel": frozenset({"fully"}),
    "filter": frozenset({"fully", "partly"}),
    "keep": frozenset({"no"}),
}
#: The answers with which a negative is a false one.
FALSE = frozenset({"fully"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Passages with one action and similar evidence: how many there are, and how many got each answer."""

    name: str
    action: str
    size: int
    answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def judged(self) -> int:
        """Passages with an answer that counts: not "can't tell"."""
        return sum(n for answer, n in self.answers.items() if answer != "unsure")

    def count(self, hits: frozenset[str]) -> int:
        """Passages with one of these answers."""
        return sum(n for answer, n in self.answers.items() if answer in hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share with its 95% interval. `judged`: how many answers it rests on; `covered`: the share of the passages in
    question whose stratum has an answer at all: the others aren't estimated.
    """

    value: float
    low: float
    high: float
    judged: int
    covered: float


def estimate_share(strata: Iterable[Stratum], hits: frozenset[str]) -> Estimate | None:
    """The share of all passages of these strata with such an answer; None without an answer."""
    every = list(strata)
    judged = [s for s in every if s.judged]
    total = sum(s.size for s in judged)
    if not total:
        return None
    value = sum(s.size * s.count(hits) / s.judged for s in judged) / total
    low, high = _find_interval(judged, hits, total, value)
    return Estimate(
        value=value,
        low=low,
        high=high,
        judged=sum(s.judged for s in judged),
        covered=total / max(1, sum(s.size for s in every)),
    )


def _find_interval(strata: Sequence[Stratum], hits: frozenset[str], total: int, value: float) -> tuple[float, float]:
    """Wilson's interval at the effective number of answers."""
    pooled, variance, unlimited = 0.0, 0.0, 0.0
    for s in strata:
        weight = s.size / total
        # Half a hit more and half a miss more, shared out like the strata: one without a miss isn't without variance.
        share = (s.count(hits) + 0.5 * weight) / (s.judged + weight)
        pooled += weight * share
        spread = weight * weight * share * (1 - share) / s.judged
        unlimited += spread
        variance += spread * max(0.0, 1 - s.judged / s.size)
    if variance <= 0:  # every passage was judged
        return value, value
    effective = pooled * (1 - pooled) / variance
    return wilson(value * effective, effective)


def estimate_recall(strata: Sequence[Stratum]) -> Estimate | None:
    """The share of all false negatives that the run found (relabelled or dropped); None where it can't be estimated."""
    found = [s for s in strata if s.action != "keep"]
    kept = [s for s in strata if s.action == "keep"]
    caught, missed = estimate_share(found, FALSE), estimate_share(kept, FALSE)
    if caught is None or missed is None:
        return None
    sizes = sum(s.size for s in found), sum(s.size for s in kept)
    x, y = caught.value * sizes[0], missed.value * sizes[1]
    if x + y == 0:
        return None
    # recall = x / (x + y): the interval of y / x, turned around. Both parts are independent samples.
    low, high = _divide(
        (y, missed.low * sizes[1], missed.high * sizes[1]), (x, caught.low * sizes[0], caught.high * sizes[0])
    )
    return Estimate(
        value=x / (x + y),
        low=1 / (1 + high) if high != float("inf") else 0.0,
        high=1 / (1 + low),
        judged=caught.judged + missed.judged,
        covered=(caught.covered * sizes[0] + missed.covered * sizes[1]) / sum(sizes),
    )


Bounds = tuple[float, float, float]


def _divide(above: Bounds, below: Bounds) -> tuple[float, float]:
    """The interval of a ratio of two independent estimates, each (value, low, high) and not negative."""
    (a, a_low, a_high), (b, b_low, b_high) = above, below
    product = a * b

    def solve(end_a: float, end_b: float, sign: int) -> float:
        x, y = end_a * (2 * a - end_a), end_b * (2 * b - end_b)
        inside = max(0.0, product * product - x * y)
        return (product + sign * sqrt(inside)) / y if y > 0 else float("inf")

    low = 0.0 if a == 0 else max(0.0, solve(a_low, b_high, -1) if b_high * (2 * b - b_high) > 0 else a_low / b_high)
    return low, solve(a_high, b_low, 1)


def kappa(pairs: Mapping[tuple[str, str], float]) -> float | None:
    """Cohen's kappa of two raters; None where it is undefined.

    Args:
        pairs: how often, or with what weight, the first said the one thing and the second the other.
    """
    total = sum(pairs.values())
    if not total:
        return None
    words = {word for pair in pairs for word in pair}
    same = sum(pairs.get((word, word), 0.0) for word in words) / total
    first = {w: sum(n for (a, _), n in pairs.items() if a == w) / total for w in words}
    second = {w: sum(n for (_, b), n in pairs.items() if b == w) / total for w in words}
    chance = sum(first[w] * second[w] for w in words)
    return None if chance >= 1 else (same - chance) / (1 - chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A judged negative: its confidence, whether a person calls it false, and how many passages it stands for."""

    confidence: float
    false: bool
    weight: float


def find_threshold(passages: Sequence[Weighed], precision: float) -> tuple[float, float, int] | None:
    """The lowest confidence from which the estimated precision is that high: (threshold, precision there, answers).

    None where no threshold reaches it.
    """
    found, hits, total = None, 0.0, 0.0
    ordered = sorted(passages, key=lambda p: -p.confidence)
    for count, passage in enumerate(ordered, start=1):
        hits += passage.weight * passage.false
        total += passage.weight
        last = count == len(ordered) or ordered[count].confidence < passage.confidence
        if last and total and hits / total >= precision:
            found = passage.confidence, hits / total, count
    return found


__all__ = [
    "FALSE",
    "RIGHT",
    "Estimate",
    "Stratum",
    "Weighed",
    "estimate_recall",
    "estimate_share",
    "find_threshold",
    "kappa",
]
