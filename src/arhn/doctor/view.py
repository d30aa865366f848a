"""What a person sees of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from arhn.doctor.checks import Check
from arhn.texts.foreign import make_line

_MARKS = {"ok": "yes", "absent": "no", "broken": "BROKEN"}


def checks_view(checks: Sequence[Check]) -> Table:
    """A row for each check."""
    table = Table()
    for column in ("what", "usable", "found", "to mend it"):
        table.add_column(column, overflow="fold")
    for check in checks:
        cells = (f"{check.area}: {check.name}", _MARKS[check.state], check.found, check.mend)
        table.add_row(*(Text(make_line(cell)) for cell in cells), style="bold" if check.state == "broken" else None)
    return table


__all__ = ["checks_view"]
