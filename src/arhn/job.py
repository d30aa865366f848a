"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import orjson

from arhn import store
from arhn.config import CleanConfig
from arhn.engines import Engine
from arhn.errors import OutputLocked, OutputNotWritable, UsageError
from arhn.formats import (
    AtomicFile,
    Format,
    GroupWriter,
    JsonlFile,
    JsonlIfAny,
    OnBadRow,
    Output,
    Reject,
    Source,
    detect,
    read,
)
from arhn.locks import locked
from arhn.loops import LoopThread
from arhn.methods.choose import Models
from arhn.pipeline import clean
from arhn.records import Progress, decision_rows, summary
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
    failures: Path
    store: Path

    @classmethod
    def beside(cls, output: str, **given: Path | None) -> Files:
        """For `dir/cleaned.jsonl.gz`: `dir/cleaned.decisions.jsonl`, `dir/cleaned.summary.json` and so on.

        Raises:
            UsageError: a path that doesn't end in a name.
            OutputNotWritable: a data set on the hub.
        """
        if "://" in output:
            raise OutputNotWritable(f"{output}: data sets on the hub are only read; write a file or folder")
        place = Path(output)
        for path in (place, *filter(None, given.values())):
            if path.name in ("", ".."):
                raise UsageError(f"{str(path)!r}: has no file name to write to. Name a file")
        stem = place.name
        for suffix in _SUFFIXES:
            stem = stem.removesuffix(suffix)
        names = {"decisions": "jsonl", "summary": "json", "rejects": "jsonl", "failures": "jsonl", "store": "sqlite"}
        paths = {
            what: given.get(what) or place.with_name(f"{stem}.{'responses' if what == 'store' else what}.{ending}")
            for what, ending in names.items()
        }
        return cls(output=output, **paths)

    @property
    def flags(self) -> dict[str, str | Path]:
        """The files by the flags that name them."""
        return {
            "--output": self.output,
            "--decisions": self.decisions,
            "--summary": self.summary,
            "--rejects": self.rejects,
            "--failures": self.failures,
            "--store": self.store,
        }

    @property
    def journal(self) -> Path:
        """There while a run publishes; names what it publishes."""
        place = Path(self.output)
        return place.with_name(f".{place.name}.publishing")

    @property
    def locks(self) -> tuple[Path, ...]:
        """One lock file per output, in an order that is the same for every run."""
        written = (self.output, self.decisions, self.summary, self.rejects, self.failures)
        places = {Path(os.path.realpath(p)) for p in written}
        return tuple(place.with_name(f".{place.name}.lock") for place in sorted(places))


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


OnGroup = Callable[[Progress], None]


def run(
    job: Job,
    open_models: Callable[[ExitStack], Models],
    *,
    progress: Progress | None = None,
    on_group: OnGroup | None = None,
) -> dict[str, Any]:
    """Clean a file. Everything that can be wrong with the files is found before a model is loaded.

    Args:
        open_models: called once the outputs are known to be possible; what it opens it hands to the stack.
        on_group: called after each group.

    Returns:
        The content of summary.json.

    Raises:
        ArhnError: see errors.py; no output has appeared then, and no answer is lost.
    """
    require_apart(job.input, job.files.flags)
    source = detect(job.input, split=job.split, format=job.format, skip_bad_rows=job.on_bad_row == "skip")
    with ExitStack() as stack:
        for lock in job.files.locks:
            stack.enter_context(locked(lock, lambda: _busy(job)))
        store.check(job.files.store)
        outputs = _Outputs(job, source, stack)
        models = open_models(stack)
        names = [engine.model for engine in models.engines] or [job.config.method.value]
        answers = stack.enter_context(SqliteStore(job.files.store, model=names[0]))
        return _run(job, source, outputs, models, answers, progress or Progress(), on_group)


def close(engine: Engine) -> None:
    """Close an engine from code that isn't asynchronous."""
    with LoopThread() as loop:
        loop.run(engine.aclose)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What `convert` did: groups written, what the format couldn't hold, rows rejected and where those are."""

    written: int
    losses: Mapping[str, int]
    rejected: int
    rejects: Path


