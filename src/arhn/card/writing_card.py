"""The card of a cleaned data set: a README with the header that the Hugging Face hub reads.

What comes from the data or the user (names, settings) is escaped: in the header as JSON strings, which YAML reads, in
the text as Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arhn import __version__
from arhn.cleaning.run.calibration_notes import describe_calibrations
from arhn.cleaning.run.closing_words import describe_changes
from arhn.cleaning.run.finished import FinishedRun
from arhn.report.meanings import MEANINGS
from arhn.review.findings import Outcome, list_lines, list_tables
from arhn.texts.markdown import escape_markdown

#: Upper bounds of the hub's size categories.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
_SETTINGS = ("method", "mode", "precision", "floor", "floor_policy", "negatives", "samples", "show_answer", "fullness")
_HUB = "hf://"


def make_card(
    run: FinishedRun,
    *,
    title: str,
    data: str,
    license: str | None = None,  # noqa: A002  # the hub's word
    languages: Sequence[str] = (),
    outcome: Outcome | None = None,
) -> str:
    """The card as Markdown.

    Args:
        title: of the data set.
        data: where its groups are in the repository.
        license: of the source, as the hub names licences; unknown unless given.
        outcome: of a review of the run, where there was one.
    """
    summary = run.summary
    parts = [
        "\n".join(_list_header(run, title, data, license, languages)),
        f"# {escape_markdown(title)}",
        "\n".join(_describe(run, license)),
        f"## What was done\n\n{escape_markdown(describe_changes(summary))}.",
        _make_table(["label", "reason", "passages", "meaning"], _list_reasons(summary)),
        f"## Model, prompts, calibration\n\n{_make_table(['what', 'value'], _list_basis(summary))}",
        "\n".join(f"- {escape_markdown(line)}" for line in describe_calibrations(summary)),
        "## Checked by people\n\n" + "\n\n".join(_describe_review(outcome)),
        f"## Settings\n\n{_make_table(['setting', 'value'], _list_settings(summary))}",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _list_limits(summary, license, outcome)),
    ]
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _list_header(
    run: FinishedRun, title: str, data: str, license_: str | None, languages: Sequence[str]
) -> Iterator[str]:
    groups = run.summary["groups"]["written"]
    size = next((name for bound, name in _SIZES if groups < bound), "n>10M")
    source = run.files.input
    yield "---"
    yield f"pretty_name: {json.dumps(title)}"
    yield f"license: {json.dumps(license_ or 'unknown')}"
    if languages:
        yield f"language: {json.dumps(list(languages))}"
    yield 'task_categories: ["text-retrieval"]'
    yield 'tags: ["hard-negatives", "retrieval", "arhn"]'
    yield f"size_categories: {json.dumps([size])}"
    if source.startswith(_HUB):
        yield f"source_datasets: {json.dumps([source.removeprefix(_HUB).partition(':')[0]])}"
    files = [{"split": "train", "path": data}]
    yield f"configs: {json.dumps([{'config_name': 'default', 'data_files': files}])}"
    yield "---"


def _describe(run: FinishedRun, license_: str | None) -> Iterator[str]:
    groups, name = run.summary["groups"], name_source(run)
    yield (
        f"{groups['written']:,} groups of a query, its positives and its hard negatives, made from "
        f"{escape_markdown(name)} by `arhn` {escape_markdown(__version__)}, which asks an LLM whether mined negatives "
        "answer the query: those that answer more directly than the labelled positive became positives, those that "
        "answer less directly were dropped, all others are as they were. No text was changed or written by a model."
    )
    yield ""
    yield f"Licence of the source: {escape_markdown(license_) if license_ else 'not stated; ask its authors'}."


def name_source(run: FinishedRun) -> str:
    """What the input is called: of a file on this machine only its name."""
    return run.files.input if "://" in run.files.input else Path(run.files.input).name


def _list_reasons(summary: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for label in ("negatives", "positives"):
        for reason, n in summary[label]["reason"].items():
            yield label, reason, f"{n:,}", MEANINGS.get(reason, "")


def _list_basis(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, what in (("model", "LLM"), ("flagger", "small model"), ("similarity", "similarity model")):
        if name in summary:
            yield what, str(summary[name])
    for family, hashes in summary["prompts"].items():
        yield f"prompts, {family}", ", ".join(f"{name} {value}" for name, value in hashes.items())
    for family, calibration in summary["calibrations"].items():
        kind = "calibrated" if calibration["calibrated"] else "not calibrated: the LLM's own word"
        yield f"thresholds, {family}", f"{calibration['threshold']:g} and {calibration['lower']:g} ({kind})"
    for name, version in summary["versions"].items():
        yield f"version of {name}", str(version)


def _describe_review(outcome: Outcome | None) -> Iterator[str]:
    if outcome is None or not any(sum(counts.values()) for counts in outcome.answers.values()):
        yield "Nobody has checked a sample of these decisions yet (`arhn review`)."
        return
    people = "1 person" if outcome.people == 1 else f"{outcome.people:,} people"
    yield f"{people} judged a sample without seeing the LLM's decisions."
    for table in list_tables(outcome):
        yield f"{escape_markdown(table['caption'])}."
        yield _make_table(table["columns"], table["rows"])
    for line in list_lines(outcome):
        yield f"{escape_markdown(line)}."


def _list_settings(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    settings = summary["settings"]
    for name in _SETTINGS:
        if name in settings:
            yield name, json.dumps(settings[name])
    if isinstance(settings.get("ranker"), Mapping):
        yield "ranker", json.dumps(settings["ranker"])


def _list_limits(summary: Mapping[str, Any], license_: str | None, outcome: Outcome | None) -> Iterator[str]:
    yield "The labels are an LLM's decisions. Some are wrong: its confidences and reasons are in the decisions file."
    if any(not c["calibrated"] for c in summary["calibrations"].values()):
        yield "Some confidences aren't calibrated: the LLM's own word decided there."
    if outcome is None:
        yield "No person has checked a sample."
    uncertain = summary["negatives"]["reason"].get("uncertain", 0)
    if uncertain:
        yield f"{uncertain:,} negatives were too uncertain to touch, and may be false."
    broken = summary["negatives"]["status"].get("unknown", 0)
    if broken:
        yield f"On {broken:,} negatives the LLM's answer was broken: their labels are those of the source."
    yield "Whatever is wrong with the source's texts is still in them."
    if not license_:
        yield "The licence of the source isn't stated here. Find it out before you use or share the data."


def _make_table(columns: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(escape_markdown(c) or ' ' for c in columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(escape_markdown(cell, 300) for cell in row)} |" for row in rows]
    return "\n".join(lines) if len(lines) > 2 else ""
