"""How a calibration is shown: a bar while the LLM is asked, then how far its confidences can be relied on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from arhn.calibrate.fit import Fit
from arhn.calibrate.job import OnGroup
from arhn.cleaning.run.bars import LEFT, SHOW_EVERY, group_bars, repeat_every
from arhn.cleaning.run.time_left import TimeLeft
from arhn.cleaning.stats import Stats
from arhn.errors import describe_count

_WIDTH = 30


@contextmanager
def show_progress(console: Console) -> Iterator[OnGroup]:
    """A bar that moves on a terminal, nothing elsewhere; yields what to call before the first group and per group."""
    with ExitStack() as stack:
        bars = stack.enter_context(group_bars(console, LEFT))
        task = bars.add_task("groups", total=None, state="", left="")

        def on_group(done: int, total: int, stats: Stats) -> None:
            bars.update(task, completed=done, total=total)
            if not done:
                remaining = TimeLeft(total)
                stack.enter_context(repeat_every(SHOW_EVERY, lambda: bars.update(task, **_describe(stats, remaining))))

        yield on_group


def _describe(stats: Stats, remaining: TimeLeft) -> dict[str, Any]:
    asked = stats.total
    return {
        "state": f"{describe_count(asked.asked, 'call')}, {asked.reused} stored",
        "left": remaining.describe(stats, 0),
    }


def fit_view(fit: Fit) -> RenderableType:
    """One fit: what it was fitted on, its reliability, and what each threshold gives."""
    c = fit.calibration
    heading = (
        f"{c.family}: {describe_count(c.fitted['groups'], 'group')}, {c.fitted['false_negatives']:,} false and "
        f"{describe_count(c.fitted['true_negatives'], 'true negative')}. All below is cross-validated over groups.\n"
        f"AUC {fit.auc:.3f}, Brier score {fit.brier:.3f}; confidence = sigmoid({_describe_signals(fit)} "
        f"{c.intercept:+.3g})"
    )
    if fit.skipped_groups:
        heading += (
            f"\nleft out: {describe_count(fit.skipped_groups, 'group')} without a usable label or with a broken answer"
        )
    shown = [_reliability(fit), _thresholds(fit)]
    return Group(heading, *shown, *([_triage(fit)] if c.triage else []))


def _describe_signals(fit: Fit) -> str:
    return " ".join(
        f"{w.weight:+.3g} * ({name} - {w.centre:.2f} * its group mean)" for name, w in fit.calibration.signals.items()
    ).removeprefix("+")


def _reliability(fit: Fit) -> Table:
    table = Table(title="Reliability: confidences and how often they are right", title_justify="left")
    for column in ("confidence", "passages", "mean", "false negatives", ""):
        table.add_column(column, justify="left" if column in ("confidence", "") else "right")
    for b in fit.reliability:
        table.add_row(f"{b.low:.2f}–{b.high:.2f}", str(b.count), f"{b.mean:.2f}", f"{b.observed:.2f}", _bar(b.observed))
    return table


def _thresholds(fit: Fit) -> Table:
    table = Table(title="Precision and recall by threshold", title_justify="left")
    for column in ("", "threshold", "precision", "recall", "F1", "true negatives lost"):
        table.add_column(column, justify="right" if column else "left")
    for t in fit.thresholds:
        numbers = (f"{t.threshold:.3f}", f"{t.precision:.2f}", f"{t.recall:.2f}", f"{t.f1:.2f}", f"{t.lost:.1%}")
        table.add_row(t.name, *numbers)
    return table


def _triage(fit: Fit) -> Table:
    by = f"likeliest by {fit.calibration.flagger}" if fit.calibration.flagger else "likeliest by similarity"
    table = Table(title=f"Triage: asking only about the negatives that are {by}", title_justify="left")
    for column in ("asked about", "agreement with asking about all"):
        table.add_column(column, justify="right")
    for point in fit.calibration.triage[::2]:
        table.add_row(f"{point.share:.0%}", f"{point.agreement:.1%}")
    return table


def _bar(share: float) -> str:
    return "█" * round(share * _WIDTH)
