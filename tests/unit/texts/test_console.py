"""Whatever is printed, a terminal obeys none of it."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from arhn.texts.console import SafeConsole

HOSTILE = "a\x1b]0;pwned\x07\x1b[2Jb\u202e\x9bc"


def shown(*things: object) -> str:
    file = io.StringIO()
    console = SafeConsole(file=file)
    for thing in things:
        console.print(thing)
    return file.getvalue()


def test_texts_tables_and_frames_are_made_visible() -> None:
    table = Table("name", title=HOSTILE)
    table.add_row(HOSTILE)
    found = shown(HOSTILE, Text(HOSTILE), Panel(HOSTILE), table, f"[bold]{HOSTILE}[/bold] :smile:")
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(found)
    # rich itself leaves out bells.
    assert "\\x1b]0;pwned" in found
    assert "[bold]" in found
    assert ":smile:" in found


@given(st.text(alphabet=st.characters(categories=["Cc", "Cf", "L"], exclude_characters="\n\t\r"), max_size=30))
def test_no_control_passes(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t\u200c\u200d\u00ad" for char in shown(Text(text)))
