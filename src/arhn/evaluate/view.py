"""What `arhn evaluate` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arhn.evaluate.measures import MEASURES
from arhn.evaluate.results import Results

_DIGITS = 4


def results_view(results: Results) -> RenderableType:
    """A table with a row for each data set and the averages, and notes that explain the numbers."""
    return Group(_table(results), *map(Text, _notes(results)))


def _table(results: Results) -> Table:
    table = Table(title=f"{results.model.name}", title_justify="left")
    for column in ("data set", "queries", *MEASURES, "domain"):
        table.add_column(column, justify="left" if column in ("data set", "domain") else "right", overflow="fold")
    outside = results.out_of_domain
    for d in results.datasets:
        domain = "?" if outside is None else "out" if d.name in outside else "in"
        table.add_row(d.name, f"{d.queries:,}", *_numbers(d.means), domain)
    table.add_section()
    if len(results.datasets) > 1:
        table.add_row(f"average ({len(results.datasets)})", "", *_numbers(results.average), "")
    if (average := results.out_of_domain_average) and len(outside or ()) < len(results.datasets):
        table.add_row(f"out of domain ({len(outside or ())})", "", *_numbers(average), "out")
    return table


def _numbers(values: Mapping[str, float]) -> list[str]:
    return [f"{values[name]:.{_DIGITS}f}" if name in values else "–" for name in MEASURES]


def _notes(results: Results) -> Iterator[str]:
    for d in results.datasets:
        for count, what in (
            (len(d.missing), "queries without a passage in the run, which score 0"),
            (len(d.without_relevant), "queries without a relevant passage, which score 0"),
            (d.identical_relevant, "relevant passages with their query's own id, which can't be found"),
        ):
            if count:
                yield f"{d.name}: {what}: {count:,}"
    trained = results.model.training_sets
    if trained is None:
        yield "Domain unknown: the model's training sets aren't recorded. Name them with --trained-on"
    elif trained:
        yield f"Trained on {', '.join(trained)}"
    if trained and results.model.unnamed:
        yield f"{results.model.unnamed:,} groups of its training name no data set, so more sets may be in its domain"
    deepest = max(MEASURES, key=lambda name: MEASURES[name].depth)
    if results.settings.depth < MEASURES[deepest].depth and results.model.kind != "run":
        yield f"Runs end at rank {results.settings.depth} (--depth), before {deepest} does"
