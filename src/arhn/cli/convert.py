"""`arhn convert`: groups in another format."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, FromFormat, Groups, Output, Overwrite, Rejects, Split, ToFormat, make_console
from arhn.errors import describe_count
from arhn.files.rows import cut


def convert(
    source: Groups,
    output: Output,
    from_format: FromFormat = None,
    to: ToFormat = None,
    split: Split = None,
    on_bad_row: Annotated[
        Literal["fail", "skip"], typer.Option("--on-bad-row", help="At a row that is no group.", rich_help_panel=FILES)
    ] = "fail",
    rejects: Rejects = None,
    overwrite: Overwrite = False,
) -> None:
    """Write groups in another format."""
    from arhn.formats import detect
    from arhn.formats.convert import convert as write
    from arhn.formats.reading import BLANK

    found = detect(source, split=split, format=from_format, skip_bad_rows=on_bad_row == "skip")
    target = to or found.format
    done = write(found, output, target, rejects=rejects, on_bad_row=on_bad_row, overwrite=overwrite)
    out = make_console()
    out.print(f"{describe_count(done.written, 'group')}: {found.format} to {target}")
    for what, count in sorted(done.losses.items()):
        why = "left out" if what == BLANK else f"{target} can't hold"
        out.print(f"  {why}: {cut(what)} ({count})", soft_wrap=True)
    if done.rejected:
        out.print(f"  {describe_count(done.rejected, 'row')} rejected: {done.rejects}", soft_wrap=True)


command = make_command(convert)
