"""What mining did, counted: the summary that is written, and the table that a person sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from arhn.mine.mining import Mined
from arhn.mine.rules import Fate, Settings

SCHEMA = 1

#: How the table says each fate.
_SAID = {
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


@dataclass(slots=True)
class Counts:
    """Sums over queries; `fates` over candidates."""

    settings: Settings
    queries: int = 0
    groups: int = 0
    without_negatives: int = 0
    without_positive: int = 0
    fewer: int = 0
    positives: int = 0
    negatives: int = 0
    judged: int = 0
    positives_found: int = 0
    identical: int = 0
    blank_positives: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)

    def add(self, mined: Mined) -> bool:
        """Count one query; whether its group is one to write."""
        self.queries += 1
        self.fates.update(mined.fates)
        self.positives_found += mined.positives_found
        self.identical += mined.identical
        self.blank_positives += mined.blank_positives
        self.without_positive += mined.group is None
        if mined.group is None:
            return False
        self.without_negatives += not mined.group.negatives
        if not mined.group.negatives:
            return False
        self.groups += 1
        self.fewer += len(mined.group.negatives) < self.settings.negatives
        self.positives += len(mined.group.positives)
        self.negatives += len(mined.group.negatives)
        self.judged += mined.judged
        return True

    def content(self) -> dict[str, Any]:
        """For the summary; docs/mining.md says what the fields mean."""
        return {
            "queries": {
                "read": self.queries,
                "written": self.groups,
                "without_negatives": self.without_negatives,
                "without_positive": self.without_positive,
                "fewer_negatives": self.fewer,
            },
            "passages": {
                "positives": self.positives,
                "negatives": self.negatives,
                "judged_negatives": self.judged,
                "blank_positives": self.blank_positives,
            },
            "never_candidates": {"positives": self.positives_found, "identical": self.identical},
            "candidates": {fate.value: self.fates[fate] for fate in Fate},
        }


def show(console: Console, content: Mapping[str, Any]) -> None:
    """The tables at the end of a run, from the content of the summary."""
    console.print(_table(content))
    queries, passages = content["queries"], content["passages"]
    notes = {
        "with fewer negatives than wanted": queries["fewer_negatives"],
        "left out, no negative": queries["without_negatives"],
        "left out, no positive with a text": queries["without_positive"],
        "positives without a text left out": passages["blank_positives"],
        **{f"left out: {what}": n for what, n in content["dropped"].items()},
        **{f"left out, the format can't hold it: {what}": n for what, n in content["losses"].items()},
    }
    said = "".join(f"; {n} {what}" for what, n in notes.items() if n)
    console.print(f"{queries['read']} queries, {queries['written']} groups written{said}", soft_wrap=True)
    judged = passages["judged_negatives"]
    console.print(
        f"{passages['positives']} positives, {passages['negatives']} negatives"
        + (f", {judged} of them judged not relevant" if judged else ""),
        soft_wrap=True,
    )


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(title=f"Candidates: {', '.join(content['retrievers'])}", title_justify="left")
    table.add_column("")
    table.add_column("passages", justify="right")
    table.add_column("share", justify="right")
    total = sum(content["candidates"].values())
    for fate, said in _SAID.items():
        count = content["candidates"][fate.value]
        if count or fate is Fate.CHOSEN:
            table.add_row(said, f"{count:,}", f"{count / total:.1%}" if total else "–")
    table.add_section()
    never = content["never_candidates"]
    table.add_row("never candidates: labelled positives", f"{never['positives']:,}", "")
    if never["identical"]:
        table.add_row("never candidates: the query's own id", f"{never['identical']:,}", "")
    return table
