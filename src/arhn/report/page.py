"""A report's page: what was gathered, put into the template. Texts of others are escaped there (autoescape)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from arhn import __version__
from arhn.diff.changes import Change
from arhn.diff.rendering import list_facts
from arhn.libraries import library
from arhn.report.gathering import DOUBTFUL, EXAMPLES, POINTS
from arhn.texts.excerpt import take_excerpt
from arhn.texts.foreign import make_line, make_visible

#: Characters of a passage and of a query that a card shows.
_PASSAGE, _QUERY = 700, 300
_WORDS = {"relabel": "became positive", "filter": "dropped", "keep": "stays"}

SAMPLING = (
    f"at most {EXAMPLES} examples of each reason and way of picking, {POINTS} points, {DOUBTFUL} doubtful positives, "
    f"and {_PASSAGE} characters of a passage around its snippet. All counts are of the whole run."
)


def make_card(change: Change, place: str, how: str, gold: str = "") -> dict[str, Any]:
    """One example as the template shows it. `place`: its id in the page."""
    row, positive = change.row, change.positive_row
    return {
        "id": place,
        "query": make_line(change.group.query, _QUERY),
        "label": row["label"],
        "doc_id": make_line(row["doc_id"], 80),
        "title": change.passage.title,
        "excerpt": take_excerpt(change.passage.text, row["start"], row["end"], most=_PASSAGE),
        "positive_id": make_line(change.positive.doc_id, 80),
        "positive_title": change.positive.title,
        "positive_excerpt": take_excerpt(change.positive.text, positive["start"], positive["end"], most=_PASSAGE),
        "action": row["action"],
        "word": _WORDS[row["action"]],
        "how": how,
        "facts": [(name, make_line(value, 80)) for name, value in list_facts(change)],
        "gold": gold.replace("_", " "),
    }


def render(title: str, runs: Sequence[Mapping[str, Any]], **more: Any) -> str:
    """The page. `runs` and `more` are what the template names; drawings among them are safe as they are."""
    jinja = library("jinja2", "report")
    environment = jinja.Environment(
        loader=jinja.FunctionLoader(_read), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"line": make_line, "visible": make_visible}
    css = _read("report.css")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page: str = environment.get_template("report.html").render(
        title=make_line(title, 200),
        runs=runs,
        css=mark_safe(css),
        policy=mark_safe(policy),
        version=__version__,
        sampling=SAMPLING,
        **more,
    )
    return page


def mark_safe(drawn: str) -> Any:
    """What arhn itself has drawn: it goes into the page as it is."""
    return library("markupsafe", "report").Markup(drawn)


def flatten(settings: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as pairs of a dotted name and a value."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


def _read(name: str) -> str:
    return files("arhn.report").joinpath("templates", name).read_text("utf-8")
