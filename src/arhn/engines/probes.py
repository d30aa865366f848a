"""What an engine is asked before a run, to find out what it can do. Pure.

A constraint counts only where an answer satisfied it that no model would give by itself."""

from __future__ import annotations

import re

from arhn.engines.protocol import Constraint, Matching, Message, OneOf, Permutation, SpanOf

#: Tokens that instructions, examples, a short passage and an answer take.
LEAST_CONTEXT = 1024
#: The context where neither the user nor the engine names one.
USUAL_CONTEXT = 4096
PROBE_MESSAGES = (
    Message("system", "You are a helpful assistant."),
    Message("user", "Which city is the capital of France?"),
)
#: Tokens of an answer: enough to see whether a model thinks first, and for any answer to `CONSTRAINTS`.
THOUGHT_TOKENS, CONSTRAINED_TOKENS = 24, 32
#: What no model answers to `PROBE_MESSAGES`.
CONSTRAINTS: tuple[Constraint, ...] = (
    SpanOf("The grey heron waits beside the weir until dusk.", lead='It says "', close='"'),
    OneOf(("ochre-41", "umber-73")),
    Permutation(4),
    Matching(r"plate: [0-9]{3}(?:; worn|, new)", gbnf='root ::= "plate: " ([0-9]){3,3} ("; worn" | ", new")\n'),
)


def satisfies(constraint: Constraint, answer: str) -> bool:
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


__all__ = [
    "CONSTRAINED_TOKENS",
    "CONSTRAINTS",
    "LEAST_CONTEXT",
    "PROBE_MESSAGES",
    "THOUGHT_TOKENS",
    "USUAL_CONTEXT",
    "satisfies",
]
