"""What `arhn evaluate` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arhn.evaluate.measures import MEASURES, RECALL_DEPTH
from arhn.evaluate.results import Results

_DIGITS = 4


def results_view(results: Results) -> RenderableType:
    """A row a data set, the averages, and what has to be known beside the numbers."""
    return Group(_table(results), *map(Text, _notes(results)))


def _table(results: Results) -> Table:
    table = Table(title=f"{results.model.name}", title_justify="left")
    for column in ("data set", "queries", *MEASURES, "domain"):
        table.add_column(column, justify="left" if column in ("data set", "domain") else "right", overflow="fold")
    unseen = results.out_of_domain
    for d in results.datasets:
        domain = "?" if unseen is None else "out" if d.name in unseen else "in"
        table.add_row(d.name, f"{d.queries:,}", *_numbers(d.means), domain)
    table.add_section()
    if len(results.datasets) > 1:
        table.add_row(f"average ({len(results.datasets)})", "", *_numbers(results.average), "")
    if (average := results.out_of_domain_average) and len(unseen or ()) < len(results.datasets):
        table.add_row(f"out of domain ({len(unseen or ())})", "", *_numbers(average), "out")
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
        yield "Domain unknown: nothing says what the model was trained on (--trained-on)"
    elif trained:
        yield f"Trained on {', '.join(trained)}"
    if trained and results.model.unnamed:
        yield f"{results.model.unnamed:,} groups of its training name no data set, and may make more known"
    if results.settings.depth < RECALL_DEPTH and results.model.kind != "run":
        yield f"Runs end at rank {results.settings.depth} (--depth), before recall@{RECALL_DEPTH} does"
