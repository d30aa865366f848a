"""What a person sees while a run goes on and when it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.console import Group as RenderGroup
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from arhn.cleaning.run.bars import LEFT, LOG_EVERY, SHOW_EVERY, group_bars, repeat_every
from arhn.cleaning.run.tally import Progress
from arhn.cleaning.run.time_left import TimeLeft
from arhn.errors import describe_count
from arhn.families.data_set import TOO_FEW
from arhn.texts.excerpt import Excerpt, take_excerpt
from arhn.texts.foreign import make_line, make_visible
from arhn.types import Group, Passage

if TYPE_CHECKING:
    from arhn.cleaning.run import OnGroup

logger = logging.getLogger(__name__)

#: Characters of a name or task of the data that are shown.
_LONGEST_SHOWN = 80


@contextmanager
def show_progress(console: Console, progress: Progress, total: int | None) -> Iterator[OnGroup]:
    """A bar that moves on a terminal, a log line now and then elsewhere; yields what to call per group."""
    if not console.is_terminal:
        lines = _Lines(progress, total)
        with repeat_every(LOG_EVERY, lines.log):
            yield lambda _: lines.log_if_due()
        return
    started, remaining = time.monotonic(), TimeLeft(total)
    with group_bars(console, LEFT) as bars:
        task = bars.add_task("groups", total=total, state=describe_state(progress, 0.0), left="")

        def show() -> None:
            shown = describe_state(progress, time.monotonic() - started)
            bars.update(task, completed=progress.tally.groups, state=shown, left=_left(remaining, progress))

        with repeat_every(SHOW_EVERY, show):
            yield lambda _: show()


def _left(remaining: TimeLeft, progress: Progress) -> str:
    # The time that opening the models took doesn't count.
    return remaining.describe(progress.stats, progress.tally.groups) if progress.started else ""


class _Lines:
    """Log lines, at most one every `LOG_EVERY` seconds, and only where something has happened since the last."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._of = f"/{total}" if total is not None else ""
        self._remaining = TimeLeft(total)
        self._started = self._last = time.monotonic()
        self._logged = (0, 0)
        self._lock = threading.Lock()

    def log_if_due(self) -> None:
        """Log how far it has come if it is time to."""
        if time.monotonic() - self._last >= LOG_EVERY:
            self.log()

    def log(self) -> None:
        """Log how far it has come, if it has come any further."""
        progress = self._progress
        # Also where nothing is logged: the first look starts the clock.
        left = _left(self._remaining, progress)
        with self._lock:
            now = time.monotonic()
            found = (progress.tally.groups, progress.stats.total.asked)
            if found == self._logged or now - self._last < LOG_EVERY / 2:
                return
            self._logged, self._last = found, now
        parts = [describe_state(progress, now - self._started), *([left] if left else [])]
        logger.info("%d%s groups, %s", progress.tally.groups, self._of, ", ".join(parts))


def describe_state(progress: Progress, seconds: float) -> str:
    """Calls, tokens a second, cache hits and unknown share, in one line."""
    total = progress.stats.total
    tokens = total.prompt_tokens - total.cached_tokens + total.completion_tokens
    rate = tokens / seconds if seconds > 0 else 0.0
    parts = [
        describe_count(total.asked, "call"),
        f"{rate:.0f} tokens/s",
        f"{_percent(total.reused, total.requests)} cache hits",
        f"{progress.tally.unknown_share:.1%} unknown",
    ]
    return ", ".join([*parts, f"{total.failed} failed"] if total.failed else parts)


def print_tables(console: Console, content: Mapping[str, Any]) -> None:
    """The tables at the end of a run, from the content of summary.json."""
    console.print(_decisions(content))
    if content["llm"]:
        console.print(_calls(content))
    if content["families"]:
        families = ", ".join(f"{n} {name}" for name, n in content["families"].items())
        console.print(f"Families of queries: {families}", soft_wrap=True)
    for line in _describe_families(content):
        console.print(Text(line), soft_wrap=True)
    groups = content["groups"]
    notes = {
        "dropped (below the floor)": groups["dropped"],
        "below the floor of negatives": groups["below_floor"],
        "with a doubtful positive": groups["doubtful_positive"],
    }
    counts = {
        ("row", "rejected"): groups["rejected_rows"],
        ("negative", "left out unused"): content["unused_negatives"],
        ("negative", "labelled positive for the same query elsewhere"): content["positives_elsewhere"],
        ("passage", "cut to the model's context"): content["cut_passages"],
        ("ranking", "failed"): content["ranking"].get("failed", 0),
        ("ranking", "repaired"): content["ranking"].get("repaired", 0),
    }
    others = {
        **{f"{make_line(what, 80)} left out": n for what, n in content["left_out"].items()},
        **_disagreement(content),
        **{f"left out, the format can't hold it: {make_line(what, 80)}": n for what, n in content["losses"].items()},
    }
    parts = [
        *(f"{n} {what}" for what, n in notes.items() if n),
        *(f"{describe_count(n, noun)} {what}" for (noun, what), n in counts.items() if n),
        *(f"{n} {what}" for what, n in others.items() if n),
    ]
    console.print(
        f"{describe_count(groups['read'], 'group')} read, {groups['written']:,} written"
        + "".join(f"; {s}" for s in parts),
        markup=False,
    )


