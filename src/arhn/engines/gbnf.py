"""Constraints in GBNF, the grammar notation of llama.cpp, which xgrammar (SGLang, vLLM) reads too.

What llguidance says in one rule takes many here: a run of words is a chain of rules, one a word.
"""

from __future__ import annotations

import re._constants as sre  # type: ignore[import-not-found]
import re._parser as sre_parser  # type: ignore[import-not-found]
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from arhn.engines.protocol import Constraint, Matching, OneOf, Permutation, SpanOf

#: Numbers up to which a permutation is spelled out: that takes 2**n rules. Above, a number may be repeated, and
#: whoever reads the answer refuses that.
EXACT_PERMUTATION = 8
_FOREVER = sre.MAXREPEAT


def gbnf(constraint: Constraint) -> str:
    """The grammar of `constraint`; its rule "root" is the whole answer.

    Raises:
        ValueError: a pattern with something that is no regular language (look-around, back references).
    """
    match constraint:
        case SpanOf():
            return _span(constraint)
        case OneOf(choices):
            return "root ::= " + " | ".join(quoted(choice) for choice in choices) + "\n"
        case Permutation(n):
            return _permutation(n) if n <= EXACT_PERMUTATION else _numbers(n)
        case Matching(pattern):
            return f"root ::= {_sequence(sre_parser.parse(pattern))}\n"


def quoted(text: str) -> str:
    """`text` as a literal."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else _numbered(c)


def _numbered(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _span(constraint: SpanOf) -> str:
    """One rule a word: this word, and then nothing or the next one. Each distinct beginning is named once."""
    words = constraint.text.split(" ")
    first = {word: i for i, word in reversed(list(enumerate(words)))}
    # Equal words begin together: a rule of its own for each would make the parser follow all of them.
    starts = [
        f"{quoted(word)} ({' | '.join(_follows(words, word))})?" if _follows(words, word) else quoted(word)
        for word in first
    ]
    rules = [
        f"w{i} ::= {quoted(' ' + word)}" + (f" w{i + 1}?" if i + 1 < len(words) else "") for i, word in enumerate(words)
    ]
    span = " ".join([*_literal(constraint.lead), "span", *_literal(constraint.close)])
    root = " | ".join([*_literal(constraint.otherwise), span])
    return "\n".join([f"root ::= {root}", f"span ::= {' | '.join(starts)}", *rules[1:], ""])


def _follows(words: Sequence[str], word: str) -> list[str]:
    return [f"w{i + 1}" for i, w in enumerate(words) if w == word and i + 1 < len(words)]


def _literal(text: str) -> list[str]:
    return [quoted(text)] if text else []


def _permutation(n: int) -> str:
    """A rule for each set of numbers that are still to be named."""
    numbers = range(1, n + 1)
    rules = [f"root ::= {_set(numbers)}"]
    for size in range(1, n + 1):
        for left in combinations(numbers, size):
            rest = ((i, [other for other in left if other != i]) for i in left)
            rules.append(
                f"{_set(left)} ::= "
                + " | ".join(quoted(f"{i} > ") + f" {_set(r)}" if r else quoted(str(i)) for i, r in rest)
            )
    return "\n".join(rules) + "\n"


def _set(numbers: Sequence[int]) -> str:
    return "s" + "-".join(map(str, numbers))


def _numbers(n: int) -> str:
    choices = " | ".join(quoted(str(i)) for i in range(1, n + 1))
    return f'root ::= number (" > " number){{{n - 1}}}\nnumber ::= {choices}\n'


def _sequence(pattern: Any) -> str:
    return " ".join(_terms(pattern)) or '""'


def _terms(pattern: Any) -> Iterator[str]:
    """The parts of a parsed regular expression; letters that follow each other become one literal."""
    letters = ""
    for operation, argument in pattern:
        if operation is sre.LITERAL:
            letters += chr(argument)
            continue
        if letters:
            yield quoted(letters)
            letters = ""
        yield _term(operation, argument)
    if letters:
        yield quoted(letters)


def _term(operation: Any, argument: Any) -> str:
    if operation is sre.IN:
        return f"[{''.join(_set_items(argument))}]"
    if operation is sre.BRANCH:
        return "(" + " | ".join(_sequence(branch) for branch in argument[1]) + ")"
    if operation is sre.SUBPATTERN:
        return f"({_sequence(argument[3])})"
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, repeated = argument
        return f"({_sequence(repeated)}){_times(least, most)}"
    if operation is sre.ANY:
        return "[^\\n]"
    if operation is sre.NOT_LITERAL:
        return f"[^{_in_set(argument)}]"
    raise ValueError(f"a pattern with {str(operation).lower()} has no grammar")


def _times(least: int, most: int) -> str:
    if most == _FOREVER:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return "?" if (least, most) == (0, 1) else f"{{{least},{most}}}"


def _in_set(code: int) -> str:
    # By number where a character means something in a set: llama.cpp knows no "\\-" and no "\\^".
    return chr(code) if chr(code).isalnum() or chr(code) in " _,.:;" else _numbered(chr(code))


_CLASSES = {sre.CATEGORY_DIGIT: "0-9", sre.CATEGORY_WORD: "0-9A-Za-z_", sre.CATEGORY_SPACE: " \\t\\n\\r"}


def _set_items(items: Any) -> Iterator[str]:
    for operation, argument in items:
        if operation is sre.NEGATE:
            yield "^"
        elif operation is sre.LITERAL:
            yield _in_set(argument)
        elif operation is sre.RANGE:
            yield "-".join(map(_in_set, argument))
        elif operation is sre.CATEGORY and argument in _CLASSES:
            yield _CLASSES[argument]
        else:
            raise ValueError(f"a pattern with {str(argument).lower()} has no grammar")


__all__ = ["EXACT_PERMUTATION", "gbnf", "quoted"]
