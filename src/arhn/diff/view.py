"""What `arhn diff` shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from arhn.cleaning.run.view import show_passage
from arhn.diff.changes import Change
from arhn.diff.rendering import list_facts
from arhn.texts.foreign import make_line
from arhn.types import Passage

#: Characters of a passage that are shown, around its snippet.
_MOST = 500
_STYLES = {"relabel": "bold green", "filter": "bold red", "keep": "bold"}


def changes_view(changes: Sequence[Change], first: int) -> RenderableType:
    """Changes one below the other: the query, the passage, and the best positive beside it.

    Args:
        first: the number of the first one, from 1.
    """
    return RenderGroup(*(_change(number, change) for number, change in enumerate(changes, start=first)))


def _change(number: int, change: Change) -> RenderableType:
    facts = ", ".join(f"{name} {make_line(value)}" for name, value in list_facts(change))
    return RenderGroup(
        Text.assemble((f"{number}. ", "bold"), *_actions(change), (make_line(change.group.query, _MOST), "bold")),
        _labelled(make_line(change.row["label"]), change.passage, change.row),
        _labelled("best positive", change.positive, change.positive_row),
        Padding(Text(facts, style="dim"), (0, 0, 1, 3)),
    )


def _actions(change: Change) -> list[tuple[str, str] | str]:
    action = change.row["action"]
    shown: list[tuple[str, str] | str] = [(f"{action}  ", _STYLES.get(action, "bold"))]
    if change.other is not None:
        other = change.other["action"]
        shown = [("here ", ""), (action, _STYLES.get(action, "bold")), (", there ", "")]
        shown.append((f"{other}  ", _STYLES.get(other, "bold")))
    return shown


def _labelled(label: str, passage: Passage, row: Mapping[str, Any]) -> RenderableType:
    heading = Text.assemble((f"{label} ", "italic"), (make_line(passage.doc_id), "dim"))
    return RenderGroup(Padding(heading, (0, 0, 0, 3)), Padding(show_passage(passage, row, most=_MOST), (0, 0, 0, 6)))
