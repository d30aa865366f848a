"""Shows decisions beside gold labels.

python -m demo.compare DECISIONS.jsonl GOLD.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

GOLD = ("false_negative", "ambiguous", "true_negative")
ACTIONS = ("relabel", "filter", "keep")
SHOWN = 80


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def joined(decisions: Path, gold: Path) -> list[tuple[str, dict[str, Any]]]:
    """(gold label, decision row) of every negative."""
    labels = {(row["query_id"], doc_id): label for row in rows(gold) for doc_id, label in row["labels"].items()}
    return [(labels[key], row) for row in rows(decisions) if (key := (row["query_id"], row["doc_id"])) in labels]


def acted_on(judged: list[tuple[str, dict[str, Any]]]) -> Table:
    table = Table(title="Negatives that were relabelled or filtered", title_justify="left")
    for column in ("passage", "gold label", "action", "confidence", "snippet"):
        table.add_column(column, no_wrap=column != "snippet")
    for label, row in judged:
        if row["action"] == "keep":
            continue
        style = {"false_negative": "green", "ambiguous": "", "true_negative": "red"}[label]
        confidence = "–" if row["confidence"] is None else f"{row['confidence']:.2f}"
        snippet = (row["snippet"] or "–").replace("\n", " ")[:SHOWN]
        table.add_row(row["doc_id"], label, row["action"], confidence, snippet, style=style)
    return table


def counts(judged: list[tuple[str, dict[str, Any]]]) -> Table:
    table = Table(title="Negatives: gold label by action", title_justify="left")
    table.add_column("gold label")
    for action in ACTIONS:
        table.add_column(action, justify="right")
    found = Counter((label, row["action"]) for label, row in judged)
    for label in GOLD:
        table.add_row(label, *(str(found[label, action]) for action in ACTIONS))
    return table


def main() -> None:
    decisions, gold = map(Path, sys.argv[1:3])
    judged = joined(decisions, gold)
    console = Console()
    console.print(acted_on(judged))
    console.print(counts(judged))
    for what, path in (("decisions", decisions), ("gold labels", gold)):
        console.print(f"{what}: {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
