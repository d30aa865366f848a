"""What a run says of each passage as a score in its output, where trainers look for a teacher's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

from arhn.errors import UsageError
from arhn.formats import FORMATS
from arhn.formats.origin import Kept
from arhn.types import CleanedGroup, Group, Passage

#: The field of an extraction that is written. Log-odds are what a softmax over passages wants, as in distillation.
Scored = Literal["confidence", "log_odds"]
#: What formats call it: FlagEmbedding's becomes `pos_scores` and `neg_scores`.
FIELD = "score"
#: What `losses` counts groups as that have none, for want of an answer about one of their passages.
WITHOUT = "scores of a group"


def require_scores(to: str) -> None:
    """Raises UsageError: a format that has no place for scores."""
    able = [name for name in FORMATS.names() if _holds_scores(name)]
    if to not in able:
        raise UsageError(
            f"files.scores: the output's format {to} has no place for scores. Leave it out, or write another with "
            f"--to: {', '.join(able)}"
        )


def _holds_scores(name: str) -> bool:
    return bool(FORMATS.get(name).HOLDS & {"score", "passage fields"})


def set_scores(cleaned: CleanedGroup, what: Scored, losses: Counter[str]) -> Group:
    """The cleaned group with a score for each passage, found by its id.

    All of its passages have one or none has: scores that came with the input are another teacher's, and leave.
    """
    group = cleaned.cleaned
    scores = {each.doc_id: getattr(each, what) for each in cleaned.extractions}
    whole = all(scores.get(passage.doc_id) is not None for passage in group.passages)
    if not whole:
        losses[WITHOUT] += 1

    def put(passage: Passage) -> Passage:
        if whole:
            return replace(passage, extra=passage.extra | {FIELD: scores[passage.doc_id]})  # type: ignore[operator]
        return replace(passage, extra=_drop(passage)) if FIELD in passage.extra else passage

    return replace(group, positives=tuple(map(put, group.positives)), negatives=tuple(map(put, group.negatives)))


def _drop(passage: Passage) -> Kept | dict[str, object]:
    rest = {name: value for name, value in passage.extra.items() if name != FIELD}
    return Kept(rest, passage.extra.origin) if isinstance(passage.extra, Kept) else rest


__all__ = ["FIELD", "WITHOUT", "Scored", "require_scores", "set_scores"]
