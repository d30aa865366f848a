"""How passages that are compared are shown to the LLM: in which order, and how much of each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from arhn.cleaning.config import RankBy
from arhn.cleaning.spans import cut
from arhn.engines import Completion
from arhn.types import Extraction, Passage

#: Characters of a candidate that is shown: of its snippet, and of the passage.
SNIPPET_SHOWN = 400
PASSAGE_SHOWN = 1200
#: The least share of that, where a prompt doesn't fit the context otherwise.
LEAST_SHOWN = 0.25


def order_shown(query: str, candidates: Sequence[Passage], shuffle: int = 0) -> tuple[Passage, ...]:
    """The candidates in the order in which the LLM sees them, another one for each `shuffle`.

    By a hash of query and text: no label or retrieval rank shines through, and every run shows the same. Odd shuffles
    are the reverse of the one before: of two candidates, each is shown first as often as the other.
    """
    drawn = shuffle - shuffle % 2

    def place(passage: Passage) -> bytes:
        salt = f"{drawn}\0" if drawn else ""
        return blake2b(f"{salt}{query}\0{passage.text}\0{passage.doc_id}".encode(), digest_size=8).digest()

    return tuple(sorted(candidates, key=place, reverse=shuffle != drawn))


def halve(least: float) -> Callable[[float, Completion], float | None]:
    """Half of a share of the usual length, where a prompt with that doesn't fit; None below `least`."""
    return lambda share, _: share / 2 if share > least else None


def show_candidate(passage: Passage, extraction: Extraction, by: RankBy, share: float = 1.0) -> str:
    """A candidate as it is shown, on one line: a passage can't pretend to be another candidate.

    A doubtful positive has no snippet and shows its passage.

    Args:
        share: of the usual length, where a prompt wouldn't fit.
    """
    snippet = cut(" ".join((extraction.snippet or "").split()), int(share * SNIPPET_SHOWN))
    if by is RankBy.SNIPPET and snippet:
        return snippet
    shown = show_passage(passage, int(share * (SNIPPET_SHOWN if by is RankBy.SNIPPET else PASSAGE_SHOWN)))
    return f'"{snippet}" in: {shown}' if by is RankBy.BOTH and snippet else shown


def show_passage(passage: Passage, limit: int) -> str:
    """At most `limit` characters of title and text, on one line."""
    titled = f"{passage.title}: {passage.text}" if passage.title else passage.text
    return cut(" ".join(titled.split()), limit)
