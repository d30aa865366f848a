"""A sample of groups, spread evenly over a file that is read once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arhn.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Groups out of `total`; `passages` in all of these, `weights` in each sampled one.

    `first` are the first groups of the file: a run that was stopped has answered these.
    """

    groups: tuple[Group, ...]
    first: tuple[Group, ...]
    total: int
    passages: int
    weights: tuple[int, ...]

    @property
    def factor(self) -> float:
        """How many times the sample's passages there are."""
        return self.passages / max(1, sum(self.weights))


def spread(groups: Iterable[Group], size: int, passages: Callable[[Group], int]) -> Sample:
    """At most `size` groups at even distances, in their order. Holds at most three times as many.

    Args:
        passages: how many passages of a group are asked about, about; tokens grow with it.
    """
    chosen: list[Group] = []
    first: list[Group] = []
    step, total, weight = 1, 0, 0
    for group in groups:
        if total % step == 0:
            chosen.append(group)
        if len(first) < size:
            first.append(group)
        if len(chosen) > 2 * size:
            chosen = chosen[::2]
            step *= 2
        total += 1
        weight += passages(group)
    count = min(size, len(chosen))
    spread_out = tuple(chosen[i * len(chosen) // count] for i in range(count))
    return Sample(
        groups=spread_out,
        first=tuple(first),
        total=total,
        passages=weight,
        weights=tuple(map(passages, spread_out)),
    )
