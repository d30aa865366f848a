"""`arhn.clean`: a data set in, a cleaned one of the same kind out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn.api.kinds import ARROW, Kind, find_kind
from arhn.api.options import Model, place_store, read_options
from arhn.api.result import CleanedData
from arhn.api.run_folder import RunFolder
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, OnGroup, failures, run
from arhn.cleaning.run.finished import FinishedRun, open_run
from arhn.cleaning.run.tally import Progress
from arhn.config.opening import open_models, open_similarity
from arhn.config.settings import RunConfig
from arhn.errors import DataError, UsageError
from arhn.formats import FORMATS, detect

_ON_COMMAND_LINE, _HERE = "--on-bad-row skip", 'on_bad_row="skip"'


def clean(
    data: Any,
    model: Model | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    config: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> CleanedData:
    """Clean a data set: relabel and filter the false negatives of its groups, as `arhn clean` does.

    Columns are recognised as those of files (docs/formats.md); others are carried over. Every answer of the LLM is kept
    in the user's cache, so that a second call asks nothing. Also works where an event loop runs (notebooks).

    Args:
        data: a Dataset, IterableDataset or DatasetDict of `datasets`, a pandas or polars frame, an Arrow table, a list
            of dicts, or the path of a file as `arhn clean` reads it. Isn't changed.
        model: the LLM: a name that `arhn models` lists, a GGUF file, the URL of a server; an open engine, or
            `arhn.Models`, which stay open. The starter model unless given.
        output: where the cleaned groups go as a file, its records beside it; for a path only, where it is needed.
        overwrite: whether files that are there may be replaced.
        config: a TOML file of settings, or the summary of a run; `settings` come over it.
        progress: whether a bar shows how far it has come.
        settings: the keys of a config file (docs/settings.md), tables as dicts: `mode="F"`, `ranker={"name": "pivot"}`;
            and `format`, `to`, `split`, `scores`, `limit` (groups), `on_bad_row` of its table `files`.

    Returns:
        The cleaned data and the decisions. Nothing of it is there if an error is raised, but no answer is lost.

    Raises:
        UsageError: data of another kind, an unknown setting, or a value that it can't have.
        DataError: rows that are no groups; the message names row and field, or the columns that are expected.
        StoreLocked: another call uses the same answers; name another file with `store`.
        TooManyFailures: more requests than `max_failures` got no answer.
        ArhnError: see errors.py.
    """
    options = read_options(model, config, settings)
    with ExitStack() as stack:
        opener = _Opener(options, model, stack)
        store = place_store(options, model)
        call = _Call(options=options, models=opener.open, store=store, named=opener.named, progress=progress)
        if isinstance(data, str | os.PathLike):
            if output is None:
                raise UsageError("output: where is the cleaned file to go? Give output=, such as 'cleaned.jsonl'")
            return _clean_file(call, data, output, overwrite=overwrite)
        if output is not None:
            raise UsageError("output: only with the path of a file. Save the result's data instead")
        folder = RunFolder()
        if _is_of_splits(data):
            return _clean_splits(call, data, folder)
        if options.files.split is not None:
            raise UsageError(f"split: these data have no splits. Leave {options.files.split!r} out")
        kind = find_kind(data)
        cleaned = _clean_data(call, data, kind, folder, "")
        return _gather(kind, folder, cleaned.data, cleaned.summary, {"": cleaned.run})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What is the same for all splits. `named`: the settings name the models, so that they can be run again."""

    options: RunConfig
    models: Callable[[ExitStack], Models]
    store: Path
    named: bool
    progress: bool

    def make_job(self, path: str, files: Files, *, overwrite: bool = False, split: str | None = None) -> Job:
        """A run on a file."""
        options = self.options
        return Job(
            input=path,
            files=files,
            config=options.cleaning,
            whole=options.record if self.named else None,
            format=options.files.format,
            to=options.files.to,
            split=split,
            scores=options.files.scores,
            limit=options.files.limit,
            on_bad_row=options.files.on_bad_row,
            overwrite=overwrite,
        )

    def run(self, job: Job, total: int | None, title: str) -> dict[str, Any]:
        """Run it; raises as `run`, and TooManyFailures."""
        progress = Progress()
        with _show_progress(progress, total, title or "groups", shown=self.progress) as on_group:
            content = run(job, self.models, progress=progress, on_group=on_group)
        failures.require_few(content, self.options.max_failures)
        return content


