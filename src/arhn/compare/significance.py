"""The significance of a difference: paired randomisation tests, Holm's correction, and intervals.

The test is Fisher's randomisation test on per-query differences, the one that Smucker, Allan and Carterette (CIKM 2007)
recommend for IR: if the two retrievers were equally good, the sign of each query's difference would be random. The test
generalises to other queries of the same kind, but not to other training seeds.

By hand, with tests against the libraries:
- `scipy.stats.permutation_test` gives the same exact p, but where patterns are drawn it takes twice the smaller tail
  instead of both tails, and its tolerance for ties is too small for sums that should be 0. It draws other patterns, so
  that reports that are there already would change.
- Holm's correction isn't in SciPy, and statsmodels isn't among what the extra `evaluate` installs.
- `compare` needs NumPy alone, and reads reports where no SciPy is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Resamples of the test; the smallest p that it can give is 1 / (RESAMPLES + 1).
RESAMPLES = 10_000
#: Resamples of an interval.
DRAWS = 2_000
#: Random numbers held at once.
_CHUNK = 4_000_000
#: Relative; sums of the same numbers in another order differ in their last digits.
_TOLERANCE = 1e-12

Floats = npt.NDArray[np.float64]


def sign_flip(differences: Sequence[Floats], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of a paired randomisation test.

    Args:
        differences: per data set, its queries' differences. The statistic is the mean over data sets of their means,
            so that each data set counts the same; for one data set it is its mean difference.
        resamples: random sign patterns, besides the one observed. Where there are no more than that many patterns
            in all, each is taken once and p is exact.
        seed: equal seeds give equal values.

    Returns:
        The share of sign patterns with a statistic at least as far from 0, in (0, 1]; 1 where nothing differs.
    """
    # A query without a difference is the same with either sign.
    weighted = np.concatenate([d / len(d) for d in differences])
    weighted = weighted[weighted != 0]
    total = float(weighted.sum())
    limit = abs(total) - _TOLERANCE * float(np.abs(weighted).sum())
    if len(weighted) < 63 and 2 ** len(weighted) <= resamples:
        bits = np.arange(2 ** len(weighted))[:, None] >> np.arange(len(weighted)) & 1
        return float(np.mean(np.abs(2 * (bits @ weighted) - total) >= limit))
    random = np.random.default_rng(seed)
    reached = 0
    for size in _split_rows(resamples, len(weighted)):
        coins = np.unpackbits(random.integers(0, 256, (size, -(-len(weighted) // 8)), np.uint8), axis=1)
        sums = coins[:, : len(weighted)].astype(np.float64) @ weighted
        reached += int(np.count_nonzero(np.abs(2 * sums - total) >= limit))
    return (1 + reached) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): adjusted values in the order given.

    Calling differences with an adjusted value below alpha significant makes the chance of even one false call, among
    all comparisons, at most alpha.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def interval(
    values: Sequence[Floats], *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """A percentile bootstrap interval over queries of the mean over data sets of their means.

    Args:
        values: per data set, its queries' values, or differences of two retrievers.
        level: the interval's share of the draws, in (0, 1).
    """
    random = np.random.default_rng(seed)
    means = np.mean([_draw_means(v, draws, random) for v in values], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draw_means(values: Floats, draws: int, random: np.random.Generator) -> Floats:
    count = len(values)
    drawn = (values[random.integers(0, count, (size, count))] for size in _split_rows(draws, count))
    return np.concatenate([each.mean(axis=1) for each in drawn])


def _split_rows(rows: int, columns: int) -> list[int]:
    """Split `rows` into parts that each fit into memory; the number of rows in each."""
    size = max(1, _CHUNK // columns)
    return [min(size, rows - start) for start in range(0, rows, size)]
