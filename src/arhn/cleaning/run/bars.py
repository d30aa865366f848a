"""Progress bars of groups, and what is called now and then while a bar waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

#: Seconds between two plain log lines, and between two looks at a bar.
LOG_EVERY = 10.0
SHOW_EVERY = 0.5


@contextmanager
def repeat_every(seconds: float, show: Callable[[], None]) -> Iterator[None]:
    """Call `show` every so often from a thread: groups may take long, and answers come meanwhile."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            show()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


#: The time left, from the field `left`, where it can't be told by the groups that are done.
LEFT = TextColumn("{task.fields[left]}")


def group_bars(console: Console, *left: ProgressColumn) -> Bars:
    """A bar of groups with the text of the field `state`; nothing where there is no terminal.

    Args:
        left: columns of the time left; worked out from the groups that are done unless given.
    """
    columns = (
        TextColumn("[bold]groups"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        *(left or (TimeRemainingColumn(), TextColumn("left"))),
    )
    return Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
