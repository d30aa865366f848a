"""`arhn agree`: two sets of judgements of the same groups."""

from __future__ import annotations

from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import JsonFile, Overwrite, make_console, make_count_option


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="Decisions of 'arhn clean' or its output, gold labels, or an LLM's verdicts.", show_default=False
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            help="The same; precision and recall are A's against gold labels or verdicts here.", show_default=False
        ),
    ],
    show: Annotated[int, make_count_option("--show", "Groups that are shown.")] = 20,
    json: JsonFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare decisions with others, gold labels or verdicts."""
    from arhn.agree.agreement import agree
    from arhn.agree.view import agreement_view

    found = agree(a, b, json=json, overwrite=overwrite)
    out = make_console()
    out.print(agreement_view(found, show=show))
    if json:
        out.print(str(json), soft_wrap=True)


command = make_command(compare)
