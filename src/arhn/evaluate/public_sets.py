"""BEIR's public sets: fetched from the hub through mteb once, and saved as BEIR folders, which need neither."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from filelock import FileLock

from arhn.errors import ArhnError, TaskUnavailable
from arhn.evaluate.beir import BeirSet
from arhn.files.atomic import output_errors
from arhn.libraries import library
from arhn.retrieval.model_files import summarize

logger = logging.getLogger(__name__)

#: The file in a saved folder that describes its content.
_ABOUT = "task.json"
_EXTRA = "evaluate"


class SavedSet(NamedTuple):
    """The content of a saved folder: its split, and its origin on the hub as `repository@revision`."""

    split: str
    origin: str


def find_saved(folder: Path) -> SavedSet | None:
    """The set saved in `folder`, or None where there is no complete one."""
    try:
        about = orjson.loads((folder / _ABOUT).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return SavedSet(about["split"], about["origin"])


def require_reachable(each: BeirSet) -> None:
    """Check that a set can be fetched.

    Raises:
        TaskUnavailable: the hub can't be reached, or doesn't let us have the set.
        MissingDependency: mteb isn't installed.
    """
    task = _get_task(each)
    where = task.metadata.dataset
    try:
        # mteb's own first request; the hub's cache answers it where the hub can't be reached.
        library("datasets", _EXTRA).get_dataset_config_names(where["path"], where["revision"])
    except ArhnError:
        raise
    except Exception as error:
        raise _unavailable_error(each, where["path"], error) from error


def fetch(each: BeirSet, folder: Path) -> SavedSet:
    """Fetch a set into `folder`, which appears only when it is complete.

    If another process is fetching the set, wait for it.

    Raises:
        TaskUnavailable: the set can't be fetched.
        MissingDependency: mteb isn't installed.
        DiskFull, OutputNotWritable: the folder can't be written.
    """
    task = _get_task(each)
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        return find_saved(folder) or _fetch_task(each, task, folder)


def _fetch_task(each: BeirSet, task: Any, folder: Path) -> SavedSet:
    logger.info("%s: fetching %s", each.name, task.metadata.dataset["path"])
    try:
        task.load_data()
        task.convert_v1_dataset_format_to_v2(num_proc=None)
    except Exception as error:  # whatever the loaders of a dozen libraries raise
        raise _unavailable_error(each, task.metadata.dataset["path"], error) from error
    return save_task(task, folder)


def save_task(task: Any, folder: Path) -> SavedSet:
    """Write a loaded retrieval task of mteb as a BEIR folder.

    Raises:
        DiskFull, OutputNotWritable: the folder can't be written.
    """
    split = task.eval_splits[0]
    data = task.dataset["default"][split]
    where = task.metadata.dataset
    about = SavedSet(split, f"{where['path']}@{where['revision']}")
    partial = folder.with_name(f".{folder.name}.partial")
    with output_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "qrels").mkdir(parents=True)
        _write_rows(partial / "corpus.jsonl", map(_format_passage, data["corpus"]))
        _write_rows(partial / "queries.jsonl", ({"_id": row["id"], "text": row["text"]} for row in data["queries"]))
        _write_qrels(partial / "qrels" / f"{split}.tsv", data["relevant_docs"])
        (partial / _ABOUT).write_bytes(orjson.dumps(about._asdict()))  # last: it marks the folder as complete
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return about


def _get_task(each: BeirSet) -> Any:
    return library("mteb", _EXTRA).get_task(each.task)


def _unavailable_error(each: BeirSet, path: str, error: Exception) -> TaskUnavailable:
    return TaskUnavailable(
        f"data set {each.name!r} ({path} on the hub) can't be fetched: {summarize(error)} Check the connection, or "
        f"give a BEIR folder of it: --data {each.name}=FOLDER."
    )


def _format_passage(row: Mapping[str, Any]) -> dict[str, str]:
    return {"_id": row["id"], "title": row.get("title") or "", "text": row["text"] or ""}


def _write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("wb") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def _write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{q}\t{d}\t{grade}\n" for q, grades in qrels.items() for d, grade in grades.items())
