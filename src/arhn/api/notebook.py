"""How a result shows itself in a notebook. Texts of the data are escaped: they are never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from arhn.texts.excerpt import take_excerpt
from arhn.texts.foreign import make_visible

_MOST = 240  # characters of a passage that are shown


def draw(counts: Mapping[str, int], changes: Sequence[Mapping[str, Any]]) -> str:
    """A table of counts, and one of changes."""
    head = "".join(f"<th>{escape(what)}</th>" for what in counts)
    numbers = "".join(f"<td>{count:,}</td>" for count in counts.values())
    found = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{numbers}</tr></tbody></table>"
    if not changes:
        return f"<div>{found}<p>Nothing was changed.</p></div>"
    rows = "".join(map(_draw_change, changes))
    columns = "".join(f"<th>{name}</th>" for name in ("action", "confidence", "query", "passage", "reason"))
    return f"<div>{found}<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"


def _draw_change(change: Mapping[str, Any]) -> str:
    confidence = "" if change["confidence"] is None else f"{change['confidence']:.2f}"
    cells = (
        _escape(change["action"]),
        confidence,
        _escape(change["query"][:_MOST]),
        _draw_passage(change),
        _escape(change["reason"]).replace("_", " "),
    )
    drawn = "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
    return f"<tr>{drawn}</tr>"


def _draw_passage(change: Mapping[str, Any]) -> str:
    part = take_excerpt(change["text"], change["start"], change["end"], most=_MOST)
    marked = f"<b>{escape(part.snippet)}</b>" if part.snippet else ""
    ends = "… " if part.cut_before else "", " …" if part.cut_after else ""
    return f"{ends[0]}{escape(part.before)}{marked}{escape(part.after)}{ends[1]}"


def _escape(text: str) -> str:
    return escape(make_visible(text))


__all__ = ["draw"]
