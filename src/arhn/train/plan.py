"""Which queries come together in which batch, and which of their passages: a function of the seed and the epoch.

An epoch has as many optimiser steps as batches are needed for the groups, and its queries are spread over them evenly:
a batch is at most as large as asked for, and none is much smaller than the others. The number of steps is fixed by the
first epoch's groups. Groups that replace them later (a refresh) may be fewer or more: some are then taken twice in an
epoch, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from arhn.errors import NothingToTrain, TrainingError
from arhn.train.groups import GroupStore, Member, Members
from arhn.train.recipe import Recipe


class Example(NamedTuple):
    """One query of a batch: the first `positives` of its `passages` are positives, the others hard negatives."""

    query: str
    passages: Sequence[Member]
    positives: int
    forbidden: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How an epoch is cut: `steps` optimiser steps of `accumulation` losses, each over `world` devices.

    `queries` of the groups are used in an epoch. On several devices each loss has the same number of queries on
    each, and up to `steps * accumulation * world - 1` queries are left out of an epoch, others in each.
    """

    steps: int
    accumulation: int
    world: int
    queries: int

    @classmethod
    def of(cls, groups: int, recipe: Recipe, world: int = 1) -> Schedule:
        """The schedule for so many groups.

        Raises:
            NothingToTrain: there are fewer than one batch.
            TrainingError: `contrast` can't be spread over the devices.
        """
        if groups < recipe.batch:
            raise NothingToTrain(
                f"batch of {recipe.batch:,} queries, but only {groups:,} groups to train on. Take a smaller batch, "
                f"such as --set batch={_sensible(groups)}, or more groups"
            )
        if recipe.contrasted % world:
            raise TrainingError(
                f"contrast: {recipe.contrasted} queries can't be spread evenly over {world} devices. Take a multiple "
                f"of {world}, with --set contrast=VALUE"
            )
        steps = -(-groups // recipe.batch)
        parts = steps * recipe.accumulation * world
        queries = groups if world == 1 else groups - groups % parts
        if queries < parts:
            raise NothingToTrain(f"{groups} groups can't be spread over {parts} batches. Take a larger contrast")
        return cls(steps=steps, accumulation=recipe.accumulation, world=world, queries=queries)

    @property
    def losses(self) -> int:
        """Losses in an epoch, on each device."""
        return self.steps * self.accumulation

    @property
    def largest(self) -> int:
        """Queries in the largest loss, on one device."""
        return -(-self.queries // (self.losses * self.world))


class Plan:
    """The batches of one device: a batch sampler for torch's DataLoader, whose samples are (group, epoch).

    `epoch` and `groups` are set before each epoch.
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
        order = self.order()
        parts = self.schedule.losses * self.schedule.world
        for loss in range(self.schedule.losses):
            part = loss * self.schedule.world + self._rank
            start, end = part * len(order) // parts, (part + 1) * len(order) // parts
            yield [(index, self.epoch) for index in order[start:end]]

    def order(self) -> list[int]:
        """All queries of the epoch, of every device, by number."""
        order = list(range(self.groups))
        _random(self._seed, self.epoch).shuffle(order)
        wanted = self.schedule.queries
        return (order * -(-wanted // len(order)))[:wanted]


class Examples:
    """A dataset by (group, epoch): the passages of the group that take part in that epoch.

    Positives and negatives take turns, so that over the epochs each is used equally often. Which positive comes
    first, and the order of the negatives, is drawn by the seed and the query, as in Tevatron, which trained RLHN's
    models: with the labelled positive always first, a run of one epoch would never see a relabelled one.
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
        positives, negatives = self._chosen(members, epoch)
        return Example(
            query=members.query,
            passages=[self.store.passage(member) for member in (*positives, *negatives)],
            positives=len(positives),
            forbidden=members.forbidden,
        )

    def _chosen(self, members: Members, epoch: int) -> tuple[list[int], list[int]]:
        random = _random(self._seed, members.key)
        first = random.randrange(len(members.positives))
        negatives = random.sample(list(members.negatives), len(members.negatives))
        return (
            _turn(members.positives, first + epoch, min(self._positives, len(members.positives))),
            _turn(negatives, epoch * self._negatives, min(self._negatives, len(negatives))),
        )


def _random(seed: int, number: int) -> Random:
    return Random(f"{seed} {number}")  # noqa: S311  # no secrets


def _turn(items: Sequence[int], start: int, count: int) -> list[int]:
    """`count` items from `start` on, round and round."""
    return [items[(start + i) % len(items)] for i in range(count)]


def _sensible(groups: int) -> int:
    """A power of two that gives at least four steps an epoch."""
    return max(2, 1 << max(0, (groups // 4).bit_length() - 1))
