"""`arhn models`: the named models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console
from arhn.weights.table import ModelFile


class _Row(NamedTuple):
    name: str
    option: str
    size: int
    model: ModelFile
    path: Path | None


def models() -> None:
    """List the named models."""
    from rich.table import Table

    rows = list(_list_rows())
    table = Table()
    for column in ("name", "for", "size", "licence", "here"):
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=True)
    for row in rows:
        here = "yes" if row.path else "no"
        table.add_row(row.name, row.option, f"{row.size / 1e6:,.0f} MB", row.model.licence, here)
    out = make_console()
    out.print(table)
    for row in rows:
        place = f", here: {row.path}" if row.path else ""
        out.print(f"{row.name}: from {_origin(row.model)}{place}", soft_wrap=True)


def _list_rows() -> Iterator[_Row]:
    from arhn import weights

    for found in weights.listing():
        name = f"{found.model.name} (starter)" if found.starter else found.model.name
        yield _Row(name, "--model", found.model.size, found.model, found.path if found.fetched else None)
    for model in weights.EMBEDDING_MODELS.values():
        files = weights.find_embedding_files(model)
        yield _Row(model.name, "--similarity", model.size, model.graph, files[0] if files else None)


def _origin(model: ModelFile) -> str:
    """Where a file comes from: its repository on the hub, or else its packages."""
    if model.repo is not None:
        return f"{model.repo}@{(model.revision or '')[:12]}"
    return ", ".join(model.mirror.packages) if model.mirror else ""


command = make_command(models)
