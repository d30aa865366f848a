"""Constraints in GBNF, the grammar notation of llama.cpp, which xgrammar (SGLang, vLLM) reads too.

Where llguidance has one rule for a run of words, GBNF needs a chain of rules, one a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from arhn.engines.protocol import Constraint, Matching, OneOf, Permutation, SpanOf
from arhn.errors import UsageError

#: Up to so many numbers, a permutation is spelled out in 2**n rules. Above, the grammar lets a number be repeated:
#: readers of the answer refuse that.
EXACT_PERMUTATION = 8


def write_gbnf(constraint: Constraint) -> str:
    """The grammar of `constraint`; its rule "root" is the whole answer.

    Raises:
        UsageError: a pattern that comes without its grammar.
    """
    match constraint:
        case SpanOf():
            return _span(constraint)
        case OneOf(choices):
            return "root ::= " + " | ".join(quote(choice) for choice in choices) + "\n"
        case Permutation(n):
            return _permutation(n) if n <= EXACT_PERMUTATION else _numbers(n)
        case Matching(pattern, grammar):
            if not grammar:
                raise UsageError(
                    f"the pattern {pattern!r} comes without a grammar, and this server takes grammars in GBNF only. "
                    "Write it out: Matching(pattern, gbnf=...); or use a server with llguidance"
                )
            return grammar


def quote(text: str) -> str:
    """`text` as a literal."""
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else _write_code_point(c)


def _write_code_point(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _span(constraint: SpanOf) -> str:
    """One rule a word: this word, and then nothing or the next one. Each distinct beginning is named once."""
    words = constraint.text.split(" ")
    first = {word: i for i, word in reversed(list(enumerate(words)))}
    # Equal words begin together: a rule of its own for each would make the parser follow all of them.
    starts = [
        f"{quote(word)} ({' | '.join(_follows(words, word))})?" if _follows(words, word) else quote(word)
        for word in first
    ]
    rules = [
        f"w{i} ::= {quote(' ' + word)}" + (f" w{i + 1}?" if i + 1 < len(words) else "") for i, word in enumerate(words)
    ]
    span = " ".join([*_literal(constraint.lead), "span", *_literal(constraint.close)])
    root = " | ".join([*_literal(constraint.otherwise), span])
    return "\n".join([f"root ::= {root}", f"span ::= {' | '.join(starts)}", *rules[1:], ""])


def _follows(words: Sequence[str], word: str) -> list[str]:
    return [f"w{i + 1}" for i, w in enumerate(words) if w == word and i + 1 < len(words)]


def _literal(text: str) -> list[str]:
    return [quote(text)] if text else []


def _permutation(n: int) -> str:
    """A rule for each set of numbers that are still to be named."""
    numbers = range(1, n + 1)
    rules = [f"root ::= {_set(numbers)}"]
    for size in range(1, n + 1):
        for left in combinations(numbers, size):
            rest = ((i, [other for other in left if other != i]) for i in left)
            rules.append(
                f"{_set(left)} ::= "
                + " | ".join(quote(f"{i} > ") + f" {_set(r)}" if r else quote(str(i)) for i, r in rest)
            )
    return "\n".join(rules) + "\n"


def _set(numbers: Sequence[int]) -> str:
    return "s" + "-".join(map(str, numbers))


def _numbers(n: int) -> str:
    choices = " | ".join(quote(str(i)) for i in range(1, n + 1))
    return f'root ::= number (" > " number){{{n - 1}}}\nnumber ::= {choices}\n'


__all__ = ["EXACT_PERMUTATION", "quote", "write_gbnf"]
