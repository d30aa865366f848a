"""One cleaning run: reads, has the groups cleaned, writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from arhn import store
from arhn.cleaning.auto_calibration import take_first
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.first_groups import describe_families, open_groups
from arhn.cleaning.models import Models, ModelsRecord
from arhn.cleaning.pipeline import assume, clean_groups
from arhn.cleaning.run.elsewhere import PositivesElsewhere, Setter
from arhn.cleaning.run.files import Files
from arhn.cleaning.run.outputs import Outputs
from arhn.cleaning.run.records import summarize
from arhn.cleaning.run.tally import Progress
from arhn.cleaning.run.teacher_scores import Scored
from arhn.cleaning.stats import OnFailure, Stats
from arhn.engines import Engine, find_servers
from arhn.engines.loops import LoopThread
from arhn.errors import NothingLeft
from arhn.files.apart import Named, require_apart
from arhn.formats import FORMATS, OnBadRow, Reject, Source, detect, read
from arhn.store import SqliteStore
from arhn.types import CleanedGroup, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to clean, and how to read and write it. `to` is the output's format, the input's unless given.

    `inputs`: other files that are read, by the flags that name them: no output may replace one. `whole`: all settings
    of the command, as `arhn.config` reads them again; for the summary.
    """

    input: str
    files: Files
    inputs: Named = field(default_factory=dict)
    config: CleanConfig = field(default_factory=CleanConfig)
    whole: Mapping[str, Any] | None = None
    format: str | None = None
    to: str | None = None
    split: str | None = None
    scores: Scored | None = None
    limit: int | None = None
    on_bad_row: OnBadRow = "fail"
    overwrite: bool = False


OnGroup = Callable[[Progress], None]


class Cleaner(Protocol):
    """Who cleans the groups of a run: this process, or a cluster."""

    def clean(self, groups: Iterator[Group], stats: Stats, on_failure: OnFailure) -> Generator[CleanedGroup]:
        """The groups cleaned, in their order; counted in `stats`."""
        ...

    @property
    def config(self) -> CleanConfig:
        """The settings that decided, with the calibrations that the run made itself once it has begun."""
        ...

    @property
    def models(self) -> ModelsRecord:
        """The models that cleaned."""
        ...

    @property
    def answers(self) -> Mapping[str, str]:
        """Where the LLM's answers are stored: a path, by its name in the summary."""
        ...


def run(
    job: Job,
    open_models: Callable[[ExitStack], Models],
    *,
    progress: Progress | None = None,
    on_group: OnGroup | None = None,
) -> dict[str, Any]:
    """Clean a file in this process. Everything that can be wrong with the files is found before a model is loaded.

    Args:
        open_models: called once the outputs are known to be possible; what it opens it hands to the stack.
        on_group: called after each group.

    Returns:
        The content of summary.json.

    Raises:
        ArhnError: see errors.py; no output has appeared then, and no answer is lost.
    """
    return carry_out(job, partial(_open_in_process, open_models), progress=progress, on_group=on_group)


def carry_out(
    job: Job,
    open_cleaner: Callable[[Job, ExitStack], Cleaner],
    *,
    progress: Progress | None = None,
    on_group: OnGroup | None = None,
) -> dict[str, Any]:
    """`run`, with the groups cleaned elsewhere (on a cluster): the same files with the same content.

    Args:
        open_cleaner: called with the job as its first groups have settled it.
    """
    require_apart({"the input": job.input, **job.inputs}, job.files.flags)
    source = _detect(job)
    with ExitStack() as stack:
        to = job.to or source.format
        outputs = Outputs(job.files, to, source, stack, overwrite=job.overwrite, scores=job.scores)
        progress = progress or Progress()
        config, groups = open_groups(_read_groups(job, source, outputs, progress), job.config)
        job = replace(job, config=config, whole=_settle_whole(job.whole, config))
        return _run(job, source, groups, outputs, open_cleaner(job, stack), progress, on_group)


def close(engine: Engine) -> None:
    """Close an engine from code that isn't asynchronous."""
    with LoopThread() as loop:
        loop.run(engine.aclose)


def count(job: Job) -> int | None:
    """How many groups a job will read, for a display; None where the number of rows doesn't give it."""
    source = _detect(job)
    if not FORMATS.get(source.format).ROW_IS_GROUP or "://" in source.path:
        return job.limit
    return sum(1 for _ in islice(source.records(), job.limit))