def _describe_families(content: Mapping[str, Any]) -> Iterator[str]:
    """What the first groups settled, and what was left alone."""
    for found in content.get("families_settled", ()):
        if found["why"] == TOO_FEW:
            continue
        of = f" of {_shorten(found['subset'])}" if found["subset"] else ""
        others = f", but for those that surely are of {' or '.join(found['others'])}" if found["others"] else ""
        taken = f"are taken for {found['family']}{others}" if found["family"] else "are taken for what each looks like"
        yield f"Queries{of} {taken}: {found['why']}, of the first {found['groups']}. To choose: --set families"
    alone = content.get("left_alone", {"groups": 0})
    if alone["groups"]:
        tasks = "; ".join(repr(_shorten(task)) for task in alone["tasks"])
        yield (
            f"{alone['groups']} groups left as they are: no family of queries for the task that their rows name"
            f"{f', such as {tasks}' if tasks else ''}. To judge them all the same, choose a family: "
            "--set 'families.*=FAMILY'"
        )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _disagreement(content: Mapping[str, Any]) -> dict[str, str]:
    agreement = content["ranking_agreement"]
    return {} if agreement is None else {"agreement of rankings over the orders shown": f"{agreement:.0%}"}


def _decisions(content: Mapping[str, Any]) -> Table:
    table = Table(title="Decisions", title_justify="left")
    for column in ("label", "by", "", "passages", "share"):
        table.add_column(column, justify="right" if column in ("passages", "share") else "left")
    for label in ("positives", "negatives"):
        for what in ("action", "status", "reason"):
            total = sum(content[label][what].values())
            for value, count in content[label][what].items():
                table.add_row(label, what, value, str(count), _percent(count, total))
            table.add_section()
    return table


def _calls(content: Mapping[str, Any]) -> Table:
    asked = ", ".join(content[what] for what in ("model", "flagger") if what in content)
    table = Table(title=f"LLM calls: {asked}", title_justify="left")
    columns = (
        "stage",
        "asked",
        "reused",
        "failed",
        "prompt tokens",
        "of them cached",
        "completion tokens",
        "seconds",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, s in content["llm"].items():
        numbers = ("asked", "reused", "failed", "prompt_tokens", "cached_tokens", "completion_tokens")
        table.add_row(name, *(f"{s[n]:,}" for n in numbers), f"{s['seconds']:.1f}")
    return table


def highlight(excerpt: Excerpt) -> Text:
    """A passage with its snippet marked; where there are no colours, by » and «."""
    shown = Text(_describe_cut(excerpt.cut_before) + excerpt.before)
    if excerpt.snippet:
        shown.append(f"»{excerpt.snippet}{_describe_cut(excerpt.cut_inside)}«", style="bold black on yellow")
    return shown.append(excerpt.after + _describe_cut(excerpt.cut_after))


def _describe_cut(characters: int) -> str:
    return f" […{characters:,} characters…] " if characters else ""


def group_view(group: Group, decisions: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """A group with its decision rows: the best ranked first, then the others in their order."""
    ranked = sorted(group.passages, key=lambda p: decisions[p.doc_id]["rank"] or len(group.passages) + 1)
    parts: list[RenderableType] = [Text(make_visible(f"{group.query_id}: {group.query}"), style="bold"), Text("")]
    for passage in ranked:
        row = decisions[passage.doc_id]
        parts += [describe_decision(row), Padding(show_passage(passage, row), (0, 0, 1, 4))]
    return RenderGroup(*parts)


def describe_decision(row: Mapping[str, Any]) -> Text:
    """A decision on one line: rank, action, label, id, reason and confidence."""
    rank = f"#{row['rank']}" if row["rank"] else "  "
    confidence = f", confidence {row['confidence']:.2f}" if row["confidence"] is not None else ""
    style = {"relabel": "green", "filter": "red", "keep": ""}[row["action"]]
    return Text.assemble(
        (f"{rank:>3} ", "bold"),
        (f"{row['action']:<8}", f"bold {style}".strip()),
        make_line(f"{row['label']} {row['doc_id']}: {row['reason']}{confidence}"),
    )


def show_passage(passage: Passage, row: Mapping[str, Any], *, most: int = 0) -> Text:
    """A passage with its title, and its snippet marked.

    Args:
        most: characters of its text that are shown, those around the snippet; all where 0.
    """
    text = highlight(take_excerpt(passage.text, row["start"], row["end"], most=most))
    return Text.assemble((f"{make_line(passage.title)}\n", "italic"), text) if passage.title else text


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
