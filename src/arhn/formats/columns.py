"""What the sentence-transformers formats share: how columns are named, and how rows are joined to groups."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, groupby
from typing import TYPE_CHECKING

from arhn.formats.origin import find_origin
from arhn.types import Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from arhn.formats.interface import Draft

# The trainers go by the order of columns, so that data sets name them freely; `mine_hard_negatives` keeps the
# names of the pairs that it is given. These are the usual ones.
ANCHORS = ("anchor", "query", "question", "sentence", "sentence1")
POSITIVES = ("positive", "answer", "passage", "document", "response", "sentence2")


def choose_name(names: tuple[str, ...], fields: Collection[str]) -> str:
    """The first of `names` that is among `fields`; the first of all where none is."""
    return next((name for name in names if name in fields), names[0])


def choose_pair(fields: tuple[str, ...]) -> tuple[str, str]:
    """The names of the anchor and of the positive among `fields`."""
    return choose_name(ANCHORS, fields), choose_name(POSITIVES, fields)


def has_pair(fields: Collection[str]) -> bool:
    """Whether there are an anchor and a positive among `fields`."""
    return any(name in fields for name in ANCHORS) and any(name in fields for name in POSITIVES)


def join_positives(drafts: Iterator[Draft], name: str) -> Iterator[Draft]:
    """Adjacent drafts that differ in nothing but their positive become one with several positives."""

    def same(draft: Draft) -> tuple[object, ...]:
        return draft.query, draft.negatives, draft.extra, find_origin(draft.extra, name).fields

    return _join(drafts, same, lambda draft: (draft.positives, ()))


def join_negatives(drafts: Iterator[Draft], name: str) -> Iterator[Draft]:
    """Adjacent drafts with the same query and positive become one with several negatives."""

    def same(draft: Draft) -> tuple[object, ...]:
        return draft.query, draft.positives, find_origin(draft.extra, name).fields

    return _join(drafts, same, lambda draft: ((), draft.negatives))


_Added = tuple[tuple[Passage, ...], tuple[Passage, ...]]


def _join(
    drafts: Iterator[Draft], same: Callable[[Draft], object], added: Callable[[Draft], _Added]
) -> Iterator[Draft]:
    for _, block in groupby(drafts, same):
        first, *others = block
        more = [added(draft) for draft in others]
        yield replace(
            first,
            positives=first.positives + tuple(chain.from_iterable(positives for positives, _ in more)),
            negatives=first.negatives + tuple(chain.from_iterable(negatives for _, negatives in more)),
        )
