"""A group taken apart: which of its passages are asked about, which aren't and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from arhn.cleaning.spans import align
from arhn.types import Extraction, Group, Passage

Content = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`used` are the positives and the first negatives, `asked` those of them with a text of their own.

    `unused` are the other negatives. `copies` maps the `doc_id` of a used passage to that of the earlier one with
    the same title and text.
    """

    used: tuple[Passage, ...]
    asked: tuple[Passage, ...]
    unused: tuple[Passage, ...]
    copies: Mapping[str, str]

    @property
    def unused_ids(self) -> frozenset[str]:
        """The `doc_id`s of `unused`."""
        return frozenset(p.doc_id for p in self.unused)


def take_apart(group: Group, limit: int | None) -> Parts:
    """The passages of a group by what is done with them.

    Args:
        limit: negatives that are used, the first ones; all unless given.
    """
    negatives = len(group.negatives) if limit is None else limit
    used = (*group.positives, *group.negatives[:negatives])
    firsts: dict[Content, Passage] = {}
    for passage in used:
        firsts.setdefault(take_content(passage), passage)
    return Parts(
        used=used,
        asked=tuple(firsts.values()),
        unused=group.negatives[negatives:],
        copies={p.doc_id: first.doc_id for p in used if (first := firsts[take_content(p)]) is not p},
    )


def find_spares(parts: Parts) -> Iterator[Passage]:
    """The unused negatives with a text of their own, in their order: what backfill can take in."""
    seen = {take_content(p) for p in parts.used}
    for passage in parts.unused:
        if take_content(passage) not in seen:
            seen.add(take_content(passage))
            yield passage


def take_content(passage: Passage) -> Content:
    """What makes two passages the same: title and text, but for whitespace."""
    return " ".join(passage.title.split()), " ".join(passage.text.split())


def add_copies(extractions: Mapping[str, Extraction], parts: Parts) -> dict[str, Extraction]:
    """The extractions by `doc_id`, those of copies added."""
    copied = {p.doc_id: _copy(extractions[parts.copies[p.doc_id]], p) for p in parts.used if p.doc_id in parts.copies}
    return {**extractions, **copied}


def _copy(original: Extraction, passage: Passage) -> Extraction:
    copied = replace(original, doc_id=passage.doc_id)
    if original.snippet is None:
        return copied
    span = align(original.snippet, passage.text)
    if span is None:
        return replace(copied, status="unknown", snippet=None, start=None, end=None)
    start, end = span
    return replace(copied, snippet=passage.text[start:end], start=start, end=end)
