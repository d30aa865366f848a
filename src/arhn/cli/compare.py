"""`arhn compare`: several evaluated models in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import JsonFile, Overwrite, make_console, make_count_option
from arhn.libraries import require


def compare(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=]RESULTS...", help="A folder of 'arhn evaluate', or its results.json."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="NAME=RESULTS,...",
            help="Several seeds of one method: their mean, and its spread. May be repeated.",
        ),
    ] = None,
    by_seed: Annotated[
        bool, typer.Option("--by-seed", help="Group models whose training differs in nothing but the seed.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="NAME", help="What the others are held against; the first unless given."),
    ] = None,
    measure: Annotated[
        str, typer.Option("--measure", metavar="NAME", help="nDCG@10, recall@100 or MRR@10.")
    ] = "nDCG@10",
    resamples: Annotated[int, make_count_option("--resamples", "Resamples of the test.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the test.")] = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it there: .png, .svg or .pdf.")
    ] = None,
    json: JsonFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare evaluated models, with paired significance."""
    require("numpy", "numpy", "evaluate")
    from arhn.compare import reports
    from arhn.compare.contenders import find_files, read_contenders
    from arhn.compare.view import comparison_view

    comparison = reports.compare(
        read_contenders(results or [], groups or [], by_seed=by_seed),
        reports.Files(json=json, plot=plot, overwrite=overwrite, inputs=find_files(results or [], groups or [])),
        baseline=baseline,
        measure=measure,
        resamples=resamples,
        seed=seed,
    )
    out = make_console()
    out.print(comparison_view(comparison))
    for path in filter(None, (json, plot)):
        out.print(str(path), soft_wrap=True)


command = make_command(compare)
