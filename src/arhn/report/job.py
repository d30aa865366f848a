"""`arhn report` from files to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn.agree.judgements import Judgements, load
from arhn.cleaning.run.closing_words import describe_changes
from arhn.cleaning.run.files import Files
from arhn.cleaning.run.finished import FinishedRun, open_run
from arhn.files.apart import require_apart
from arhn.files.atomic import AtomicFile
from arhn.files.names import strip_suffixes
from arhn.report import drawing
from arhn.report.page import render
from arhn.report.sections import make_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to report on: outputs of `arhn clean`, gold labels, results of `arhn evaluate`; and where to."""

    outputs: Sequence[str]
    output: Path | None = None
    gold: str | None = None
    results: Sequence[str] = ()
    title: str | None = None
    overwrite: bool = False

    @property
    def place(self) -> Path:
        """Where it goes: beside the first output, called after it, unless given. Raises as `Files.beside`."""
        if self.output is not None:
            return self.output
        summary = Files.beside(self.outputs[0]).summary
        return summary.with_name(f"{strip_suffixes(Path(self.outputs[0]).name)}.report.html")


def write_report(report: Report) -> Path:
    """Write a report; the path of it.

    Raises:
        MissingDependency: Jinja2 or matplotlib isn't installed.
        ArhnError: a run, gold labels or results that can't be read, or an output that can't be written.
    """
    drawing.require()
    runs = [open_run(output, "report") for output in report.outputs]
    gold = load(report.gold) if report.gold is not None else None
    others = {"--gold": report.gold, **{f"--results {result}": result for result in report.results}}
    for run in runs:
        require_apart({**run.inputs, **others}, {"--output": report.place})
    with AtomicFile(report.place, overwrite=report.overwrite) as file:
        file.write(make_page(report, runs, gold).encode(errors="backslashreplace"))
    return report.place


def make_page(report: Report, runs: Sequence[FinishedRun], gold: Judgements | None) -> str:
    """The HTML of a report. Raises as `write_report`."""
    sections = [
        make_section(run, name, f"r{i}", gold)
        for i, (run, name) in enumerate(zip(runs, report.outputs, strict=True), start=1)
    ]
    title = report.title or f"Cleaned hard negatives: {', '.join(Path(name).name for name in report.outputs)}"
    retriever = _compare_retrievers(report.results) if report.results else None
    return render(title, sections, side_by_side=_put_side_by_side(runs, report.outputs), retriever=retriever)


def _put_side_by_side(runs: Sequence[FinishedRun], names: Sequence[str]) -> dict[str, Any]:
    summaries = [run.summary for run in runs]
    rows: list[tuple[Any, ...]] = [("in words", *(describe_changes(s) for s in summaries))]
    rows.append(("model", *(str(s.get("model", "–")) for s in summaries)))
    settings = ("method", "mode", "precision")
    rows += [(name, *(str(s["settings"].get(name)) for s in summaries)) for name in settings]
    rows.append(("groups", *(s["groups"]["read"] for s in summaries)))
    for what in ("action", "reason"):
        values = dict.fromkeys(value for s in summaries for value in s["negatives"][what])
        rows += [(f"{what}: {v}", *(s["negatives"][what].get(v, 0) for s in summaries)) for v in values]
    for name in ("asked", "prompt_tokens", "completion_tokens"):
        rows.append((f"{name.replace('_', ' ')}", *(_add_stages(s, name) for s in summaries)))
    rows.append(("seconds", *(f"{s['seconds']:,.0f}" for s in summaries)))
    return {"columns": ["of", *names], "rows": rows}


def _add_stages(summary: Mapping[str, Any], name: str) -> int:
    return sum(stage[name] for stage in summary["llm"].values())


def _compare_retrievers(results: Sequence[str]) -> dict[str, Any]:
    from arhn.compare.comparison import compare
    from arhn.compare.contenders import read_contenders
    from arhn.libraries import require

    require("numpy", "numpy", "evaluate")
    found = compare(read_contenders(results))
    rows = []
    for row in found.rows:
        cells = [
            f"{cell.mean:.4f}" + ("" if cell.difference is None else f" ({cell.difference:+.4f}{_mark(cell.adjusted)})")
            for cell in row.cells
        ]
        rows.append((row.name, row.queries, *cells))
    return {
        "caption": f"{found.measure}; in brackets the difference from {found.baseline}, * where it is significant",
        "columns": ["data set", "queries", *found.contenders],
        "rows": rows,
        "notes": found.notes,
    }


def _mark(adjusted: float | None) -> str:
    return "*" if adjusted is not None and adjusted < 0.05 else ""
