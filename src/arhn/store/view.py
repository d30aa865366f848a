"""A response store as a table."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.table import Table

from arhn.errors import describe_count
from arhn.store import StoreInfo


def store_view(info: StoreInfo) -> RenderableType:
    """What a response store holds, by model and by run."""
    models = Table(
        title=f"{describe_count(info.answers, 'answer')}, {info.unused:,} of them not used since the last finished "
        f"run; {info.bytes / 1e6:,.1f} MB on disk"
    )
    for column in ("model", "answers", "MB"):
        models.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for model in info.models:
        models.add_row(model.model, f"{model.answers:,}", f"{model.bytes / 1e6:,.1f}")
    runs = Table(title="Runs")
    for column in ("started", "arhn", "hits", "new answers"):
        runs.add_column(column, justify="right" if column in ("hits", "new answers") else "left")
    for run in info.runs[-10:]:
        started = datetime.fromtimestamp(run.started).astimezone().isoformat(" ", "seconds")
        runs.add_row(started, run.version, f"{run.hits:,}", f"{run.answers:,}")
    return RenderGroup(models, runs)
