"""Reading what a model wrote, for all engines: the answer without thoughts, and the likely tokens. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from arhn.engines.protocol import Finish

#: Below this, a log-probability says "impossible": servers write -9999 and the like for -infinity.
_IMPOSSIBLE = -100.0
OPEN, CLOSE = "<think>", "</think>"


def thinks_aloud(text: str) -> bool:
    """Whether an answer shows that the model thought first."""
    return text.lstrip().startswith(OPEN) or CLOSE in text


def remove_thoughts(text: str, thinks: bool, finish: Finish) -> str:
    """What follows the thoughts. A passage may hold these tags too, so they only count where thoughts may be.

    Args:
        thinks: the model may think first.
    """
    if thinks and finish == "length" and CLOSE not in text:
        return ""  # cut off, maybe in thoughts whose opening tag the prompt held: they hold no answer
    opened = text.lstrip().startswith(OPEN)
    if not (opened or (thinks and CLOSE in text)):
        return text
    _, closed, rest = text.partition(CLOSE)
    return rest.lstrip() if closed else ""


def read_alternatives(alternatives: Iterable[tuple[str, float]]) -> dict[str, float]:
    """One place's alternatives from tokens and their natural log-probabilities, the most probable first.

    Some models write a space before their first word; it means the same, and equal words are added up.
    """
    found: dict[str, float] = {}
    for token, logprob in alternatives:
        if logprob > _IMPOSSIBLE:
            word, capped = token.lstrip(" ") or token, min(logprob, 0.0)
            found[word] = _add_log_probabilities(found[word], capped) if word in found else capped
    return {word: round(logprob, 5) for word, logprob in found.items()}


def _add_log_probabilities(one: float, other: float) -> float:
    """Log of the sum of two probabilities."""
    high, low = max(one, other), min(one, other)
    return min(0.0, high + math.log1p(math.exp(low - high)))


__all__ = ["CLOSE", "OPEN", "read_alternatives", "remove_thoughts", "thinks_aloud"]
