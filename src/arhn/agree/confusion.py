"""Agreement of two raters: confusion counts, Cohen's kappa and its bootstrap interval.

Counts are square matrices in row-major order, the first rater's classes as rows. Passages of one group are
judged together and aren't independent, so counts are kept by group and whole groups are resampled.
"""

from __future__ import annotations

import random
import statistics
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt

Counts = tuple[int, ...]

SEED = 0
RESAMPLES = 1000
#: Equal groups up to which drawing each of them is quicker than drawing how many of them are drawn.
_FEW = 20


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Confusion counts of one view. `groups` is how many groups have which counts."""

    classes: tuple[str, ...]
    groups: Mapping[Counts, int]

    @cached_property
    def counts(self) -> Counts:
        """Passages by cell, of all groups together."""
        cells = [0] * len(self.classes) ** 2
        for counts, times in self.groups.items():
            for cell, count in enumerate(counts):
                cells[cell] += count * times
        return tuple(cells)

    @property
    def compared(self) -> int:
        """Passages that were compared."""
        return sum(self.counts)

    @property
    def agreement(self) -> float | None:
        """Share of passages with the same class, in [0, 1]; None without passages."""
        return _share(_agreeing(self.counts), self.compared)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa, see `kappa`."""
        return kappa(self.counts)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95% percentile bootstrap interval of kappa; None where kappa is undefined or there is one group only.

        Resamples in which kappa is undefined are left out.
        """
        if self.kappa is None or sum(self.groups.values()) < 2:
            return None
        kappas = [k for counts in draw_resamples(self.groups) if (k := kappa(counts)) is not None]
        if len(kappas) < 2:
            return None
        cuts = statistics.quantiles(kappas, n=40, method="inclusive")
        return cuts[0], cuts[-1]


def kappa(counts: Counts) -> float | None:
    """Cohen's kappa (1960), at most 1; None where both raters use one and the same class only, or nothing."""
    size = isqrt(len(counts))
    total = sum(counts)
    by_chance = sum(sum(counts[i * size : (i + 1) * size]) * sum(counts[i::size]) for i in range(size))
    return _share(_agreeing(counts) * total - by_chance, total * total - by_chance)


def precision(counts: Counts) -> float | None:
    """Of what the first rater puts in the first of two classes, the share that the second does too."""
    return _share(counts[0], counts[0] + counts[1])


def recall(counts: Counts) -> float | None:
    """Of what the second rater puts in the first of two classes, the share that the first does too."""
    return _share(counts[0], counts[0] + counts[2])


def f1(counts: Counts) -> float | None:
    """Harmonic mean of precision and recall, 0 where nothing agrees; None where neither rater uses the class."""
    return _share(2 * counts[0], 2 * counts[0] + counts[1] + counts[2])


def draw_resamples(groups: Mapping[Counts, int], *, times: int = RESAMPLES, seed: int = SEED) -> list[Counts]:
    """Total counts of as many groups as there are, drawn with replacement, `times` times.

    Equal groups are drawn together, which makes a million passages a matter of seconds. The order of `groups`
    doesn't matter.
    """
    rng = random.Random(seed)  # noqa: S311  # statistics  # nosec B311 - no secret depends on it
    size = len(next(iter(groups)))
    cells = struct.Struct(f"<{size}Q")
    ordered = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    # All counts of a group in one integer, 64 bits each: it is added and multiplied at once.
    packed = [(int.from_bytes(cells.pack(*counts), "little"), n) for counts, n in ordered]
    many = [(group, n) for group, n in packed if n > _FEW]
    few = [group for group, n in packed if n <= _FEW for _ in range(n)]
    totals = (_resample(rng, many, few) for _ in range(times))
    return [cells.unpack(total.to_bytes(cells.size, "little")) for total in totals]


def _resample(rng: random.Random, many: list[tuple[int, int]], few: list[int]) -> int:
    """The sum of one resample: how often each group of `many` is drawn, and the rest one by one from `few`."""
    left = undrawn = len(few) + sum(n for _, n in many)
    total = 0
    for group, n in many:
        drawn = draw_binomial(rng, left, n / undrawn)
        total += drawn * group
        left -= drawn
        undrawn -= n
    return total + sum(rng.choices(few, k=left))


def draw_binomial(rng: random.Random, n: int, p: float) -> int:
    """A draw from Binomial(n, p): how many of n uniform numbers are below p.

    The numbers are compared with p bit by bit, all at once; half of them differ from it at each bit and are done.
    """
    below = 0
    while n and p:
        p *= 2
        ones = rng.getrandbits(n).bit_count()
        if p >= 1:
            p -= 1
            below += n - ones
            n = ones
        else:
            n -= ones
    return below


def _agreeing(counts: Counts) -> int:
    return sum(counts[:: isqrt(len(counts)) + 1])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
