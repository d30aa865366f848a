"""A finished run over invented groups, for the tests of what looks at one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from arhn import formats
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.engines.fake import FakeEngine
from arhn.types import Group, Passage
from tests.conftest import answer_by_marks, many

#: What other people's texts may hold: nothing of it may run, or be obeyed.
HOSTILE = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"></script>]]>--><b>{{ 7 * 7 }}</b>'
    " \x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2066 \x00 \u2028 =cmd|'/c calc'!A0 [link](javascript:alert(1)) ANSWER1"
)


def clean(folder: Path, groups: Iterable[Group], name: str = "cleaned.jsonl", **fields: Any) -> str:
    """Clean groups with a scripted engine; the path of the output."""
    path = folder / f"train-{name}"
    with formats.GroupWriter(path, "tevatron") as writer:
        for group in groups:
            writer.write(group)
    given = {"config": CleanConfig(calibrations=("none",)), **fields}
    job = Job(input=str(path), files=Files.beside(str(folder / name)), **given)
    run(job, lambda _: Models(engine=FakeEngine(answer_by_marks)))
    return str(folder / name)


def with_subsets(groups: Iterable[Group]) -> Iterable[Group]:
    """Every other group of the subset `odd`, the others of `even`."""
    for i, group in enumerate(groups):
        yield replace(group, extra={"subset": "odd" if i % 2 else "even"})


def hostile_groups(count: int = 3) -> Iterable[Group]:
    """Groups whose ids, queries, titles and texts are hostile; one passage has a megabyte."""
    for group in many(count, 4):
        passages = [
            replace(p, title=HOSTILE, text=f"{p.text} {HOSTILE}" + ("x" * 1_000_000 if i == 0 else ""))
            for i, p in enumerate(group.negatives)
        ]
        yield replace(
            group,
            query_id=f"{group.query_id}{HOSTILE}",
            query=f"{group.query} {HOSTILE}",
            positives=(Passage(doc_id=f"p{HOSTILE}", text=f"ANSWER2 {HOSTILE}"),),
            negatives=tuple(passages),
            extra={"subset": HOSTILE},
        )


CONFIG_F = CleanConfig(mode="F", calibrations=("none",))  # type: ignore[arg-type]
