"""`arhn push`: a cleaned data set to the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.card import About
from arhn.cli.flags.common import make_console


def upload(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    repository: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the data set on the hub: me/cleaned.", show_default=False)
    ],
    about: About,
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; private unless given.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show all that would be uploaded, and upload nothing.")
    ] = False,
) -> None:
    """Upload a cleaned data set to the Hugging Face hub."""
    from arhn.card import pushing
    from arhn.card.job import Card, read_card
    from arhn.texts.foreign import make_line, make_visible

    pushing.check_name(repository)
    card = read_card(
        Card(
            output=output,
            title=about.title,
            license=about.license,
            languages=tuple(about.languages or ()),
            review=about.review,
        )
    )
    uploads = pushing.list_uploads(output, card)
    out = make_console()
    for each in uploads:
        out.print(f"{make_line(each.place)}: {each.size:,} bytes", soft_wrap=True)
    if dry_run:
        out.print(f"\nREADME.md:\n\n{make_visible(card)}", soft_wrap=True)
        kind = "public" if public else "private"
        out.print(
            f"Nothing was uploaded. Without --dry-run it goes to {repository}, {kind} if it is new", soft_wrap=True
        )
        return
    out.print(pushing.push(repository, uploads, public=public), soft_wrap=True)


command = make_command(upload)
