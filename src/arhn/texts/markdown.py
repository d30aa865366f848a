"""Texts of others in Markdown: shown as text, on one line."""

from __future__ import annotations

import re

from arhn.texts.foreign import make_line

#: What Markdown or the HTML in it could take for markup.
_MARKS = re.compile(r"[\\`*_{}\[\]<>()#+\-.!|~&:@$^=\"']")


def escape_markdown(text: object, longest: int = 0) -> str:
    """`text` on one line, with every mark of Markdown and HTML escaped.

    Args:
        longest: characters of the text that are shown; all where 0.
    """
    return _MARKS.sub(_escape, make_line(text, longest))


def _escape(mark: re.Match[str]) -> str:
    char = mark[0]
    # A backslash would do for these too, but not inside of raw HTML.
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(char, f"\\{char}")


__all__ = ["escape_markdown"]
