"""`arhn models`: the named models."""

from __future__ import annotations

from typing import Literal

from arhn.cli.app import made
from arhn.cli.flags.common import console
from arhn.weights.table import ModelFile


def models() -> None:
    """List the named models."""
    from rich.table import Table

    from arhn import weights

    table = Table()
    for column in ("name", "for", "size", "licence", "from", "fetched"):
        justify: Literal["left", "right"] = "right" if column == "size" else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in {"for", "size"})
    for row in weights.listing():
        name = f"{row.model.name} (starter)" if row.starter else row.model.name
        table.add_row(
            name,
            "--model",
            f"{row.model.size / 1e6:,.0f} MB",
            row.model.licence,
            _origin(row.model),
            str(row.path) if row.fetched else "no",
        )
    for model in weights.EMBEDDING_MODELS.values():
        found = weights.find_embedding_files(model)
        table.add_row(
            model.name,
            "--similarity",
            f"{model.size / 1e6:,.0f} MB",
            model.licence,
            _origin(model.graph),
            str(found[0]) if found else "no",
        )
    console().print(table)


def _origin(model: ModelFile) -> str:
    """Where a file comes from: its repository on the hub, or else its packages."""
    if model.repo is not None:
        return f"{model.repo}@{(model.revision or '')[:12]}"
    return ", ".join(model.mirror.packages) if model.mirror else ""


command = made(models)
