"""Runs in TREC's format: one line `query_id Q0 doc_id rank score tag` for each passage of a query."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from arhn.errors import BadRow, CannotHold, DuplicateId, NotUtf8
from arhn.files import jsonl
from arhn.files.atomic import AtomicFile, output_errors
from arhn.files.compression import open_compressor
from arhn.files.rows import SHOWN

#: query_id -> doc_id -> score; the higher the better.
Run = Mapping[str, Mapping[str, float]]

_COLUMNS = 6


def write_run(path: str | os.PathLike[str], run: Run, tag: str, *, overwrite: bool = False) -> None:
    """Write a run; the suffix .gz or .zst compresses it. Reading it gives the same scores to the last bit.

    Within a query the highest score comes first, equal scores in the order of `run`; ranks count from 1. A query
    without passages leaves no line, because the format can't express it.

    Args:
        tag: the last column, the same in every line: a name for the run.

    Raises:
        CannotHold: an id or the tag is empty or has blanks in it, or a score isn't a finite number.
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
    """
    _require_word("tag", tag)
    with (
        AtomicFile(path, overwrite=overwrite) as file,
        output_errors(file.path),
        open_compressor(file.path, file.raw) as out,
    ):
        for query_id, scores in run.items():
            out.write(_format_lines(query_id, scores, tag).encode())


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a run that `write_run` or another tool wrote. The column of ranks is ignored, as by trec_eval.

    Raises:
        FileMissing: the file can't be read.
        BadRow: a line doesn't have six columns, or its score isn't a finite number.
        DuplicateId: a passage occurs twice for a query.
        NotUtf8, BadJson: the file isn't UTF-8, or a compressed file is damaged or cut off.
    """
    run: dict[str, dict[str, float]] = {}
    for record in jsonl.read(Path(path)):
        line, where = record.line, str(path)
        query_id, doc_id, score = _parse_line(record.raw, where, line)  # type: ignore[arg-type]  # always bytes
        scores = run.setdefault(query_id, {})
        if doc_id in scores:
            raise DuplicateId(f"doc_id {doc_id!r} occurs twice for query {query_id!r}", path=where, line=line)
        scores[doc_id] = score
    return run


def _format_lines(query_id: str, scores: Mapping[str, float], tag: str) -> str:
    _require_word("query_id", query_id)
    for doc_id, score in scores.items():
        _require_word("doc_id", doc_id)
        if not math.isfinite(score):
            raise CannotHold(f"query {query_id!r}: the score of {doc_id!r} is {score}, expected a finite number")
    best_first = sorted(scores.items(), key=lambda item: -item[1])  # stable: equal scores keep their order
    return "".join(
        f"{query_id} Q0 {doc_id} {rank} {float(score)!r} {tag}\n" for rank, (doc_id, score) in enumerate(best_first, 1)
    )


def _require_word(what: str, text: str) -> None:
    if text.split() != [text]:
        raise CannotHold(f"{what} {text!r}: a TREC run can't hold an empty {what}, or one with blanks in it")


def _parse_line(raw: bytes, path: str, line: int) -> tuple[str, str, float]:
    try:
        fields = raw.decode().split()
    except UnicodeDecodeError as error:
        raise NotUtf8("isn't UTF-8", path=path, line=line) from error
    if len(fields) != _COLUMNS:
        expected = "six columns: query_id Q0 doc_id rank score tag"
        raise BadRow("row", expected, repr(raw.decode()[:SHOWN]), path=path, line=line)
    return fields[0], fields[2], _parse_score(fields[4], path, line)


def _parse_score(text: str, path: str, line: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadRow("score", "a finite number", repr(text), path=path, line=line)
    return score
