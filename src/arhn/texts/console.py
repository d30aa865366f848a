"""The console that everything is printed to: it shows what a terminal would obey, whoever it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from arhn.texts.foreign import make_visible


class SafeConsole(Console):
    """A rich console whose texts are made visible (`make_visible`) when they are written, in tables and bars as well.

    Colours and the movements of bars are rich's own, and stay.

    Args:
        stderr: write to standard error.
        file: where to write instead.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None) -> None:
        # "[b]" and ":smile:" in texts of others are no markup.
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does, with the text made visible: before its bells are left out."""
        return super().render_str(make_visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with every text made visible."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(make_visible(segment.text), segment.style)


__all__ = ["SafeConsole"]
