"""BEIR's public sets, fetched through mteb from the hub and kept as BEIR folders, which need neither afterwards."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from filelock import FileLock

from arhn.errors import ArhnError, TaskUnavailable
from arhn.evaluate.sets import BeirSet
from arhn.files.atomic import output_errors
from arhn.libraries import library
from arhn.retrieval.model_files import summarize

logger = logging.getLogger(__name__)

#: Says what a kept folder holds.
_ABOUT = "task.json"
_EXTRA = "evaluate"


class Kept(NamedTuple):
    """What a kept folder holds: its split, and `repository@revision` on the hub."""

    split: str
    origin: str


def kept(folder: Path) -> Kept | None:
    """What `folder` holds, or None where nothing (whole) is kept there."""
    try:
        about = orjson.loads((folder / _ABOUT).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return Kept(about["split"], about["origin"])


def require_reachable(each: BeirSet) -> None:
    """Raises TaskUnavailable: the hub hasn't the set for us. MissingDependency: mteb isn't installed."""
    task = _task(each)
    where = task.metadata.dataset
    try:
        # What mteb itself begins with; it is answered from the hub's cache where the hub can't be reached.
        library("datasets", _EXTRA).get_dataset_config_names(where["path"], where["revision"])
    except ArhnError:
        raise
    except Exception as error:
        raise _unavailable(each, where["path"], error) from error


def fetch(each: BeirSet, folder: Path) -> Kept:
    """Fetch a set into `folder`, which appears when it is whole; what another process is fetching is waited for.

    Raises:
        TaskUnavailable: it can't be fetched.
        MissingDependency: mteb isn't installed.
        DiskFull, OutputNotWritable: there is no room, or no way to write there.
    """
    task = _task(each)
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        return kept(folder) or _fetched(each, task, folder)


def _fetched(each: BeirSet, task: Any, folder: Path) -> Kept:
    logger.info("%s: fetching %s", each.name, task.metadata.dataset["path"])
    try:
        task.load_data()
        task.convert_v1_dataset_format_to_v2(num_proc=None)
    except Exception as error:  # whatever the loaders of a dozen libraries raise
        raise _unavailable(each, task.metadata.dataset["path"], error) from error
    return keep(task, folder)


def keep(task: Any, folder: Path) -> Kept:
    """Write the data of a loaded retrieval task of mteb as a BEIR folder. Raises DiskFull, OutputNotWritable."""
    split = task.eval_splits[0]
    data = task.dataset["default"][split]
    where = task.metadata.dataset
    about = Kept(split, f"{where['path']}@{where['revision']}")
    partial = folder.with_name(f".{folder.name}.partial")
    with output_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "qrels").mkdir(parents=True)
        _write(partial / "corpus.jsonl", map(_passage, data["corpus"]))
        _write(partial / "queries.jsonl", ({"_id": row["id"], "text": row["text"]} for row in data["queries"]))
        _write_qrels(partial / "qrels" / f"{split}.tsv", data["relevant_docs"])
        (partial / _ABOUT).write_bytes(orjson.dumps(about._asdict()))  # last: it says that the folder is whole
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return about


def _task(each: BeirSet) -> Any:
    return library("mteb", _EXTRA).get_task(each.task)


def _unavailable(each: BeirSet, path: str, error: Exception) -> TaskUnavailable:
    return TaskUnavailable(
        f"data set {each.name!r} ({path} on the hub) can't be fetched: {summarize(error)} Check the connection, or "
        f"give a BEIR folder of it: --data {each.name}=FOLDER."
    )


def _passage(row: Mapping[str, Any]) -> dict[str, str]:
    return {"_id": row["id"], "title": row.get("title") or "", "text": row["text"] or ""}


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("wb") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def _write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{q}\t{d}\t{grade}\n" for q, grades in qrels.items() for d, grade in grades.items())
