"""The passages that cleaning filtered from each query, read from a decisions file: they are no negatives of it.

The file may hold no texts. A filtered passage is recognised by its `doc_id`, and by its text as well where the file or
another group has it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from arhn.cleaning.run import Files
from arhn.errors import DataError, FileMissing, UnknownFormat, UsageError
from arhn.files import jsonl, rows
from arhn.files.jsonl import JsonlFile, read_row
from arhn.files.record import locate
from arhn.files.rows import Row
from arhn.retrieval.embedder import as_text
from arhn.types import CleanedGroup, Passage, Reason

FILTER = "filter"
_ACTIONS = ("keep", "relabel", FILTER)
_CORRECT = "Correct the line, or leave the decisions out with --no-decisions"


@dataclass(slots=True)
class FilteredPassages:
    """The passages filtered from each query.

    `keys` are hashes of the passages' doc_ids and texts, by query_id. `queries` are all query_ids in the decisions
    files, also those that nothing was filtered from. `passages` counts the filtered passages, and `sha256` holds the
    hash of each file.
    """

    keys: dict[str, array[int]] = field(default_factory=dict)
    queries: set[str] = field(default_factory=set)
    passages: int = 0
    sha256: list[str] = field(default_factory=list)

    def add(self, query_id: str, *keys: int) -> None:
        """Add one filtered passage, by the key of its doc_id, of its text, or both."""
        self.keys.setdefault(query_id, array("q")).extend(keys)
        self.passages += 1

    def contains(self, query_id: str, passage: Passage) -> bool:
        """Whether a passage was filtered from a query, by its `doc_id` or its text."""
        keys = self.keys.get(query_id)
        return keys is not None and (doc_key(passage.doc_id) in keys or text_key(as_text(passage)) in keys)

    def read(self, path: Path) -> None:
        """Add the filtered passages in a decisions file.

        Raises:
            FileMissing: the file can't be read.
            UnknownFormat: it is empty, or isn't a decisions file.
            NotUtf8, BadJson, BadRow: a line is malformed.
        """
        empty = True
        try:
            for record in jsonl.read(path):
                empty = False
                try:
                    self._add(read_row(record))
                except DataError as error:
                    raise locate(error, str(path), record.line, _CORRECT) from None
            self.sha256.append(hash_file(path))
        except FileMissing as error:
            error.advice = "Check the path"
            raise
        if empty:
            raise UnknownFormat("is empty; expected the decisions of 'arhn clean'", path=str(path))

    def _add(self, row: Row) -> None:
        query_id = rows.read_id(row, "query_id")
        action = row.get("action")
        if action not in _ACTIONS:
            raise rows.make_error(row, "action", f"one of {', '.join(_ACTIONS)}")
        doc_id = rows.read_id(row, "doc_id")
        self.queries.add(query_id)
        # Negatives that were only more than wanted may still be used.
        if action == FILTER and row.get("reason") != Reason.UNUSED:
            text = row.get("text")
            self.add(query_id, doc_key(doc_id), *([text_key(text)] if isinstance(text, str) else []))


def list_filtered(cleaned: CleanedGroup) -> tuple[Passage, ...]:
    """The passages that cleaning filtered, without those that were only more negatives than wanted."""
    unused = {decision.doc_id for decision in cleaned.decisions if decision.reason is Reason.UNUSED}
    return tuple(passage for passage in cleaned.filtered if passage.doc_id not in unused)


def write_decisions(path: Path, filtered: Mapping[str, Iterable[Passage]], *, overwrite: bool = False) -> None:
    """Write a decisions file with the texts of filtered passages by query_id, as a refresh leaves it for a resumed run.

    Raises:
        OutputExists, OutputNotWritable, DiskFull: the file can't be written.
    """
    with JsonlFile(path, overwrite=overwrite) as file:
        for query_id, passages in filtered.items():
            for passage in passages:
                row = {"query_id": query_id, "doc_id": passage.doc_id, "action": FILTER, "text": as_text(passage)}
                file.write(row)


def find_beside(groups: str) -> Path | None:
    """The path of the decisions file that `arhn clean` wrote beside its output `groups`; None where there is none."""
    if "://" in groups or Path(groups).name in ("", ".."):
        return None
    try:
        path = Files.beside(groups).decisions
    except UsageError:
        return None
    return path if path.is_file() else None


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal. Raises FileMissing where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error


def doc_key(doc_id: str) -> int:
    """The key of a `doc_id`: a 64-bit hash."""
    return _key("d", doc_id)


def text_key(text: str) -> int:
    """The key of a passage's text, as `retrieval.embedder.as_text` formats it; whitespace doesn't matter."""
    return _key("t", " ".join(text.split()))


def query_key(query: str) -> int:
    """The key of a query's text; whitespace doesn't matter."""
    return _key("q", " ".join(query.split()))


def _key(kind: str, content: str) -> int:
    # A group made in memory may hold a lone surrogate, which plain UTF-8 can't encode.
    data = f"{kind}\0{content}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)
