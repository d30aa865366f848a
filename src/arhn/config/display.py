"""Texts of others in messages: without characters that a terminal would obey, and not too long."""

from __future__ import annotations

from arhn.texts.foreign import make_visible

_LONGEST = 80
#: A path may be longer before it's cut: people have to find it.
LONGEST_PATH = 400


def escaped(text: str, keep: str = "") -> str:
    r"""`text` with what a terminal would obey as Python writes it, such as `\x1b`, but for the characters to `keep`."""
    return make_visible(text, keep)


def shown(text: object, longest: int = _LONGEST) -> str:
    """`text` on one line of at most `longest` characters."""
    line = escaped(str(text)[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


__all__ = ["LONGEST_PATH", "escaped", "shown"]
