"""Whether a passage answers all of its query or a part of it: asked of what would become a positive."""

from __future__ import annotations

from arhn.cleaning.evidence.confidence import sigmoid
from arhn.cleaning.extract.questions import _messages
from arhn.cleaning.prompts import Prompt
from arhn.engines import ALTERNATIVES, Completion, OneOf, Request, log_odds
from arhn.types import Passage

#: The replies to whether a passage answers all of a query.
FULL, PARTIAL = "Yes", "No"


def fullness_request(query: str, passage: Passage, prompt: Prompt) -> Request:
    """Ask whether a passage that answers answers all of the query: one token."""
    return Request(
        messages=_messages(query, passage, prompt),
        max_tokens=2,
        constraint=OneOf((FULL, PARTIAL)),
        alternatives=ALTERNATIVES,
    )


def read_fullness(completion: Completion | None) -> float | None:
    """Probability, in [0, 1], that the passage answers all of the query; 0 or 1 where only the word is known."""
    if completion is None or completion.finish not in ("stop", "length"):
        return None
    if completion.first:
        odds = log_odds(completion.first, FULL, PARTIAL)
        return None if odds is None else sigmoid(odds)
    return {FULL: 1.0, PARTIAL: 0.0}.get(completion.text.strip())
