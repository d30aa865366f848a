"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from arhn.config import CleanConfig
from arhn.engines import Engine
from arhn.errors import OutputExists, OutputLocked
from arhn.formats import (
    AtomicFile,
    Format,
    GroupWriter,
    JsonlFile,
    OnBadRow,
    Output,
    Reject,
    RejectsWriter,
    Source,
    detect,
    read,
)
from arhn.locks import locked
from arhn.pipeline import Stats, clean
from arhn.records import Tally, decision_rows, summary
from arhn.store import SqliteStore
from arhn.types import CleanedGroup, Group

_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a run writes. Unless given, everything lies beside the output and is named after it."""

    output: str
    decisions: Path
    summary: Path
    rejects: Path
    store: Path

    @classmethod
    def beside(cls, output: str, **given: Path | None) -> Files:
        """For `dir/cleaned.jsonl.gz`: `dir/cleaned.decisions.jsonl`, `dir/cleaned.summary.json` and so on."""
        place = Path(output)
        stem = place.name
        for suffix in _SUFFIXES:
            stem = stem.removesuffix(suffix)
        names = {"decisions": "jsonl", "summary": "json", "rejects": "jsonl", "store": "sqlite"}
        paths = {
            what: given.get(what) or place.with_name(f"{stem}.{'responses' if what == 'store' else what}.{ending}")
            for what, ending in names.items()
        }
        return cls(output=output, **paths)

    @property
    def journal(self) -> Path:
        """There while a run publishes; names what it publishes."""
        place = Path(self.output)
        return place.with_name(f".{place.name}.publishing")

    @property
    def lock(self) -> Path:
        place = Path(self.output)
        return place.with_name(f".{place.name}.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to clean, and how to read and write it. `to` is the output's format, the input's unless given."""

    input: str
    files: Files
    config: CleanConfig = field(default_factory=CleanConfig)
    format: Format | None = None
    to: Format | None = None
    split: str | None = None
    limit: int | None = None
    on_bad_row: OnBadRow = "fail"
    overwrite: bool = False


@dataclass(slots=True)
class Progress:
    """The state of a run, for whoever displays it."""

    stats: Stats = field(default_factory=Stats)
    tally: Tally = field(default_factory=Tally)
    rejected: int = 0


OnGroup = Callable[[Progress], None]


def run(
    job: Job,
    open_engine: Callable[[], Engine],
    *,
    progress: Progress | None = None,
    on_group: OnGroup | None = None,
) -> dict[str, Any]:
    """Clean a file. Everything that can be wrong with the files is found before the engine is opened.

    Args:
        open_engine: called once the outputs are known to be possible; the engine is closed at the end.
        on_group: called after each group.

    Returns:
        The content of summary.json.

    Raises:
        ArhnError: see errors.py; no output has appeared then, and no answer is lost.
    """
    source = detect(job.input, split=job.split, format=job.format, skip_bad_rows=job.on_bad_row == "skip")
    with ExitStack() as stack:
        stack.enter_context(locked(job.files.lock, lambda: _busy(job)))
        outputs = _Outputs(job, source, stack)
        engine = open_engine()
        stack.callback(lambda: asyncio.run(engine.aclose()))
        store = stack.enter_context(SqliteStore(job.files.store, model=engine.model))
        return _run(job, source, outputs, engine, store, progress or Progress(), on_group)


def convert(
    source: Source,
    output: str,
    to: Format,
    *,
    rejects: Path | None = None,
    on_bad_row: OnBadRow = "fail",
    overwrite: bool = False,
) -> GroupWriter:
    """Write a source's groups in another format; nothing appears unless all of it is written.

    Returns:
        The writer, whose `written` and `losses` say what the format could hold.

    Raises:
        DataError, OutputError: see errors.py.
    """
    place = rejects or Files.beside(output).rejects
    with (
        GroupWriter(output, to, like=source, overwrite=overwrite) as writer,
        Rejects(place, overwrite) as rejected,
    ):
        for group in read(source, on_bad_row=on_bad_row, rejects=rejected.add, require_negatives=False):
            writer.write(group)
    return writer


def count(job: Job) -> int | None:
    """How many groups a job will read, for a display: None where it can't be told from the number of rows."""
    source = detect(job.input, split=job.split, format=job.format, skip_bad_rows=job.on_bad_row == "skip")
    if source.format in (Format.TRIPLET, Format.NTUPLE) or "://" in source.path:
        return job.limit
    return sum(1 for _ in islice(source.records(), job.limit))


