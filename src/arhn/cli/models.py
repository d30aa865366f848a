"""`arhn models`: the named models."""

from __future__ import annotations

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console


def models() -> None:
    """List the named models."""
    from rich.table import Table

    from arhn import weights

    table = Table()
    for column in ("name", "size", "licence", "fetched"):
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=column in ("name", "size"))
    listed = weights.listing()
    for row in listed:
        name = f"{row.model.name} (starter)" if row.starter else row.model.name
        table.add_row(name, f"{row.model.size / 1e6:,.0f} MB", row.model.licence, "yes" if row.fetched else "no")
    out = make_console()
    out.print(table)
    for row in listed:
        fetched = f", in {row.path}" if row.fetched else ""
        source = f"{row.model.repo}@{row.model.revision[:12]}"
        out.print(f"{row.model.name}: from {source}{fetched}", soft_wrap=True)


command = make_command(models)
