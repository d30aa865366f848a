"""The one place where texts of others are made safe to be shown.

A terminal obeys escape sequences, and a page is turned around by bidirectional controls. HTML besides needs its own
characters escaped: templates do that (autoescape), and scripts set texts, never HTML.
"""

from __future__ import annotations

import unicodedata

#: Invisible characters that scripts and emoji are written with: joiners, and the soft hyphen.
_WRITTEN_WITH = frozenset("\u200c\u200d\u00ad")


def make_visible(text: str, keep: str = "\n\t") -> str:
    r"""`text` with what a terminal or a page would obey written as Python writes it, such as `\x1b` or `\u202e`.

    Controls, bidirectional marks, line separators and what isn't a character become visible. Spaces of any kind and
    joiners stay.

    Args:
        keep: controls that stay as they are.
    """
    if text.isprintable():
        return text
    table = {ord(char): repr(char)[1:-1] for char in set(text) if _is_obeyed(char) and char not in keep}
    return text.translate(table) if table else text


def make_line(text: object, longest: int = 0) -> str:
    """`text` on one line: runs of white space are one space.

    Args:
        longest: characters that it may have; any number where 0.
    """
    line = " ".join(str(text).split())
    if longest and len(line) > longest:
        line = f"{line[: longest - 1]}…"
    return make_visible(line, keep="")


def _is_obeyed(char: str) -> bool:
    return not char.isprintable() and char not in _WRITTEN_WITH and unicodedata.category(char) != "Zs"


__all__ = ["make_line", "make_visible"]
