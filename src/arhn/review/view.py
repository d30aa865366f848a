"""What `arhn review` shows on the terminal."""

from __future__ import annotations

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from arhn.review.findings import Outcome, list_lines, list_tables


def outcome_view(outcome: Outcome) -> RenderableType:
    """Answers by action, estimates, agreement, threshold."""
    parts: list[RenderableType] = []
    for found in list_tables(outcome):
        table = Table(title=found["caption"], title_justify="left")
        for i, column in enumerate(found["columns"]):
            table.add_column(column, justify="right" if i else "left")
        for row in found["rows"]:
            table.add_row(*row)
        parts.append(table)
    return RenderGroup(*parts, *map(Text, list_lines(outcome)))
