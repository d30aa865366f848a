"""`arhn review`: a person checks a sample of a run's decisions on a local page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, make_console, make_count_option

_STOPS = "Every answer is kept; the same command goes on from there"


def review(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    sample: Annotated[int, make_count_option("--sample", "Passages to ask about. Default: 100.")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the sample.")] = 0,
    active: Annotated[
        bool, typer.Option("--active", help="The least certain passages first, in place of a random sample.")
    ] = False,
    answers: Annotated[
        int, make_count_option("--answers", "Answers a passage should get, each from another person. Default: 1.")
    ] = 1,
    precision: Annotated[
        float, typer.Option("--precision", min=0, max=1, metavar="X", help="The one to find a threshold for.")
    ] = 0.9,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Of the page; 0: any that is free.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the page's address.")] = False,
    results: Annotated[bool, typer.Option("--results", help="Show the results so far, and no page.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="The answers; beside the output unless given.", rich_help_panel=FILES),
    ] = None,
    guideline: Annotated[
        Path | None,
        typer.Option("--guideline", help="The team's; beside the output unless given.", rich_help_panel=FILES),
    ] = None,
) -> None:
    """Check a sample of decisions yourself on a local page."""
    from arhn.review import job
    from arhn.review.view import outcome_view

    wanted = job.Review(
        output=output,
        file=file,
        guideline=guideline,
        sample=sample,
        seed=seed,
        active=active,
        answers=answers,
        precision=precision,
        port=port,
    )
    out = make_console()

    def start(address: str) -> None:
        out.print(f"The page, on this machine only: {address}", soft_wrap=True)
        out.print("Ctrl-C ends it and shows the results. Every answer is on the disk before the next passage is shown.")
        if not no_browser:
            webbrowser.open(address)

    with job.open_session(wanted) as session:
        if not results:
            job.serve(wanted, session, start)
        out.print(outcome_view(session.find_outcome()))
        out.print(str(wanted.place), soft_wrap=True)


command = make_command(review, resumes=_STOPS)
