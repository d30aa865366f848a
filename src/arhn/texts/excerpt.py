"""A part of a passage around its snippet: passages may be a megabyte long."""

from __future__ import annotations

from dataclasses import dataclass

from arhn.texts.foreign import make_visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A passage in three parts, made visible: what stands before the snippet, the snippet, and what follows it.

    Without a snippet all of it is `before`. `cut_before` and `cut_after` count the characters that are left out at
    both ends, `cut_inside` those in the middle of the snippet.
    """

    before: str
    snippet: str = ""
    after: str = ""
    cut_before: int = 0
    cut_inside: int = 0
    cut_after: int = 0

    @property
    def text(self) -> str:
        """All that is shown."""
        return self.before + self.snippet + self.after


def take_excerpt(text: str, start: int | None = None, end: int | None = None, *, most: int = 0) -> Excerpt:
    """A passage around its snippet `text[start:end]`.

    Args:
        most: characters that are shown, the snippet's included; all where 0.
    """
    if start is None or end is None or not 0 <= start < end <= len(text):
        shown = text[:most] if most else text
        return Excerpt(before=make_visible(shown), cut_after=len(text) - len(shown))
    if not most or len(text) <= most:
        return Excerpt(
            before=make_visible(text[:start]), snippet=make_visible(text[start:end]), after=make_visible(text[end:])
        )
    snippet = text[start : min(end, start + most)]
    room = most - len(snippet)
    first = max(0, min(start - room // 2, len(text) - most if end - start <= most else start))
    last = min(len(text), end + room - (start - first))
    return Excerpt(
        before=make_visible(text[first:start]),
        snippet=make_visible(snippet),
        after=make_visible(text[end:last]),
        cut_before=first,
        cut_inside=end - start - len(snippet),
        cut_after=len(text) - last,
    )


__all__ = ["Excerpt", "take_excerpt"]
