"""The summary of one refresh: counts of its mining and cleaning, and a line that describes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.run.records import summarize
from arhn.cleaning.run.tally import Progress
from arhn.errors import describe_count
from arhn.files.atomic import AtomicFile
from arhn.mine.counts import MiningCounts
from arhn.train.filtered_passages import list_filtered
from arhn.train.manifest import RefreshCounts
from arhn.types import CleanedGroup, Group

SCHEMA = 1


@dataclass(slots=True)
class RefreshTally:
    """The counts of a refresh so far. `new` negatives weren't negatives of their query before."""

    mined: MiningCounts
    retrievers: list[str] = field(default_factory=list)
    new: int = 0
    relabelled: int = 0
    filtered: int = 0
    progress: Progress = field(default_factory=Progress)
    _started: float = field(default_factory=time.monotonic)

    def add_mined(self, before: Group, after: Group) -> None:
        """Count the new negatives of a group, given the group before and after mining."""
        self.new += len({p.doc_id for p in after.negatives} - {p.doc_id for p in before.negatives})

    def add_cleaned(self, cleaned: CleanedGroup) -> None:
        """Count the relabelled and filtered passages of a cleaned group."""
        self.progress.tally.add(cleaned)
        self.relabelled += len(cleaned.relabelled)
        self.filtered += len(list_filtered(cleaned))

    def make_counts(self) -> RefreshCounts:
        """All counts, for the manifest."""
        asked = self.progress.stats.total
        return RefreshCounts(
            retrievers=self.retrievers,
            mined=self.mined.negatives,
            new=self.new,
            relabelled=self.relabelled,
            filtered=self.filtered,
            requests=asked.requests,
            asked=asked.asked,
            reused=asked.reused,
            failed=asked.failed,
            seconds=round(time.monotonic() - self._started, 3),
        )

    def summarize_cleaning(self, config: CleanConfig, models: Models, files: dict[str, Any]) -> dict[str, Any]:
        """The summary of cleaning, as `arhn clean` writes it."""
        tally = self.progress.tally
        self.progress.seconds = time.monotonic() - self._started
        return summarize(
            self.progress,
            config,
            described := models.record,
            written=tally.groups - tally.dropped,
            settings={"context": described.context},
            losses={},
            files=files,
        )

    def write(self, path: Path, counts: RefreshCounts, cleaning: dict[str, Any]) -> None:
        """Write the summary, replacing one of a refresh that was killed.

        Raises:
            OutputNotWritable, DiskFull: the file can't be written.
        """
        mining = {**self.mined.as_dict(), "settings": self.mined.settings.model_dump(mode="json")}
        content = {"schema": SCHEMA, "counts": counts.model_dump(), "mining": mining, "cleaning": cleaning}
        with AtomicFile(path, overwrite=True) as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def describe(counts: RefreshCounts) -> str:
    """Describe a refresh in one line."""
    text = f"{describe_count(counts.mined, 'negative')} mined, {counts.new:,} of them new"
    if counts.requests:
        text += f"; {describe_count(counts.asked, 'LLM call')}, {describe_count(counts.reused, 'answer')} known"
    if counts.failed:
        text += f", {counts.failed:,} failed"
    return f"{text}; {counts.relabelled:,} relabelled, {counts.filtered:,} filtered, in {counts.seconds:,.0f} s"
