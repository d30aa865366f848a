"""What `arhn compare` shows."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arhn.compare.comparison import ALPHA, Cell, Comparison, Row

_BETTER, _WORSE = "▲", "▼"
#: Digits of means, as in papers.
_DIGITS = 3


def comparison_view(comparison: Comparison) -> RenderableType:
    """A table of means with marks, one of differences on the averages (or the only data set), and the notes."""
    tables = [_means(comparison)]
    if len(comparison.contenders) > 1:
        tables.append(_differences(comparison))
    return Group(*tables, *map(Text, _notes(comparison)))


def _means(comparison: Comparison) -> Table:
    table = Table(title=comparison.measure, title_justify="left")
    for column in ("data set", "queries", *comparison.contenders):
        table.add_column(column, justify="left" if column == "data set" else "right", overflow="fold")
    for before, row in zip((None, *comparison.rows), comparison.rows, strict=False):
        if before is not None and before.kind == "dataset" != row.kind:
            table.add_section()
        table.add_row(_name(row), f"{row.queries:,}", *map(_mean, row.cells))
    return table


def _differences(comparison: Comparison) -> Table:
    """The differences in the averages, or on the data sets where there is no average."""
    table = Table(title=f"Against {comparison.baseline}", title_justify="left")
    for column in ("", "", "difference", "95% interval", "p", "corrected"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    rows = [row for row in comparison.rows if row.kind != "dataset"] or comparison.rows
    for row in rows:
        for name, cell in zip(comparison.contenders, row.cells, strict=True):
            if cell.difference_interval is not None and cell.p is not None and cell.adjusted is not None:
                low, high = cell.difference_interval
                numbers = (f"{cell.difference:+.4f}", f"{low:+.4f} to {high:+.4f}", _p(cell.p), _p(cell.adjusted))
                table.add_row(_name(row), name, *numbers)
    return table


def _name(row: Row) -> str:
    return row.name if row.kind == "dataset" else f"{row.name} ({len(row.datasets)})"


def _mean(cell: Cell) -> str:
    spread = "" if cell.spread is None else f" ±{cell.spread:.{_DIGITS}f}"
    return f"{cell.mean:.{_DIGITS}f}{spread}{_mark(cell)}"


def _mark(cell: Cell) -> str:
    if cell.difference is None:
        return ""
    return f" {_BETTER if cell.difference > 0 else _WORSE}" if cell.significant else "  "


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _notes(comparison: Comparison) -> Iterator[str]:
    if any(cell.spread is not None for row in comparison.rows for cell in row.cells):
        seeds = {n: len(c.seeds) for n, c in zip(comparison.contenders, comparison.rows[0].cells, strict=True)}
        counts = ", ".join(f"{name} {count}" for name, count in seeds.items())
        yield f"±: standard deviation over seeds ({counts}); the test is over queries, on the mean of the seeds"
    if comparison.comparisons:
        yield (
            f"{_BETTER} better, {_WORSE} worse than {comparison.baseline}: p < {ALPHA:g} in a paired randomisation "
            f"test ({comparison.resamples:,} resamples), after Holm's correction for all {comparison.comparisons} tests"
        )
    yield from (note[0].upper() + note[1:] for note in comparison.notes)
