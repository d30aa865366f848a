"""What one refresh did, counted while it goes on: the summary that it leaves, and a line for people."""

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
from arhn.files.atomic import AtomicFile
from arhn.mine.counts import Counts
from arhn.train.filtered import judged_out
from arhn.train.manifest import Renewal
from arhn.types import CleanedGroup, Group

SCHEMA = 1


@dataclass(slots=True)
class Done:
    """What a refresh has done so far. `new` negatives weren't negatives of their query before."""

    mined: Counts
    retrievers: list[str] = field(default_factory=list)
    new: int = 0
    relabelled: int = 0
    filtered: int = 0
    progress: Progress = field(default_factory=Progress)
    _started: float = field(default_factory=time.monotonic)

    def add_mined(self, before: Group, after: Group) -> None:
        """Count the negatives of a group."""
        self.new += len({p.doc_id for p in after.negatives} - {p.doc_id for p in before.negatives})

    def add_cleaned(self, cleaned: CleanedGroup) -> None:
        """Count what cleaning did to a group."""
        self.progress.tally.add(cleaned)
        self.relabelled += len(cleaned.relabelled)
        self.filtered += len(judged_out(cleaned))

    def counts(self) -> Renewal:
        """All of it, for the record of the run."""
        asked = self.progress.stats.total
        return Renewal(
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

    def cleaning(self, config: CleanConfig, models: Models, files: dict[str, Any]) -> dict[str, Any]:
        """What cleaning did, as the summary of 'arhn clean' has it."""
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

    def write(self, path: Path, counts: Renewal, cleaning: dict[str, Any]) -> None:
        """Write the summary, over that of a refresh that was killed."""
        mining = {**self.mined.content(), "settings": self.mined.settings.model_dump(mode="json")}
        content = {"schema": SCHEMA, "counts": counts.model_dump(), "mining": mining, "cleaning": cleaning}
        with AtomicFile(path, overwrite=True) as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def described(counts: Renewal) -> str:
    """One line about a refresh."""
    said = f"{counts.mined:,} negatives mined, {counts.new:,} of them new"
    if counts.requests:
        said += f"; {counts.asked:,} LLM calls, {counts.reused:,} answers known"
    if counts.failed:
        said += f", {counts.failed:,} failed"
    return f"{said}; {counts.relabelled:,} relabelled, {counts.filtered:,} filtered, in {counts.seconds:,.0f} s"
