"""The input cut into partitions, and what a partition becomes: everything of its cleaned groups but their texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice

import zstandard
from pydantic import ConfigDict, TypeAdapter, ValidationError

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.stats import Failure, Gathered, StageStats, Stats
from arhn.types import CleanedGroup, Decision, Extraction, Group, Ranking

_LEVEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Adjacent groups of the input; `number` counts from 0.

    `config`: the settings to clean them with. `gathers`: only their signals are wanted. `gathered`: what was
    counted when they were.
    """

    number: int
    groups: tuple[Group, ...]
    config: CleanConfig
    gathers: bool = False
    gathered: Gathered = field(default_factory=Gathered)

    @property
    def digest(self) -> str:
        """32 hex digits that stand for the groups, with every field that a writer may put back."""
        content = blake2b(digest_size=16)
        for group in self.groups:
            content.update(repr(group).encode("utf-8", "surrogatepass"))
        return content.hexdigest()


def cut(groups: Iterator[Group], size: int, config: CleanConfig, *, gathers: bool = False) -> Iterator[Partition]:
    """Partitions of `size` groups, in order; the last one may be smaller."""
    number = 0
    while some := tuple(islice(groups, size)):
        yield Partition(number=number, groups=some, config=config, gathers=gathers)
        number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A `CleanedGroup` without its group."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    decisions: tuple[Decision, ...]
    extractions: tuple[Extraction, ...]
    ranking: Ranking | None
    below_floor: bool
    dropped: bool
    family: str
    family_from: str
    similarities: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, cleaned: CleanedGroup) -> Outcome:
        """The outcome of a cleaned group."""
        return cls(**{name: getattr(cleaned, name) for name in cls.__slots__})

    def with_group(self, group: Group) -> CleanedGroup:
        """The cleaned group that it was made of."""
        return CleanedGroup(group=group, **{name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What came of a partition: an outcome per group, the requests that failed for good, and what was asked.

    `evidence`: what each group shows, instead of outcomes, where only that was wanted; `gathered`: what was counted.
    """

    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    stats: Stats
    evidence: tuple[Evidence, ...] = ()
    gathered: Gathered = field(default_factory=Gathered)

    def join(self, groups: Sequence[Group]) -> Iterator[CleanedGroup]:
        """The cleaned groups, in order."""
        for group, outcome in zip(groups, self.outcomes, strict=True):
            yield outcome.with_group(group)

    def count_as_reused(self) -> Part:
        """The part as a later run counts it: everything in it is there already."""
        stages = {
            name: StageStats(requests=s.requests, reused=s.reused + s.asked, too_long=s.too_long, failed=s.failed)
            for name, s in self.stats.stages.items()
        }
        return replace(self, stats=replace(self.stats, stages=stages))

    def pack(self) -> bytes:
        """As it is stored: JSON, compressed, with a checksum."""
        return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(_PART.dump_json(self))

    @classmethod
    def unpack(cls, packed: bytes) -> Part | None:
        """The part that was `packed`; None where that is damaged."""
        try:
            return _PART.validate_json(zstandard.ZstdDecompressor().decompress(packed))
        except (zstandard.ZstdError, ValidationError):
            return None


_PART = TypeAdapter(Part)


__all__ = ["Outcome", "Part", "Partition", "cut"]