class _InProcess:
    """Cleans in this process, with a response store on disk."""

    def __init__(self, job: Job, models: Models, answers: SqliteStore) -> None:
        self.config = job.config
        self._models = models
        self._answers = answers

    def clean(self, groups: Iterator[Group], stats: Stats, on_failure: OnFailure) -> Generator[CleanedGroup]:
        first = take_first(groups, self.config)
        with LoopThread() as loop:
            found = assume(first, self._models, config=self.config, store=self._answers, stats=stats)
            self.config = loop.run(lambda: found)
        everything = chain(first, groups)
        yield from clean_groups(
            everything, self._models, config=self.config, store=self._answers, stats=stats, on_failure=on_failure
        )

    @property
    def models(self) -> ModelsRecord:
        return self._models.record

    @property
    def answers(self) -> Mapping[str, str]:
        return {"store": str(self._answers.path.resolve())}


def _settle_whole(whole: Mapping[str, Any] | None, config: CleanConfig) -> Mapping[str, Any] | None:
    """All settings, with the examples that were taken for families of the user's own."""
    if whole is None or not config.family:
        return whole
    return {**whole, **config.model_dump(mode="json", include={"family"})}


def _open_in_process(open_models: Callable[[ExitStack], Models], job: Job, stack: ExitStack) -> Cleaner:
    store.check(job.files.store)
    models = open_models(stack)
    names = [engine.model for engine in models.engines] or [job.config.method]
    servers = " ".join(name for engine in models.engines for name in find_servers(engine))
    answers = stack.enter_context(SqliteStore(job.files.store, model=names[0], server=servers))
    return _InProcess(job, models, answers)


def _detect(job: Job) -> Source:
    return detect(job.input, split=job.split, format=job.format, skip_bad_rows=job.on_bad_row == "skip")


def _run(
    job: Job,
    source: Source,
    groups: Iterator[Group],
    outputs: Outputs,
    cleaner: Cleaner,
    progress: Progress,
    on_group: OnGroup | None,
) -> dict[str, Any]:
    started, progress.started = time.monotonic(), True
    with ExitStack() as stack:
        positives = stack.enter_context(closing(PositivesElsewhere(_read_ahead(job, source))))
        elsewhere = Setter(positives, "filter" if job.config.mode.filters else "relabel")
        stream = cleaner.clean(elsewhere.take_out(groups), progress.stats, outputs.failures.add)
        stack.enter_context(closing(stream))
        for cleaned in elsewhere.put_back(stream):
            progress.elsewhere = elsewhere.count
            outputs.write(cleaned)
            progress.tally.add(cleaned)
            progress.examples.add(cleaned)
            progress.seconds = time.monotonic() - started
            if on_group is not None:
                on_group(progress)
    if not progress.tally.groups:
        raise NothingLeft(f"no group to clean: {progress.rejected} rows are no groups", path=source.path)
    record = cleaner.models
    content = summarize(
        progress,
        cleaner.config,
        record,
        written=outputs.groups.written,
        settings={"limit": job.limit, "context": record.context},
        whole=job.whole,
        families=describe_families(job.config),
        losses=dict(sorted(outputs.groups.losses.items())),
        files={**_describe_files(job, source, outputs, progress), **cleaner.answers},
    )
    outputs.publish(content)
    return content


def _read_groups(job: Job, source: Source, outputs: Outputs, progress: Progress) -> Iterator[Group]:
    def reject(row: Reject) -> None:
        progress.rejected += 1
        outputs.rejects.add(row)

    groups = read(source, on_bad_row=job.on_bad_row, rejects=reject, left_out=progress.left_out)
    return islice(groups, job.limit)


def _read_ahead(job: Job, source: Source) -> Iterator[Group]:
    return islice(read(source, on_bad_row=job.on_bad_row), job.limit)


def _describe_files(job: Job, source: Source, outputs: Outputs, progress: Progress) -> dict[str, Any]:
    files = job.files
    return {
        "input": source.path if "://" in source.path else str(Path(source.path).resolve()),
        "input_format": source.format,
        "split": source.split,
        "output": files.locate("output"),
        "output_format": outputs.groups.format,
        "decisions": files.locate("decisions"),
        "rejects": files.locate("rejects") if progress.rejected else None,
        "failures": files.locate("failures") if outputs.failures.count else None,
    }