class _Opener:
    """Opens the models once, for all splits; they are closed with the stack unless they were open before."""

    def __init__(self, options: RunConfig, model: Model | None, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack
        self.named = model is None or isinstance(model, str | os.PathLike)
        self._models: Models | None = None
        if isinstance(model, Models):
            self._models = model
        elif model is not None and not isinstance(model, str | os.PathLike):
            if not hasattr(model, "complete"):
                expected = "a name, a file, a URL, an engine or arhn.Models"
                raise UsageError(f"model: expected {expected}, found {type(model).__name__}")
            self._models = Models(engine=model, similarity=open_similarity(options.similarity))

    def open(self, _: ExitStack) -> Models:
        """The models."""
        if self._models is None:
            self._models = open_models(self._options, self._stack)
        return self._models


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cleaned:
    data: Any
    summary: Mapping[str, Any]
    run: FinishedRun


def _clean_file(
    call: _Call, data: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool
) -> CleanedData:
    files = Files.beside(os.fspath(output), store=call.store)
    job = call.make_job(os.fspath(data), files, overwrite=overwrite, split=call.options.files.split)
    with _name_data(None, "the file"):
        content = call.run(job, call.options.files.limit, "groups")
    return CleanedData(data=output, summary=content, _runs={"": open_run(os.fspath(output), "diff")}, _kind=ARROW)


def _clean_data(call: _Call, data: Any, kind: Kind, folder: RunFolder, split: str) -> _Cleaned:
    # A split may be called anything.
    place = folder.path / f"{len(list(folder.path.iterdir()))}"
    place.mkdir()
    name = f"{kind.name}, split {split}" if split else kind.name
    source, output = place / f"input{kind.suffix}", place / f"cleaned{kind.suffix}"
    rows = kind.write(data, source, _limit_rows(call.options, data))
    files = Files.beside(str(output), store=call.store)
    with _name_data(source, name):
        job = call.make_job(str(source), files)
        content = call.run(job, _count_groups(job, rows), split)
    cleaned = kind.read(output, data)
    return _Cleaned(data=cleaned, summary=content, run=open_run(str(output), "diff"))


def _gather(
    kind: Kind, folder: RunFolder, data: Any, summary: Mapping[str, Any], runs: Mapping[str, FinishedRun]
) -> CleanedData:
    if kind.on_disk:
        folder.keep_until_exit()
    return CleanedData(data=data, summary=summary, _runs=runs, _kind=kind, _folder=folder)


def _clean_splits(call: _Call, data: Any, folder: RunFolder) -> CleanedData:
    """All splits of a dictionary of data sets, or the one that is named; others stay as they are."""
    wanted = call.options.files.split
    if wanted is not None and wanted not in data:
        raise UsageError(f"split: name one of {', '.join(data)}, not {wanted}")
    found = {
        name: _clean_data(call, part, find_kind(part), folder, name)
        for name, part in data.items()
        if wanted in (None, name)
    }
    if not found:
        raise UsageError("data: a dictionary of no data sets. Give one with a split")
    cleaned = type(data)({name: found[name].data if name in found else part for name, part in data.items()})
    summary = {name: each.summary for name, each in found.items()}
    kind = find_kind(next(iter(data.values())))
    return _gather(kind, folder, cleaned, summary, {name: each.run for name, each in found.items()})


def _is_of_splits(data: object) -> bool:
    library = sys.modules.get("datasets")
    return library is not None and isinstance(data, library.DatasetDict | library.IterableDatasetDict)


def _limit_rows(options: RunConfig, data: Any) -> int | None:
    """How many rows are enough, so that of a stream no more is drawn than is cleaned."""
    limit, named = options.files.limit, options.files.format
    columns = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if limit is None or options.files.on_bad_row == "skip" or (named is None and columns is None):
        return None
    from arhn.formats.detection import find_format

    found = named or find_format(dict.fromkeys(map(str, columns or ())))
    return limit if found is not None and FORMATS.get(found).ROW_IS_GROUP else None


def _count_groups(job: Job, rows: int) -> int | None:
    source = detect(job.input, format=job.format, skip_bad_rows=job.on_bad_row == "skip")
    if not FORMATS.get(source.format).ROW_IS_GROUP:
        return job.limit
    return rows if job.limit is None else min(rows, job.limit)


@contextmanager
def _name_data(path: Path | None, name: str) -> Iterator[None]:
    """Errors name the data that were given, not a file that the caller has never seen."""
    try:
        yield
    except DataError as error:
        if path is not None and error.path == str(path):
            error.path = name if error.line is None else f"{name}, row {error.line} (the first is 1)"
            error.line = None
        error.advice = error.advice.replace(_ON_COMMAND_LINE, _HERE)
        raise


@contextmanager
def _show_progress(progress: Progress, total: int | None, title: str, *, shown: bool) -> Iterator[OnGroup]:
    """A bar, in a notebook one of its own; yields what to call per group."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=title, unit=" groups", disable=not shown) as bar:

        def show(_: Progress) -> None:
            if bar.update(1):
                bar.set_postfix(calls=progress.stats.total.asked, reused=progress.stats.total.reused, refresh=False)

        yield show


__all__ = ["clean"]
