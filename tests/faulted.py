"""What must hold of a run against a server with faults, read from the files that it left."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from arhn import clean_groups
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.run.records import make_decision_rows
from arhn.engines import Capabilities, Completion, Request, RequestFailed
from arhn.store import SqliteStore
from arhn.types import Group
from tests.served import LIES

Row = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """The files of `arhn clean … -o FOLDER/out.jsonl`."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "out.responses.sqlite"

    @cached_property
    def summary(self) -> Row:
        found: Row = orjson.loads((self.folder / "out.summary.json").read_bytes())
        return found

    @cached_property
    def output(self) -> list[Row]:
        return self._rows("out.jsonl")

    @cached_property
    def failures(self) -> list[Row]:
        return self._rows("out.failures.jsonl")

    @cached_property
    def decisions(self) -> dict[str, list[Row]]:
        """By query_id, in the order of the file."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows("out.decisions.jsonl"):
            found[row["query_id"]].append(row)
        return found

    @cached_property
    def answers(self) -> dict[bytes, Any]:
        """The response store."""
        with closing(sqlite3.connect(self.store)) as db:
            return {key: orjson.loads(answer) for key, answer in db.execute("SELECT key, answer FROM answers")}

    def _rows(self, name: str) -> list[Row]:
        path = self.folder / name
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class Unplugged:
    """The engine of a run, of which only the name is left: what the store doesn't hold has no answer."""

    def __init__(self, ran: Ran) -> None:
        serving = ran.summary["serving"]["model"]
        self.model = ran.summary["model"]
        self.capabilities = Capabilities(
            constraints=serving["constraints"]["way"] is not None,
            logprobs=serving["top_logprobs"] > 0,
            concurrency=16,
            context=serving["context"],
        )

    async def complete(self, request: Request) -> Completion:
        raise RequestFailed("unplugged")

    async def aclose(self) -> None:
        return None


def broken_promises(groups: Sequence[Group], ran: Ran, healthy: Ran, lied: Collection[str]) -> list[str]:
    """What doesn't hold of `ran`, whose server had faults; nothing, if all is well.

    Args:
        healthy: a run on the same groups with a server that had none.
        lied: questions that got a whole answer which was wrong.
    """
    harmed = {row["query_id"] for row in ran.failures}
    harmed |= {group.query_id for group in groups if any(group.query in question for question in lied)}
    return [
        *_lost(groups, ran),
        *_unbacked(groups, ran),
        *_unsound(ran, healthy),
        *_different(groups, ran, healthy, harmed),
    ]


def _lost(groups: Sequence[Group], ran: Ran) -> Iterator[str]:
    """Every group is there once, in order, and has a decision on every passage, once, in order."""
    ids = [group.query_id for group in groups]
    if [row["query_id"] for row in ran.output] != ids:
        yield "the output has other groups than the input, or in another order"
    if list(ran.decisions) != ids:
        yield "decisions on other groups than the input's, or in another order"
    for group in groups:
        if [row["doc_id"] for row in ran.decisions[group.query_id]] != [p.doc_id for p in group.passages]:
            yield f"{group.query_id}: decisions on other passages than the group's, or in another order"


def _unbacked(groups: Sequence[Group], ran: Ran) -> Iterator[str]:
    """Every change of a label rests on words of its passage and on answers in the store, and on nothing else."""
    with SqliteStore(ran.store, model=ran.summary["model"]) as store:
        for group, again in zip(
            groups,
            clean_groups(groups, Unplugged(ran), config=CleanConfig(calibrations=("none",)), store=store),
            strict=True,
        ):
            texts = {p.doc_id: p.text for p in group.passages}
            rows = ran.decisions[group.query_id]
            if orjson.loads(orjson.dumps(list(make_decision_rows(again)))) != rows:
                yield f"{group.query_id}: the stored answers give other decisions"
            for row in rows:
                if row["action"] != "keep" and not _verbatim(row, texts[row["doc_id"]]):
                    yield f"{row['doc_id']}: {row['action']} without words of the passage"


def _verbatim(row: Row, text: str) -> bool:
    return row["status"] == "answer" and bool(row["snippet"]) and text[row["start"] : row["end"]] == row["snippet"]


def _unsound(ran: Ran, healthy: Ran) -> Iterator[str]:
    """What is stored is what a server without faults answers, but for whole answers that were wrong."""
    for key, answer in ran.answers.items():
        if key in healthy.answers and answer != healthy.answers[key] and not any(lie in answer[0] for lie in LIES):
            yield f"a stored answer that the server never gave: {answer[0]!r}"


def _different(groups: Sequence[Group], ran: Ran, healthy: Ran, harmed: Collection[str]) -> Iterator[str]:
    """Groups that got all their answers are what they are without faults."""
    kept = {row["query_id"]: row for row in healthy.output}
    for group, row in zip(groups, ran.output, strict=False):
        query_id = group.query_id
        if query_id in harmed:
            continue
        if row != kept[query_id] or ran.decisions[query_id] != healthy.decisions[query_id]:
            yield f"{query_id}: another outcome than without faults"


__all__ = ["Ran", "broken_promises"]
