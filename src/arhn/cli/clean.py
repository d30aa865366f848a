"""`arhn clean`: groups in, cleaned groups out."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn.cli.app import ANSWERS_STORED, advise_after_interrupt, make_command
from arhn.cli.flags.common import Groups, Output, Overwrite, make_console, make_error_console
from arhn.cli.flags.settings import CLEAN, read_settings
from arhn.config.opening import open_models
from arhn.config.settings import RunConfig
from arhn.config.values import Values
from arhn.errors import NothingLeft, UsageError

if TYPE_CHECKING:
    from arhn.cleaning.run import Files
    from arhn.cleaning.run.tally import Progress

_PARTITIONS = "Every finished partition is kept; the same command goes on from there"


def clean(source: Groups, output: Output, values: Values, overwrite: Overwrite = False) -> None:
    """Clean groups: relabel and filter their false negatives."""
    from arhn.cleaning import run as job
    from arhn.cleaning.run import calibration_notes, closing_words, failures
    from arhn.cleaning.run import view as display
    from arhn.files import remote

    config = read_settings("clean", values)
    given = config.files.model_dump(include={"decisions", "summary", "rejects", "failures"})
    if remote.is_url(output) and config.cluster.address is None and config.store is None:
        raise UsageError(
            "--store: the output goes to an object store, the LLM's answers can't. Give a file on this machine"
        )
    with job.placed(output, overwrite=overwrite, store=config.store, **given) as files:
        inputs = _find_inputs(values, files)
        content, progress = _clean(source, files, config, inputs, overwrite=overwrite)
    out = make_console()
    for line in closing_words.describe_nothing(content):
        out.print(line, soft_wrap=True, markup=False)
    display.print_tables(out, content)
    out.print(closing_words.examples_view(progress.examples.found, content))
    out.print(closing_words.describe_changes(content), soft_wrap=True)
    triage = closing_words.describe_triage(content)
    for line in (*([triage] if triage else []), *calibration_notes.describe_calibrations(content)):
        out.print(line, soft_wrap=True, markup=False)
    # What there is only if it holds something.
    others = [name for what in ("rejects", "failures") if (name := content["files"][what])]
    written = [files.urls.get(what) or str(getattr(files, what)) for what in ("output", "decisions", "summary")]
    for path in (*written, *others):
        out.print(path, soft_wrap=True)
    if not files.urls:
        for line in closing_words.list_next_steps(output):
            out.print(line, soft_wrap=True)
    failures.require_few(content, config.max_failures)
    if not content["groups"]["written"]:
        raise NothingLeft("no group is left in the output; the decisions say why", path=source)


def _find_inputs(values: Values, files: Files) -> dict[str, Path]:
    """The files that are read besides the groups. A summary gives the settings of its run, which may replace it."""
    found = values.files
    if values.config is not None and values.config.suffix == ".json" and _is_same(values.config, files.summary):
        del found["--config"]
    return found


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _clean(
    source: str, files: Files, config: RunConfig, inputs: dict[str, Path], *, overwrite: bool
) -> tuple[dict[str, Any], Progress]:
    from arhn.cleaning import run as job
    from arhn.cleaning.run import tally
    from arhn.cleaning.run import view as display
    from arhn.files import remote

    progress = tally.Progress()
    cleaning = job.Job(
        input=remote.local_path(source),
        files=files,
        inputs=inputs,
        config=config.cleaning,
        whole=config.record,
        format=config.files.format,
        to=config.files.to,
        split=config.files.split,
        scores=config.files.scores,
        limit=config.files.limit,
        on_bad_row=config.files.on_bad_row,
        overwrite=overwrite,
    )
    total = job.count(cleaning)
    models = partial(open_models, config)
    with display.show_progress(make_error_console(), progress, total) as on_group:
        if config.cluster.address is None:
            return job.run(cleaning, models, progress=progress, on_group=on_group), progress
        from arhn.cluster import run as on_cluster

        # Ray prints what happens to workers, whatever its settings for logs are.
        with advise_after_interrupt(_PARTITIONS), redirect_stdout(sys.stderr):
            content = on_cluster.run(cleaning, config.cluster, models, progress=progress, on_group=on_group)
            return content, progress


command = make_command(clean, resumes=ANSWERS_STORED, flags=CLEAN)