def convert(
    source: Source,
    output: str,
    to: Format,
    *,
    rejects: Path | None = None,
    on_bad_row: OnBadRow = "fail",
    overwrite: bool = False,
) -> Converted:
    """Write a source's groups in another format; nothing appears unless all of it is written.

    Raises:
        DataError, OutputError, UsageError: see errors.py.
    """
    place = Files.beside(output, rejects=rejects).rejects
    require_apart(source.path, {"--output": output, "--rejects": place})
    with (
        GroupWriter(output, to, like=source, overwrite=overwrite) as writer,
        JsonlIfAny(place, overwrite=overwrite) as rejected,
    ):
        for group in read(source, on_bad_row=on_bad_row, rejects=rejected.add, require_negatives=False):
            writer.write(group)
    return Converted(written=writer.written, losses=writer.losses, rejected=rejected.count, rejects=place)


def count(job: Job) -> int | None:
    """How many groups a job will read, for a display: None where it can't be told from the number of rows."""
    source = detect(job.input, split=job.split, format=job.format, skip_bad_rows=job.on_bad_row == "skip")
    if source.format in (Format.TRIPLET, Format.NTUPLE) or "://" in source.path:
        return job.limit
    return sum(1 for _ in islice(source.records(), job.limit))


def require_apart(source: str, outputs: Mapping[str, str | Path]) -> None:
    """Refuse what would replace the input or another output, whatever may be overwritten; and names that the
    records of a run, which are JSON, can't hold.

    Args:
        outputs: by the flags that name them.
    """
    paths = {**outputs} if "://" in source else {"the input": source, **outputs}
    for what, path in paths.items():
        if not _is_unicode(path):
            raise UsageError(f"{what} {str(path)!r}: the name isn't UTF-8. Rename it")
    real = {what: Path(os.path.realpath(path)) for what, path in paths.items()}
    for what, other in permutations(paths, 2):
        if what in outputs and real[other].is_relative_to(real[what]):
            raise UsageError(f"{what} {paths[what]}: would replace {other}, {paths[other]}. Name another place")


def _is_unicode(path: str | Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _busy(job: Job) -> OutputLocked:
    return OutputLocked(
        f"{job.files.output}: another arhn process is writing it. Wait for it to end, or write elsewhere"
    )


def _run(
    job: Job,
    source: Source,
    outputs: _Outputs,
    models: Models,
    answers: SqliteStore,
    progress: Progress,
    on_group: OnGroup | None,
) -> dict[str, Any]:
    started = time.monotonic()
    groups = _groups(job, source, outputs, progress)
    stream = clean(
        groups,
        engine=models.engine,
        flagger=models.flagger,
        similarity=models.similarity,
        config=job.config,
        store=answers,
        stats=progress.stats,
        on_failure=outputs.failures.add,
    )
    with closing(stream):
        for cleaned in stream:
            outputs.write(cleaned)
            progress.tally.add(cleaned)
            progress.seconds = time.monotonic() - started
            if on_group is not None:
                on_group(progress)
    content = summary(
        progress,
        job.config,
        models,
        written=outputs.groups.written,
        settings={"limit": job.limit, "context": max((e.capabilities.context for e in models.engines), default=None)},
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
        "failures": str(files.failures.resolve()) if outputs.failures.count else None,
        "store": str(files.store.resolve()),
    }


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
        self.rejects = JsonlIfAny(files.rejects, overwrite=self._may_replace(files.rejects))
        stack.callback(self.rejects.abort)
        self.failures = JsonlIfAny(files.failures, overwrite=self._may_replace(files.failures))
        stack.callback(self.failures.abort)

    def write(self, cleaned: CleanedGroup) -> None:
        for row in decision_rows(cleaned):
            self._decisions.write(row)
        if not cleaned.dropped:
            self.groups.write(cleaned.cleaned)

    def publish(self, content: dict[str, Any]) -> None:
        """Put every file in its place, the cleaned groups last: they are there only when all of it is."""
        self._summary.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        outputs: list[Output] = [self.rejects, self.failures, self._decisions, self._summary, self.groups]
        for output in outputs:
            output.prepare()
        files = self._files
        with AtomicFile(files.journal, overwrite=True) as journal:
            published = (files.rejects, files.failures, files.decisions, files.summary, files.output)
            journal.write(orjson.dumps([_real(p) for p in published]))
        try:
            for output in outputs:
                output.publish()
        except Exception:
            # The journal is for a process that was stopped: what fails in a living one is told, and nothing is
            # replaced without being asked for.
            files.journal.unlink(missing_ok=True)
            raise
        files.journal.unlink(missing_ok=True)

    def _may_replace(self, path: str | Path) -> bool:
        return self._replaceable is None or _real(path) in self._replaceable


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


def _journalled(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # none, or not what a run wrote
        return frozenset()
