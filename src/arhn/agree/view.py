"""What `arhn agree` shows."""

from __future__ import annotations

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from arhn.agree.agreement import Agreement, Side, compute_scores
from arhn.agree.confusion import Confusion
from arhn.agree.judgements import Kind
from arhn.errors import describe_count

_TITLES = {"found": "False negative found, A by B", "action": "Action, A by B"}


def agreement_view(agreement: Agreement, *, show: int) -> RenderableType:
    """Files, confusion matrices, measures, and the `show` groups that differ most."""
    views = {"found": agreement.found} | ({"action": agreement.action} if agreement.action else {})
    return RenderGroup(
        _files(agreement),
        *(_confusion(_TITLES[name], view) for name, view in views.items()),
        _measures(views),
        *map(Text, _notes(agreement)),
        *_differing(agreement, show),
    )


def _files(agreement: Agreement) -> Table:
    table = Table(title="Files", title_justify="left")
    for column in ("", "file", "kind", "groups", "negatives", "only here"):
        table.add_column(column, justify="left" if column in ("", "file", "kind") else "right", overflow="fold")
    for name, side in (("A", agreement.a), ("B", agreement.b)):
        negatives = f"{side.passages:,}" + (" named" if side.kind is Kind.VERDICTS else "")
        table.add_row(name, side.source, side.kind, f"{side.groups:,}", negatives, f"{side.only:,}")
    return table


def _confusion(title: str, view: Confusion) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("A")
    classes = [name.replace("_", " ") for name in view.classes]
    for name in classes:
        table.add_column(f"B: {name}", justify="right")
    for i, name in enumerate(classes):
        table.add_row(name, *(f"{n:,}" for n in view.counts[i * len(classes) : (i + 1) * len(classes)]))
    return table


def _measures(views: dict[str, Confusion]) -> Table:
    table = Table(title="Agreement", title_justify="left")
    for column in ("", "negatives", "groups", "same", "kappa", "95% interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, view in views.items():
        interval = "–" if view.interval is None else " to ".join(map(_number, view.interval))
        same = "–" if view.agreement is None else f"{view.agreement:.1%}"
        groups = sum(view.groups.values())
        table.add_row(name, f"{view.compared:,}", f"{groups:,}", same, _number(view.kappa), interval)
    return table


def _notes(agreement: Agreement) -> list[str]:
    notes = []
    against = compute_scores(agreement)
    if against is not None:
        notes.append("A against B: " + ", ".join(f"{name} {_number(value)}" for name, value in against.items()))
    if agreement.left_out:
        notes.append("Left out: " + ", ".join(f"{n:,} {why}" for why, n in agreement.left_out.items()))
    notes += [note for name, side in (("A", agreement.a), ("B", agreement.b)) if (note := _abstained(name, side))]
    if not agreement.found.compared:
        notes.append("No passage that both files judge is left to compare")
    elif agreement.found.kappa is None:
        notes.append("Kappa is undefined: both files put every passage in one and the same class")
    if agreement.named_only:
        notes.append(
            "Both files are verdicts: compared is what either names, so that agreement on the other passages "
            "isn't seen and kappa is lower than over all of them"
        )
    return notes


def _abstained(name: str, side: Side) -> str:
    if not side.abstained:
        return ""
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in side.abstained.items())
    return f"{name} abstained, counted as not found and as keep: {reasons}"


def _differing(agreement: Agreement, show: int) -> tuple[RenderableType, ...]:
    if not agreement.differing:
        return (Text("No group differs"),)
    total = len(agreement.differing)
    passages = sum(len(d.passages) for d in agreement.differing)
    shown = f"the {show:,} that differ most" if show < total else "all shown"
    table = Table()
    for column in ("query_id, doc_id", "A", "B"):
        table.add_column(column, overflow="fold")
    for difference in agreement.differing[:show]:
        table.add_row(Text(difference.query_id, style="bold"))
        for doc_id, a, b in difference.passages:
            table.add_row(Padding(Text(doc_id), (0, 0, 0, 2)), a, b)
        table.add_section()
    found = f"{describe_count(total, 'group')} {'differs' if total == 1 else 'differ'}"
    return Text(f"{found}, in {describe_count(passages, 'negative')}; {shown}:"), table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
