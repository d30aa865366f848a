"""What `arhn.clean` returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from arhn.api.kinds import Kind
from arhn.api.notebook import draw
from arhn.api.run_folder import RunFolder
from arhn.cleaning.run.finished import FinishedRun
from arhn.diff.changes import Wanted, find_changes
from arhn.diff.rendering import make_record

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 10_000  # decisions read at once
#: The types of a decision's fields, which docs/files.md describes.
_TEXTS = ("query_id", "doc_id", "label", "action", "reason", "status", "snippet", "family")
_NUMBERS = ("start", "end", "rank")
_FLAGS = ("cut",)
#: What stands beside a decision that changes something.
_OF_CHANGES = ("subset", "query", "title", "text", "positive_doc_id", "positive_text", "positive_snippet")
#: The column that names the split, where there are several.
SPLIT = "split"
#: The fields of a decision in their order.
DECISION = (
    *("query_id", "doc_id", "label", "action", "reason", "status", "snippet", "start", "end", "confidence", "log_odds"),
    *("rank", "cut", "similarity", "positive_similarity", "sentence_similarity", "fullness", "family"),
)


@dataclass(frozen=True, kw_only=True)
class CleanedData:
    """A cleaned data set, and what was decided about it.

    `data`: the cleaned groups, of the kind that was given; of a path, the path of the output. `summary`: what
    summary.json holds (docs/files.md), by split where there are several.
    """

    data: Any
    summary: Mapping[str, Any]
    _runs: Mapping[str, FinishedRun]
    _kind: Kind
    _folder: RunFolder | None = field(default=None, repr=False)

    @cached_property
    def decisions(self) -> Any:
        """A row for each passage with action, reason and confidence (docs/files.md), as a table of the library that the
        data came in; as dicts for a list of dicts, as an Arrow table for a path. Read when it is first asked for."""
        batches = chain.from_iterable(map(self._read_decisions, self._runs))
        return self._tabulate(DECISION, batches, "decisions")

    def changes(self, n: int = 10) -> Any:
        """The first `n` decisions that change something, with their texts, in the same kind of table."""
        records = list(islice(self._find_changes(), n))
        return self._tabulate((*DECISION, *_OF_CHANGES), [records], f"changes-{n}")

    def _find_changes(self) -> Iterator[dict[str, Any]]:
        for split, run in self._runs.items():
            for change in find_changes(run, Wanted()):
                yield {SPLIT: split, **make_record(change)}

    def _read_decisions(self, split: str) -> Iterator[list[dict[str, Any]]]:
        lines = self._runs[split].read_lines()
        while batch := [{SPLIT: split, **orjson.loads(line)} for _, line in islice(lines, _BATCH)]:
            yield batch

    def _tabulate(self, fields: Iterable[str], batches: Iterable[list[dict[str, Any]]], name: str) -> Any:
        import pyarrow as pa

        splits = (SPLIT,) if "" not in self._runs else ()
        schema = pa.schema([(each, _find_type(each)) for each in (*splits, *fields)])
        tables = (pa.Table.from_pylist(rows, schema=schema) for rows in batches)
        folder = self._folder.path if self._folder is not None else Path()
        return self._kind.tabulate(schema, tables, folder / f"{name}.arrow")

    def __repr__(self) -> str:
        counts = count_actions(self.summary, list(self._runs))
        return f"{type(self).__name__}({', '.join(f'{what} {count:,}' for what, count in counts.items())})"

    def _repr_html_(self) -> str:
        return draw(count_actions(self.summary, list(self._runs)), list(islice(self._find_changes(), 5)))


def count_actions(summary: Mapping[str, Any], splits: Iterable[str]) -> dict[str, int]:
    """The most important counts of a run, or of those on several splits, by what they count."""
    found = [summary[split] if split else summary for split in splits]
    actions = [each["negatives"]["action"] for each in found]
    return {
        "groups": sum(each["groups"]["read"] for each in found),
        "written": sum(each["groups"]["written"] for each in found),
        "negatives relabelled": sum(each.get("relabel", 0) for each in actions),
        "negatives filtered": sum(each.get("filter", 0) for each in actions),
        "negatives kept": sum(each.get("keep", 0) for each in actions),
        "groups with a doubtful positive": sum(each["groups"]["doubtful_positive"] for each in found),
        "requests without an answer": sum(stage["failed"] for each in found for stage in each["llm"].values()),
    }


def _find_type(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in (*_TEXTS, *_OF_CHANGES, SPLIT):
        return pa.string()
    if name in _NUMBERS:
        return pa.int64()
    return pa.bool_() if name in _FLAGS else pa.float64()


__all__ = ["DECISION", "SPLIT", "CleanedData", "count_actions"]
