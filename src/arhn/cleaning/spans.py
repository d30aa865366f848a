"""Finding an LLM's answer in a passage again: spans are verbatim by construction, or there is none."""

from __future__ import annotations

import re
from functools import lru_cache

#: Typographic variants that an LLM swaps when it copies.
_VARIANTS = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u00b4\u2032`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    "\u2026": "...",
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
}
_TABLE = str.maketrans(_VARIANTS)
_SPACES = re.compile(r"\s+")
_WRAPPERS = "\"'`*_ \t\n\u201c\u201d\u2018\u2019\u00ab\u00bb"

Span = tuple[int, int]


def align(answer: str, text: str) -> Span | None:
    """Where `answer` stands in `text`, as character offsets (start, end) with start < end.

    An exact match wins; else case, runs of whitespace, quotes, dashes and ellipses may differ, and
    quotation marks or emphasis around the answer are ignored. The first occurrence at word boundaries is
    taken, else the first. None where the text doesn't hold it.
    """
    answer = answer.strip()
    if not answer:
        return None
    return _exact(answer, text) or _tolerant(answer, text) or _tolerant(answer.strip(_WRAPPERS), text)


def _exact(answer: str, text: str) -> Span | None:
    return _first(answer, text)


def _first(needle: str, haystack: str) -> Span | None:
    if not needle or needle not in haystack:
        return None
    at_words = re.search(rf"(?<!\w){re.escape(needle)}(?!\w)", haystack) if len(needle) < 1000 else None
    start = at_words.start() if at_words else haystack.index(needle)
    return start, start + len(needle)


def _tolerant(answer: str, text: str) -> Span | None:
    found = _first(_folded(answer).strip(), _folded(text))
    if found is None:
        return None
    start, end = found
    origin = _origins(text)
    return origin[start], origin[end - 1] + 1


@lru_cache(maxsize=64)
def _folded(text: str) -> str:
    """Runs of whitespace as one space, variants replaced, case folded."""
    return _SPACES.sub(" ", text).translate(_TABLE).casefold()


def _origins(text: str) -> list[int]:
    """For each character of the folded text the offset in `text` that it comes from."""
    origin: list[int] = []
    space = False
    for i, c in enumerate(text):
        before, space = space, c.isspace()
        if not space:
            origin += [i] * len(_VARIANTS.get(c, c).casefold())
        elif not before:
            origin.append(i)
    return origin


_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*(?=\s|$)|\n")


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text` from its start, ending with a sentence, else a word, if one does.

    A sentence end in the first half is passed over: too much would be lost.
    """
    if len(text) <= limit:
        return text
    head = text[:limit]
    ends = [m.end() for m in _SENTENCE_END.finditer(text, 0, limit) if m.end() > limit // 2]
    if ends:
        return head[: ends[-1]].rstrip()
    space = max(head.rfind(" "), head.rfind("\n"))
    return head[:space].rstrip() if space > limit // 2 else head
