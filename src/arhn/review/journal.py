"""The file of a review: every answer is brought to the disk before anybody is told that it counts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from arhn.agree.reviews import SCHEMA, Reviewed, read_review
from arhn.cleaning.run.finished import FinishedRun
from arhn.errors import DataError, OutputLocked
from arhn.files.atomic import AtomicFile, output_errors
from arhn.files.claims import Claim
from arhn.review.sampling import Item, Plan


class Journal:
    """A review that is open for answers. `reviewed` is what it holds by now."""

    def __init__(self, reviewed: Reviewed, file: BinaryIO) -> None:
        self.reviewed = reviewed
        self._file = file

    def add(self, event: Mapping[str, Any]) -> None:
        """Write an event to the disk, and count it.

        Raises:
            DiskFull, OutputNotWritable: it doesn't count then.
        """
        whole = {**event, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        start = self._file.tell()
        with output_errors(self.reviewed.path):
            try:
                self._file.write(orjson.dumps(whole) + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:
                self._file.seek(start)
                self._file.truncate()
                raise
        self.reviewed.apply(whole)

    def add_plan(self, plan: Plan, texts: Mapping[tuple[str, str], str]) -> None:
        """Note which passages are asked about. `texts`: what identifies the texts of each, by ids."""
        items = [[*item, texts[item.query_id, item.doc_id]] for item in plan.items]
        strata = {name: list(values) for name, values in plan.strata.items()}
        self.add({"plan": {"seed": plan.seed, "strata": strata, "items": items}})


@contextmanager
def open_journal(path: Path, run: FinishedRun) -> Iterator[Journal]:
    """Open the review of a run, or begin it.

    Raises:
        OutputLocked: another process has it open.
        DataError: it is a review of another run, or isn't one.
    """
    with _claim(path) as claim:
        fingerprint = take_fingerprint(run)
        if not path.exists():
            _begin(path, run, fingerprint, claim)
        reviewed = read_review(path)
        if reviewed.header["decisions"] != fingerprint:
            raise DataError(
                f"is a review of other decisions than those of {run.output}: it was begun on "
                f"{reviewed.header.get('output')!r}. Give that run, or another place with --file; 'arhn agree' "
                "compares a review with any run",
                path=str(path),
            )
        with output_errors(path), path.open("r+b") as file:
            _cut_unfinished(file)
            yield Journal(reviewed, file)


def _claim(path: Path) -> Claim:
    try:
        return Claim(path)
    except OutputLocked as error:
        raise OutputLocked(f"{path}: another 'arhn review' has it open. Use its page, or stop it first") from error


def _begin(path: Path, run: FinishedRun, fingerprint: str, claim: Claim) -> None:
    header = {"review": SCHEMA, "output": run.output, "decisions": fingerprint}
    with AtomicFile(path, overwrite=claim) as file:
        file.write(orjson.dumps(header) + b"\n")


def _cut_unfinished(file: BinaryIO) -> None:
    """Cut off a last line without an end, which a killed process left, and go to the end."""
    content = file.read()
    whole = content.rfind(b"\n") + 1
    file.seek(whole)
    file.truncate()


def take_fingerprint(run: FinishedRun) -> str:
    """A hash of the run's decisions."""
    digest = sha256()
    for _ in run.read_lines():
        break  # says what is wrong where they are gone
    with run.decisions.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_plans(reviewed: Reviewed) -> tuple[list[Item], dict[str, tuple[str, int]], dict[tuple[str, str], str]]:
    """The passages that are asked about in their order, the strata, and what identifies the texts.

    Raises:
        DataError: a plan isn't what 'arhn review' wrote, or there is an answer on a passage that isn't in one.
    """
    items: dict[tuple[str, str], Item] = {}
    strata: dict[str, tuple[str, int]] = {}
    texts: dict[tuple[str, str], str] = {}
    try:
        for plan in reviewed.plans:
            for query_id, doc_id, stratum, place, line, text in plan["items"]:
                item = Item(str(query_id), str(doc_id), str(stratum), int(place), int(line))
                items.setdefault((item.query_id, item.doc_id), item)
                texts[item.query_id, item.doc_id] = str(text)
            strata |= {name: (str(action), int(size)) for name, (action, size) in plan["strata"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"its plan isn't what 'arhn review' wrote ({error!r})", path=str(reviewed.path)) from error
    unknown = next((ids for ids in reviewed.passages if ids not in items), None)
    if unknown is not None:
        raise DataError(
            f"has an answer on query_id {unknown[0]!r}, doc_id {unknown[1]!r}, which isn't in its plan. Take the line "
            "out",
            path=str(reviewed.path),
        )
    return list(items.values()), strata, texts


def hash_texts(parts: Sequence[str]) -> str:
    """What identifies the texts that an answer is about."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()
