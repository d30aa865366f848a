"""What `arhn mine` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from arhn.errors import describe_count
from arhn.mine.rules import Fate

#: How the table names each fate.
_LABELS = {
    Fate.CHOSEN: "chosen",
    Fate.SPARE: "not needed",
    Fate.SKIPPED: "skipped by the range",
    Fate.BLANK: "without a text",
    Fate.EQUALS_POSITIVE: "with the text of a positive",
    Fate.FILTERED: "filtered by cleaning before",
    Fate.DUPLICATE: "with the text of a candidate before",
    Fate.MAX_SCORE: "above max-score",
    Fate.MIN_SCORE: "below min-score",
    Fate.ABSOLUTE_MARGIN: "inside absolute-margin",
    Fate.RELATIVE_MARGIN: "inside relative-margin",
}


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the tables at the end of a run.

    Args:
        summary: what `arhn.mine.job.run` returns.
    """
    console.print(_table(summary))
    queries, passages = summary["queries"], summary["passages"]
    counts = {
        "with fewer negatives than wanted": queries["fewer_negatives"],
        "left out, no negative": queries["without_negatives"],
        "left out, no positive with a text": queries["without_positive"],
        "positives without a text left out": passages["blank_positives"],
        **{f"left out: {what}": n for what, n in summary["dropped"].items()},
        **{f"left out, the format can't hold it: {what}": n for what, n in summary["losses"].items()},
    }
    notes = "".join(f"; {n} {what}" for what, n in counts.items() if n)
    console.print(
        f"{describe_count(queries['read'], 'query')}, {describe_count(queries['written'], 'group')} written{notes}",
        soft_wrap=True,
    )
    judged = passages["judged_negatives"]
    console.print(
        f"{describe_count(passages['positives'], 'positive')}, {describe_count(passages['negatives'], 'negative')}"
        + (f", {judged} of them judged not relevant" if judged else ""),
        soft_wrap=True,
    )


def _table(summary: Mapping[str, Any]) -> Table:
    table = Table(title=f"Candidates: {', '.join(summary['retrievers'])}", title_justify="left")
    table.add_column("")
    table.add_column("passages", justify="right")
    table.add_column("share", justify="right")
    total = sum(summary["candidates"].values())
    for fate, label in _LABELS.items():
        count = summary["candidates"][fate.value]
        if count or fate is Fate.CHOSEN:
            table.add_row(label, f"{count:,}", f"{count / total:.1%}" if total else "–")
    table.add_section()
    never = summary["never_candidates"]
    table.add_row("never candidates: labelled positives", f"{never['positives']:,}", "")
    if never["identical"]:
        table.add_row("never candidates: the query's own id", f"{never['identical']:,}", "")
    return table
