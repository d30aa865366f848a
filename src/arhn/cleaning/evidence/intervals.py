"""Intervals of shares. Pure."""

from __future__ import annotations

from math import sqrt

#: The normal distribution's quantile for 95%, both sides.
Z = 1.959963984540054


def wilson(successes: float, trials: float, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, 1927); (0, 1) without trials.

    Args:
        successes, trials: counts; not whole where a design is counted as an effective number of trials.
        z: the normal distribution's quantile; 1.96 for 95%.
    """
    if trials <= 0:
        return 0.0, 1.0
    share = min(1.0, max(0.0, successes / trials))
    square = z * z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    reach = z / (1 + square / trials) * sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    low = 0.0 if share == 0 else max(0.0, middle - reach)
    return low, 1.0 if share == 1 else min(1.0, middle + reach)


__all__ = ["Z", "wilson"]
