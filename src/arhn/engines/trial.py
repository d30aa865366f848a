"""What an engine is tried with before a run. A constraint counts only where an answer kept to it that no model would
give by itself. Pure."""

from __future__ import annotations

import re

from arhn.engines.protocol import Constraint, Matching, Message, OneOf, Permutation, SpanOf

#: Tokens that instructions, examples, a short passage and an answer take.
LEAST_CONTEXT = 1024
#: Where neither the user nor the engine says.
USUAL_CONTEXT = 4096
ASKED = (Message("system", "You are a helpful assistant."), Message("user", "Which city is the capital of France?"))
#: Tokens of an answer that show whether a model thinks first, and that any answer to `CONSTRAINTS` fits.
THOUGHT_TOKENS, CONSTRAINED_TOKENS = 24, 32
#: What no model answers to `ASKED`.
CONSTRAINTS: tuple[Constraint, ...] = (
    SpanOf("The grey heron waits beside the weir until dusk.", lead='It says "', close='"'),
    OneOf(("ochre-41", "umber-73")),
    Permutation(4),
    Matching(r"plate: [0-9]{3}(?:; worn|, new)", gbnf='root ::= "plate: " ([0-9]){3,3} ("; worn" | ", new")\n'),
)


def kept_to(constraint: Constraint, answer: str) -> bool:
    """Whether an answer is one that `constraint` allows (of those that are tried)."""
    match constraint:
        case SpanOf(text, _, lead, close):
            inside = answer.startswith(lead) and answer.endswith(close) and len(answer) >= len(lead) + len(close)
            return inside and answer.removeprefix(lead).removesuffix(close).strip() in text
        case OneOf(choices):
            return answer in choices
        case Permutation(n):
            return sorted(answer.split(" > ")) == sorted(str(i + 1) for i in range(n))
        case Matching(pattern):
            return re.fullmatch(pattern, answer) is not None


__all__ = ["ASKED", "CONSTRAINED_TOKENS", "CONSTRAINTS", "LEAST_CONTEXT", "THOUGHT_TOKENS", "USUAL_CONTEXT", "kept_to"]