def _busy(job: Job) -> OutputLocked:
    return OutputLocked(
        f"{job.files.output}: another arhn process is writing it. Wait for it to end, or write elsewhere"
    )


def _run(
    job: Job,
    source: Source,
    outputs: _Outputs,
    engine: Engine,
    store: SqliteStore,
    progress: Progress,
    on_group: OnGroup | None,
) -> dict[str, Any]:
    started = time.monotonic()
    groups = _groups(job, source, outputs, progress)
    for cleaned in clean(groups, engine=engine, config=job.config, store=store, stats=progress.stats):
        outputs.write(cleaned)
        progress.tally.add(cleaned)
        if on_group is not None:
            on_group(progress)
    content = summary(
        tally=progress.tally,
        stats=progress.stats,
        config=job.config,
        model=engine.model,
        seconds=time.monotonic() - started,
        rejected=progress.rejected,
        losses=dict(sorted(outputs.groups.losses.items())),
        files=_named(job, source, outputs, progress),
    )
    outputs.publish(content)
    return content


def _groups(job: Job, source: Source, outputs: _Outputs, progress: Progress) -> Iterator[Group]:
    def reject(row: Reject) -> None:
        progress.rejected += 1
        outputs.rejects.add(row)

    return islice(read(source, on_bad_row=job.on_bad_row, rejects=reject), job.limit)


def _named(job: Job, source: Source, outputs: _Outputs, progress: Progress) -> dict[str, Any]:
    files = job.files
    return {
        "input": source.path if "://" in source.path else str(Path(source.path).resolve()),
        "input_format": source.format.value,
        "split": source.split,
        "output": str(Path(files.output).resolve()),
        "output_format": outputs.groups.format.value,
        "decisions": str(files.decisions.resolve()),
        "rejects": str(files.rejects.resolve()) if progress.rejected else None,
        "store": str(files.store.resolve()),
    }


class Rejects(Output):
    """A file of rejected rows that appears only if there is one."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._writer: RejectsWriter | None = None
        # Found now rather than at the first bad row, hours later.
        if path.exists() and not overwrite:
            raise OutputExists(f"{path}: is there already; choose another name or allow overwriting")

    def add(self, row: Reject) -> None:
        if self._writer is None:
            self._writer = RejectsWriter(self._path, overwrite=self._overwrite)
        self._writer.add(row)

    def _prepare(self) -> None:
        if self._writer is not None:
            self._writer.prepare()

    def _publish(self) -> None:
        if self._writer is not None:
            self._writer.publish()
        else:
            # An earlier run's rejects aren't this one's.
            self._path.unlink(missing_ok=True)

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()


class _Outputs:
    """The files of one run, all aborted unless published."""

    def __init__(self, job: Job, source: Source, stack: ExitStack) -> None:
        self._files = files = job.files
        # What a run that was killed while publishing left under its own name is replaced.
        self._replaceable = _journalled(files.journal) if not job.overwrite else None
        self.groups = GroupWriter(
            files.output, job.to or source.format, like=source, overwrite=self._may_replace(files.output)
        )
        stack.callback(self.groups.abort)
        self._decisions = JsonlFile(files.decisions, overwrite=self._may_replace(files.decisions))
        stack.callback(self._decisions.abort)
        self._summary = AtomicFile(files.summary, overwrite=self._may_replace(files.summary))
        stack.callback(self._summary.abort)
        self.rejects = Rejects(files.rejects, self._may_replace(files.rejects))
        stack.callback(self.rejects.abort)

    def write(self, cleaned: CleanedGroup) -> None:
        for row in decision_rows(cleaned):
            self._decisions.write(row)
        if not cleaned.dropped:
            self.groups.write(cleaned.cleaned)

    def publish(self, content: dict[str, Any]) -> None:
        """Put every file in its place, the cleaned groups last: they are there only when all of it is."""
        self._summary.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        outputs: list[Output] = [self.rejects, self._decisions, self._summary, self.groups]
        for output in outputs:
            output.prepare()
        files = self._files
        with AtomicFile(files.journal, overwrite=True) as journal:
            journal.write(orjson.dumps([str(p) for p in (files.rejects, files.decisions, files.summary, files.output)]))
        for output in outputs:
            output.publish()
        files.journal.unlink(missing_ok=True)

    def _may_replace(self, path: str | Path) -> bool:
        return self._replaceable is None or str(path) in self._replaceable


def _journalled(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return frozenset()
