"""`arhn models`: the named models."""

from __future__ import annotations

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console


def models() -> None:
    """List the named models."""
    from rich.table import Table

    from arhn import weights

    table = Table()
    for column in ("name", "size", "licence", "from", "fetched"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for row in weights.listing():
        name = f"{row.model.name} (starter)" if row.starter else row.model.name
        source = f"{row.model.repo}@{row.model.revision[:12]}"
        table.add_row(
            name,
            f"{row.model.size / 1e6:,.0f} MB",
            row.model.licence,
            source,
            str(row.path) if row.fetched else "no",
        )
    make_console().print(table)


command = make_command(models)
