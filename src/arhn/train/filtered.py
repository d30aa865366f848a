"""What cleaning filtered from each query, read from a decisions file: passages that are no negatives of it.

The file holds no texts. A filtered passage is told by its `doc_id`, and by its text as well where another group has it.
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
from arhn.files.jsonl import JsonlFile, row_of
from arhn.files.records import located
from arhn.files.rows import Row
from arhn.retrieval.embedder import as_text
from arhn.types import CleanedGroup, Passage, Reason

FILTER = "filter"
_ACTIONS = ("keep", "relabel", FILTER)
_CORRECT = "Correct the line, or leave the decisions out with --no-decisions"


@dataclass(slots=True)
class Filtered:
    """Keys of filtered passages by `query_id`. `doc_ids` are by hash too: no text is kept.

    `queries` are all that the files judge, whether something was filtered from them or not; `passages` counts those
    that were filtered, and `sha256` are those of the files.
    """

    keys: dict[str, array[int]] = field(default_factory=dict)
    queries: set[str] = field(default_factory=set)
    passages: int = 0
    sha256: list[str] = field(default_factory=list)

    def add(self, query_id: str, *keys: int) -> None:
        """One filtered passage, by one key or two."""
        self.keys.setdefault(query_id, array("q")).extend(keys)
        self.passages += 1

    def holds(self, query_id: str, passage: Passage) -> bool:
        """Whether a passage was filtered from a query, by its `doc_id` or its text."""
        keys = self.keys.get(query_id)
        return keys is not None and (doc_key(passage.doc_id) in keys or text_key(as_text(passage)) in keys)

    def read(self, path: Path) -> None:
        """Add what a decisions file says.

        Raises:
            FileMissing: there is no such file.
            UnknownFormat: it is empty, or no decisions file.
            NotUtf8, BadJson, BadRow: a malformed line.
        """
        found = False
        try:
            for record in jsonl.read(path):
                found = True
                try:
                    self._add(row_of(record))
                except DataError as error:
                    raise located(error, str(path), record.line, _CORRECT) from None
            self.sha256.append(sha256_of(path))
        except FileMissing as error:
            error.advice = "Check the path"
            raise
        if not found:
            raise UnknownFormat("is empty; expected the decisions of 'arhn clean'", path=str(path))

    def _add(self, row: Row) -> None:
        query_id = rows.identifier(row, "query_id")
        action = row.get("action")
        if action not in _ACTIONS:
            raise rows.bad(row, "action", f"one of {', '.join(_ACTIONS)}")
        doc_id = rows.identifier(row, "doc_id")
        self.queries.add(query_id)
        # Nothing was found against negatives that were more than wanted.
        if action == FILTER and row.get("reason") != Reason.UNUSED:
            text = row.get("text")
            self.add(query_id, doc_key(doc_id), *([text_key(text)] if isinstance(text, str) else []))


def judged_out(cleaned: CleanedGroup) -> tuple[Passage, ...]:
    """What cleaning found to be no negative and no positive, without negatives that were only more than wanted."""
    unused = {decision.doc_id for decision in cleaned.decisions if decision.reason is Reason.UNUSED}
    return tuple(passage for passage in cleaned.filtered if passage.doc_id not in unused)


def write(path: Path, filtered: Mapping[str, Iterable[Passage]], *, overwrite: bool = False) -> None:
    """A decisions file of what was filtered from queries, with texts: what a refresh leaves for a resumed run."""
    with JsonlFile(path, overwrite=overwrite) as file:
        for query_id, passages in filtered.items():
            for passage in passages:
                row = {"query_id": query_id, "doc_id": passage.doc_id, "action": FILTER, "text": as_text(passage)}
                file.write(row)


def beside(groups: str) -> Path | None:
    """The decisions that `arhn clean` left beside its output `groups`; None where there are none."""
    if "://" in groups or Path(groups).name in ("", ".."):
        return None
    try:
        path = Files.beside(groups).decisions
    except UsageError:
        return None
    return path if path.is_file() else None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises FileMissing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error


def doc_key(doc_id: str) -> int:
    """The key of a `doc_id`."""
    return _key("d", doc_id)


def text_key(text: str) -> int:
    """The key of a passage's text as a model sees it (`retrieval.embedder.as_text`), whatever its whitespace."""
    return _key("t", " ".join(text.split()))


def query_key(query: str) -> int:
    """The key of a query's text, whatever its whitespace."""
    return _key("q", " ".join(query.split()))


def _key(kind: str, content: str) -> int:
    # A lone surrogate, which a group made in memory may hold, is hashed as what it is.
    data = f"{kind}\0{content}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)
