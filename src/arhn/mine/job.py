"""Mining from files to files: what `arhn mine` does, for the command line and for scripts."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn import __version__
from arhn.errors import NothingLeft
from arhn.files.apart import Named, require_apart
from arhn.files.atomic import AtomicFile, publish_together
from arhn.files.claims import Claim
from arhn.files.jsonl import JsonlFile
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
            UsageError: a path has no file name, or two are the same.
            OutputNotWritable: the output is a data set on the hub.
        """
        place = resolve_output(output, summary, candidates)
        default = place.with_name(f"{strip_suffixes(place.name)}.summary.json")
        files = cls(output=output, summary=summary or default, candidates=candidates)
        require_apart({}, files.flags)
        return files

    @property
    def flags(self) -> Named:
        """The files by the option that names them."""
        return {"--output": self.output, "--summary": self.summary, "--candidates": self.candidates}


def run(
    files: Files,
    open_inputs: Callable[[], tuple[Collection, Retrievers]],
    settings: Settings,
    *,
    to: str = "tevatron",
    inputs: Named | None = None,
    overwrite: bool = False,
    on_query: OnQuery | None = None,
) -> dict[str, Any]:
    """Mine, and write the groups, a summary and, if wanted, what became of each candidate.

    The outputs are opened before anything is read. They appear only once all of them are complete, the groups last.

    Args:
        open_inputs: opens the collection and its retrievers; called once the outputs can be written.
        to: the format of the groups.
        inputs: files that are read, by the flags that name them: no output may replace one.
        on_query: called after each query.

    Returns:
        The content of the summary.

    Raises:
        UsageError: an output would replace an input or another output.
        OutputLocked: another process writes an output.
        OutputExists, OutputNotWritable, DiskFull: an output can't be written.
        NothingLeft: no query gets a group.
        UnknownFormat: there is no format `to`.
        what `open_inputs` and the retrievers raise.
    """
    require_apart(inputs or {}, files.flags)
    with ExitStack() as stack:
        claim = stack.enter_context(
            Claim(*(path for path in files.flags.values() if path is not None), overwrite=overwrite)
        )
        writer = stack.enter_context(GroupWriter(files.output, to, overwrite=claim))
        summary = stack.enter_context(AtomicFile(files.summary, overwrite=claim))
        rows = stack.enter_context(JsonlFile(files.candidates, overwrite=claim)) if files.candidates else None
        started = time.monotonic()
        collection, retrievers = open_inputs()
        counts = MiningCounts(settings)
        for mined in mine(collection, retrievers.searchers, settings, scorer=retrievers.scorer):
            _write(mined, writer if counts.add(mined) else None, rows)
            if on_query is not None:
                on_query(counts.queries, len(collection.queries))
        if not counts.groups:
            raise NothingLeft(_explain_nothing(counts, retrievers), path=collection.name)
        content = _summarize(collection, retrievers, counts, writer, time.monotonic() - started)
        summary.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
        publish_together([*([rows] if rows is not None else []), summary, writer], claim)
    return content


def _explain_nothing(counts: MiningCounts, retrievers: Retrievers) -> str:
    names = ", ".join(searcher.name for searcher in retrievers.searchers)
    if not counts.fates.total() and not counts.positives_found:
        return (
            f"{names} found no passage for any of {counts.queries} queries: they share no word with the corpus. Check "
            "that both are of one language, or take a model with --retriever"
        )
    return (
        f"none of {counts.queries} queries gets a group: {counts.without_negatives} have no negative left, "
        f"{counts.without_positive} no positive with a text. Loosen the rules, or check the corpus"
    )


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
