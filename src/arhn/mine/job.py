"""Mining from files to files: what `arhn mine` does, for the command line and for scripts."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn import __version__
from arhn.errors import OutputLocked, UsageError
from arhn.files.atomic import AtomicFile, Output
from arhn.files.jsonl import JsonlFile
from arhn.files.locks import locked
from arhn.files.names import resolve_output, strip_suffixes
from arhn.formats import GroupWriter
from arhn.mine.counts import SCHEMA, MiningCounts
from arhn.mine.mining import Mined, mine
from arhn.mine.rules import Settings
from arhn.retrieval.collection import Collection
from arhn.retrieval.search import Searcher

#: Called after each query with the number of queries done and the number of all.
OnQuery = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrievers:
    """The retrievers to mine with, and the one whose scores the rules compare; by default the first."""

    searchers: Sequence[Searcher]
    scorer: Searcher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files that mining writes: groups, their summary, and, if given, a line for each candidate."""

    output: str
    summary: Path
    candidates: Path | None = None

    @classmethod
    def beside(cls, output: str, *, summary: Path | None = None, candidates: Path | None = None) -> Files:
        """Choose the files for an output. By default the summary is beside it, as `dir/groups.summary.json`.

        Raises:
            UsageError: two paths are the same, or one has no file name.
            OutputNotWritable: the output is a data set on the hub.
        """
        place = resolve_output(output, summary, candidates)
        default = place.with_name(f"{strip_suffixes(place.name)}.summary.json")
        files = cls(output=output, summary=summary or default, candidates=candidates)
        places = [os.path.realpath(p) for p in (output, files.summary, candidates) if p is not None]
        if len({*places}) < len(places):
            raise UsageError("--output, --summary and --candidates name one file twice. Give each its own.")
        return files


def run(
    files: Files,
    open_inputs: Callable[[], tuple[Collection, Retrievers]],
    settings: Settings,
    *,
    to: str = "tevatron",
    overwrite: bool = False,
    on_query: OnQuery | None = None,
) -> dict[str, Any]:
    """Mine, and write the groups, a summary and, if wanted, what became of each candidate.

    The outputs are opened before anything is read. They appear only once all of them are complete, the groups last.

    Args:
        open_inputs: opens the collection and its retrievers; called once the outputs can be written.
        to: the format of the groups.
        on_query: called after each query.

    Returns:
        The content of the summary.

    Raises:
        OutputLocked: another process writes the output.
        OutputExists, OutputNotWritable, DiskFull: an output can't be written.
        UnknownFormat: there is no format `to`.
        what `open_inputs` and the retrievers raise.
    """
    place = Path(os.path.realpath(files.output))
    busy = OutputLocked(f"{files.output}: another arhn process is writing it. Wait for it, or write elsewhere.")
    with ExitStack() as stack:
        stack.enter_context(locked(place.with_name(f".{place.name}.lock"), lambda: busy))
        writer = stack.enter_context(GroupWriter(files.output, to, overwrite=overwrite))
        summary = stack.enter_context(AtomicFile(files.summary, overwrite=overwrite))
        rows = stack.enter_context(JsonlFile(files.candidates, overwrite=overwrite)) if files.candidates else None
        started = time.monotonic()
        collection, retrievers = open_inputs()
        counts = MiningCounts(settings)
        for mined in mine(collection, retrievers.searchers, settings, scorer=retrievers.scorer):
            _write(mined, writer if counts.add(mined) else None, rows)
            if on_query is not None:
                on_query(counts.queries, len(collection.queries))
        content = _summarize(collection, retrievers, counts, writer, time.monotonic() - started)
        summary.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
        outputs: list[Output] = [writer, summary, *([rows] if rows is not None else [])]
        for output in outputs:
            output.prepare()
    return content


def _write(mined: Mined, writer: GroupWriter | None, rows: JsonlFile | None) -> None:
    if writer is not None and mined.group is not None:
        writer.write(mined.group)
    if rows is not None:
        for row in _candidate_rows(mined):
            rows.write(row)


def _summarize(
    collection: Collection, retrievers: Retrievers, counts: MiningCounts, writer: GroupWriter, seconds: float
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "versions": {"arhn": __version__, "python": platform.python_version()},
        "collection": {
            "name": collection.name,
            "corpus": str(collection.corpus.path),
            "passages": len(collection.corpus),
            "digest": collection.corpus.digest,
        },
        "retrievers": [searcher.name for searcher in retrievers.searchers],
        "scorer": (retrievers.scorer or retrievers.searchers[0]).name,
        "settings": counts.settings.model_dump(),
        "format": writer.format,
        **counts.as_dict(),
        "dropped": dict(collection.dropped),
        "losses": dict(sorted(writer.losses.items())),
        "seconds": round(seconds, 3),
    }


def _candidate_rows(mined: Mined) -> Iterator[dict[str, Any]]:
    """One row for each candidate that was read. Those skipped by the range weren't, so their doc_id is unknown."""
    for candidate, fate in zip(mined.candidates, mined.fates, strict=True):
        if candidate.passage is not None:
            yield {
                "query_id": mined.query_id,
                "doc_id": candidate.passage.doc_id,
                "rank": candidate.rank,
                "score": None if candidate.score is None else round(candidate.score, 6),
                "fate": fate.value,
            }
