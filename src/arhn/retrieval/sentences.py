"""Passages cut into sentences, for comparing the best of one with the best of another."""

from __future__ import annotations

import re
from itertools import pairwise

#: A full stop, question or exclamation mark with what closes it, before space; one of East Asian scripts needs no
#: space; the end of a line.
_END = re.compile(
    r"[.!?\u2026\u061f\u0964][\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f][\u201d\u2019\u300d\u300f\uff09]*|\n\s*"
)
#: Shorter pieces ("e.g.", a list's number) go with the next one.
LEAST_CHARACTERS = 12
#: More sentences of one passage are joined with their neighbours: comparing costs time for each of them.
MOST_SENTENCES = 32


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order: at least one, at most `MOST_SENTENCES`, none of them blank but for blank text.

    In a text without any end of a sentence, that is the text. Nothing but space between sentences is left out.
    """
    starts = [0]
    for end in _END.finditer(text):
        if len(text[starts[-1] : end.end()].strip()) >= LEAST_CHARACTERS:
            starts.append(end.end())
    if len(starts) > 1 and len(text[starts[-1] :].strip()) < LEAST_CHARACTERS:
        starts.pop()
    each = -(-len(starts) // MOST_SENTENCES)
    return [text[start:end].strip() for start, end in pairwise([*starts[::each], len(text)])]


__all__ = ["LEAST_CHARACTERS", "MOST_SENTENCES", "split_sentences"]
