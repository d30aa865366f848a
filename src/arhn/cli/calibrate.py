"""`arhn calibrate`: confidences and thresholds, fitted on labelled groups."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import ANSWERS_STORED, make_command
from arhn.cli.flags.common import (
    FILES,
    FromFormat,
    Overwrite,
    Split,
    make_console,
    make_count_option,
    make_error_console,
)
from arhn.cli.flags.settings import CALIBRATE, read_fitting_settings
from arhn.config.opening import open_models
from arhn.config.values import Values


def fit(
    gold: Annotated[
        Path,
        typer.Argument(
            help="Labels of negatives: a gold file, an LLM's verdicts, or decisions you trust.", show_default=False
        ),
    ],
    groups: Annotated[
        str,
        typer.Argument(help="The groups that they are of, in any format that 'arhn clean' reads.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The calibration, JSON; give it to clean with --calibration.",
            rich_help_panel=FILES,
        ),
    ],
    values: Values,
    from_format: FromFormat = None,
    split: Split = None,
    limit: Annotated[
        int | None, make_count_option("--limit", "Use the first N labelled groups only.", panel=FILES)
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FILE", help="The response store; beside the output unless given.", rich_help_panel=FILES
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a model's confidences and thresholds on labelled groups."""
    from arhn.calibrate import job as labelled
    from arhn.calibrate import view as calibration_view

    config = read_fitting_settings(values)
    fitting = labelled.Fitting(
        gold=gold,
        groups=groups,
        output=output,
        store=store,
        inputs=values.files,
        format=from_format,
        split=split,
        limit=limit,
        overwrite=overwrite,
    )
    with calibration_view.show_progress(make_error_console()) as on_group:
        done = labelled.calibrate(fitting, config.cleaning, partial(open_models, config), on_group=on_group)
    out = make_console()
    for found in done.fits.values():
        out.print(calibration_view.fit_view(found))
    for family, why in done.skipped.items():
        out.print(f"{family}: not calibrated, {why}", soft_wrap=True)
    out.print(str(output), soft_wrap=True)


command = make_command(fit, resumes=ANSWERS_STORED, flags=CALIBRATE)
