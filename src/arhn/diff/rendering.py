"""Changes in the formats of `arhn diff --format`: Markdown, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from arhn.diff.changes import Change
from arhn.texts.excerpt import Excerpt, take_excerpt
from arhn.texts.foreign import make_visible
from arhn.texts.markdown import escape_markdown

#: Characters of a passage that Markdown shows, around its snippet.
_MOST = 800
#: Beginnings of a cell that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@")


def write_markdown(changes: Iterable[Change]) -> Iterator[str]:
    """A section for each change; texts are on one line, snippets in bold."""
    for change in changes:
        row = change.row
        decided = row["action"] if change.other is None else f"{row['action']} here, {change.other['action']} there"
        facts = [f"{name} {escape_markdown(value)}" for name, value in list_facts(change)]
        yield f"## {escape_markdown(decided)}: {escape_markdown(row['doc_id'])}\n\n"
        yield f"**Query** {escape_markdown(change.group.query, _MOST)}\n\n"
        yield f"**{escape_markdown(row['label'])}** {_mark(change.passage.text, row)}\n\n"
        yield f"**best positive** {_mark(change.positive.text, change.positive_row)}\n\n"
        yield f"{', '.join(facts)}\n\n"


def write_jsonl(changes: Iterable[Change]) -> Iterator[str]:
    """One object a change, with whole texts. Only ASCII: a terminal has nothing to obey."""
    for change in changes:
        yield json.dumps(make_record(change)) + "\n"


def write_csv(changes: Iterable[Change]) -> Iterator[str]:
    """The same as a table. A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    buffer = io.StringIO()
    writer = None
    for change in changes:
        record = {name: _make_cell(value) for name, value in make_record(change).items()}
        if writer is None:
            writer = csv.DictWriter(buffer, record, extrasaction="ignore")
            writer.writeheader()
        writer.writerow(record)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


#: How changes are written, by the name of the format.
WRITERS: Mapping[str, Callable[[Iterable[Change]], Iterator[str]]] = {
    "md": write_markdown,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


def make_record(change: Change) -> dict[str, Any]:
    """A change as one flat record: the decision's own fields, the other run's action and reason, and the texts."""
    other = change.other
    compared = {} if other is None else {"other_action": other["action"], "other_reason": other["reason"]}
    return {
        **change.row,
        **compared,
        "subset": change.subset,
        "query": change.group.query,
        "title": change.passage.title,
        "text": change.passage.text,
        "positive_doc_id": change.positive.doc_id,
        "positive_text": change.positive.text,
        "positive_snippet": change.positive_row["snippet"],
    }


#: What a decision holds beside the numbers and words that stand for evidence.
_NO_EVIDENCE = frozenset(
    ("query_id", "doc_id", "label", "action", "reason", "status", "snippet", "start", "end", "rank", "cut", "family")
)


def list_evidence(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number that a decision was made from, by its field: those that later versions add, too."""
    for name, value in row.items():
        if name not in _NO_EVIDENCE and isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def list_facts(change: Change) -> Iterator[tuple[str, str]]:
    """What stands below a change: reason, evidence, rank, family, subset, query_id."""
    row = change.row
    yield "reason", str(row["reason"])
    if change.other is not None:
        yield "there", str(change.other["reason"])
    for name, value in list_evidence(row):
        yield name.replace("_", " "), f"{value:.2f}"
    for name in ("rank", "family"):
        if row.get(name) is not None:
            yield name, str(row[name])
    if change.subset:
        yield "subset", change.subset
    yield "query_id", str(row["query_id"])


def _mark(text: str, row: Mapping[str, Any]) -> str:
    found = take_excerpt(text, row["start"], row["end"], most=_MOST)
    before, snippet, after = (_keep_spaces(part) for part in (found.before, found.snippet, found.after))
    marked = f"{before}**{snippet.strip()}**{after}" if snippet.strip() else before + after
    return f"{'… ' if found.cut_before else ''}{marked}{_describe_end(found)}"


def _keep_spaces(part: str) -> str:
    """Escaped, with one space where the text had some at an end."""
    start = " " if part[:1].isspace() else ""
    end = " " if part[-1:].isspace() and part.strip() else ""
    return f"{start}{escape_markdown(part)}{end}"


def _describe_end(found: Excerpt) -> str:
    return f" … ({found.cut_after:,} characters more)" if found.cut_after else ""


def _make_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return json.dumps(value) if isinstance(value, list | dict) else value
    text = make_visible(value)
    return f"'{text}" if text.startswith((*_FORMULA, "\t", "\r")) else text
