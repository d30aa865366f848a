"""Constraints as llguidance grammars (Lark syntax), for every engine that has llguidance."""

from __future__ import annotations

import json

from arhn.engines.protocol import Constraint, Matching, OneOf, Permutation, SpanOf


def write_lark(constraint: Constraint) -> str:
    """The grammar of `constraint`.

    Substring rules also accept the empty string; readers of the answer take that for no answer.
    """
    match constraint:
        case SpanOf(text, otherwise, lead, close):
            span = " ".join([*_literal(lead), "SPAN", *_literal(close)])
            choice = " | ".join([*_literal(otherwise), span])
            return f'start: {choice}\nSPAN: %regex {{ "substring_words": {json.dumps(text)} }}\n'
        case OneOf(choices):
            return "start: " + " | ".join(json.dumps(choice) for choice in choices) + "\n"
        case Permutation(n):
            return _permutation(n)
        case Matching(pattern):
            slashed = pattern.replace("/", "\\/")
            return f"start: /{slashed}/\n"


def _literal(text: str) -> list[str]:
    return [json.dumps(text)] if text else []


def _permutation(n: int) -> str:
    # A parametric grammar: the parameter is a bit set of the numbers already named.
    names = [f'"{i + 1}" rest::set_bit({i}) %if bit_clear({i})' for i in range(n)]
    return (
        "start: next::0x0\nnext::_: "
        + "\n  | ".join(names)
        + f'\nrest::_: "" %if is_ones([0:{n}])\n  | " > " next::_ %if not(is_ones([0:{n}]))\n'
    )
