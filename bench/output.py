"""How every bench shows and keeps its numbers."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from arhn import __version__

Row = Mapping[str, Any]


def show(title: str, rows: Sequence[Row]) -> None:
    """One table: a metric a line, a row of `rows` a column (its `name` is the heading)."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for row in rows:
        table.add_column(str(row["name"]), justify="right")
    for metric in dict.fromkeys(metric for row in rows for metric in row if metric != "name"):
        table.add_row(metric, *(_number(row.get(metric)) for row in rows))
    Console(width=max(80, 44 + 24 * len(rows))).print(table)


def show_lines(title: str, rows: Sequence[Row]) -> None:
    """One table: a row of `rows` a line, a metric a column; for many rows."""
    table = Table(title=title, title_justify="left")
    metrics = list(dict.fromkeys(metric for row in rows for metric in row))
    for metric in metrics:
        table.add_column("" if metric == "name" else metric, justify="left" if metric == "name" else "right")
    for row in rows:
        table.add_row(*(_number(row.get(metric)) for metric in metrics))
    Console(width=max(80, 30 + 11 * len(metrics))).print(table)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write(path: Path, bench: str, settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """The table as JSON, with what it was measured with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "bench": bench,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "arhn": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "settings": dict(settings),
        "rows": [dict(row) for row in rows],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
