"""The plan of batches: which queries are in which batch, with which of their passages, given the seed and the epoch.

An epoch has as many optimiser steps as the groups need batches, and its queries are spread evenly over them: no batch
is larger than the recipe says, and none is much smaller than the others. The groups of the first epoch fix the number
of steps. If a refresh replaces them by fewer or more groups, some are used twice in an epoch, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from arhn.errors import NothingToTrain, TrainingError, describe_count
from arhn.train.groups import GroupStore, StoredGroup, StoredPassage
from arhn.train.recipe import Recipe


class Example(NamedTuple):
    """One query of a batch with its passages: the first `positives` are positives, the others hard negatives.

    `forbidden` are the keys of passages that may not be negatives of the query.
    """

    query: str
    passages: Sequence[StoredPassage]
    positives: int
    forbidden: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How an epoch is divided: `steps` optimiser steps of `accumulation` losses, each over `world` devices.

    `queries` is the number of groups used in an epoch. On several devices each loss has the same number of queries on
    each device, so an epoch leaves out up to `steps * accumulation * world - 1` groups, different ones each time.
    """

    steps: int
    accumulation: int
    world: int
    queries: int

    @classmethod
    def for_groups(cls, groups: int, recipe: Recipe, world: int = 1) -> Schedule:
        """Make the schedule for a number of groups.

        Raises:
            NothingToTrain: there are fewer groups than a batch needs.
            TrainingError: `contrast` can't be spread over the devices.
        """
        if groups < recipe.batch:
            raise NothingToTrain(
                f"batch of {recipe.batch:,} queries, but only {describe_count(groups, 'group')} to train on. Take a "
                f"smaller batch, such as --set batch={_suggest_batch(groups)}, or more groups"
            )
        if recipe.contrasted % world:
            raise TrainingError(
                f"contrast: {recipe.contrasted} queries can't be spread evenly over {world} devices. Take a "
                f"multiple of {world}, with --set contrast=VALUE"
            )
        steps = -(-groups // recipe.batch)
        parts = steps * recipe.accumulation * world
        queries = groups if world == 1 else groups - groups % parts
        if queries < parts:
            raise NothingToTrain(
                f"{describe_count(groups, 'group')} can't be spread over {parts} batches. Take a larger contrast"
            )
        return cls(steps=steps, accumulation=recipe.accumulation, world=world, queries=queries)

    @property
    def losses(self) -> int:
        """The number of losses in an epoch, on each device."""
        return self.steps * self.accumulation

    @property
    def largest(self) -> int:
        """The number of queries in the largest loss, on one device."""
        return -(-self.queries // (self.losses * self.world))


class Plan:
    """The batches of one device: a batch sampler for torch's DataLoader.

    A sample is the index of a group and the epoch. Set `epoch`, and `groups` to the number of groups, before each
    epoch.
    """

    def __init__(self, schedule: Schedule, groups: int, seed: int, rank: int = 0) -> None:
        self.schedule = schedule
        self.groups = groups
        self.epoch = 0
        self._seed = seed
        self._rank = rank

    def __len__(self) -> int:
        return self.schedule.losses

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.draw_order()
        parts = self.schedule.losses * self.schedule.world
        for loss in range(self.schedule.losses):
            part = loss * self.schedule.world + self._rank
            start, end = part * len(order) // parts, (part + 1) * len(order) // parts
            yield [(index, self.epoch) for index in order[start:end]]

    def draw_order(self) -> list[int]:
        """Draw the indices of the epoch's groups, for all devices, in random order."""
        order = list(range(self.groups))
        _make_random(self._seed, self.epoch).shuffle(order)
        wanted = self.schedule.queries
        return (order * -(-wanted // len(order)))[:wanted]


class Examples:
    """The examples by group and epoch: the passages of the group that the epoch uses.

    Positives and negatives take turns, so that over the epochs each is used equally often. Which positive comes first,
    and the order of the negatives, is random given the seed and the query, as in Tevatron, which trained RLHN's models:
    with the labelled positive always first, a run of one epoch would never use a relabelled one.
    """

    def __init__(self, store: GroupStore, recipe: Recipe) -> None:
        self.store = store
        self._seed = recipe.seed
        self._positives = recipe.max_positives if recipe.positives == "all" else 1
        self._negatives = recipe.negatives

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, sample: tuple[int, int]) -> Example:
        index, epoch = sample
        members = self.store[index]
        positives, negatives = self._choose(members, epoch)
        return Example(
            query=members.query,
            passages=[self.store.passage(member) for member in (*positives, *negatives)],
            positives=len(positives),
            forbidden=members.forbidden,
        )

    def _choose(self, members: StoredGroup, epoch: int) -> tuple[list[int], list[int]]:
        random = _make_random(self._seed, members.key)
        first = random.randrange(len(members.positives))  # nosec B311 - no secret depends on it
        negatives = random.sample(list(members.negatives), len(members.negatives))  # nosec B311 - no secret depends on it
        return (
            _take_turns(members.positives, first + epoch, min(self._positives, len(members.positives))),
            _take_turns(negatives, epoch * self._negatives, min(self._negatives, len(negatives))),
        )


def _make_random(seed: int, number: int) -> Random:
    return Random(f"{seed} {number}")  # noqa: S311  # no secrets  # nosec B311 - no secret depends on it


def _take_turns(items: Sequence[int], start: int, count: int) -> list[int]:
    """`count` items from `start` on, starting again at the end."""
    return [items[(start + i) % len(items)] for i in range(count)]


def _suggest_batch(groups: int) -> int:
    """A power of two that gives at least four steps an epoch."""
    return max(2, 1 << max(0, (groups // 4).bit_length() - 1))
