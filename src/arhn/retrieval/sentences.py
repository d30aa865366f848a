"""Passages cut into sentences, for comparing the best of one with the best of another."""

from __future__ import annotations

import re

#: A full stop, question or exclamation mark with what closes it, and space behind it; one of East Asian scripts needs
#: no space; the end of a line.
_END = re.compile(r"(?<=[.!?\u2026\u061f\u0964])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])|\s*\n\s*")
#: Shorter pieces ("e.g.", a list's number) go with the next one.
LEAST_CHARACTERS = 12
#: More sentences of one passage are joined with their neighbours: comparing costs time for each of them.
MOST_SENTENCES = 32


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order: at least one, at most `MOST_SENTENCES`, none of them blank but for blank text.

    In a text without any end of a sentence, that is the text.
    """
    found: list[str] = []
    begun = ""
    for piece in _END.split(text):
        begun = f"{begun} {piece}".strip() if begun else piece.strip()
        if len(begun) >= LEAST_CHARACTERS:
            found.append(begun)
            begun = ""
    if begun and found:
        found[-1] = f"{found[-1]} {begun}"
    elif begun or not found:
        found.append(begun or text)
    if len(found) <= MOST_SENTENCES:
        return found
    each = -(-len(found) // MOST_SENTENCES)
    return [" ".join(found[i : i + each]) for i in range(0, len(found), each)]


__all__ = ["LEAST_CHARACTERS", "MOST_SENTENCES", "split_sentences"]
