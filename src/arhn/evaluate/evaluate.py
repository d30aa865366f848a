"""Runs and measures of one retriever on some data sets, in a folder that a second call goes on with."""

from __future__ import annotations

import hashlib
import logging
import platform
import re
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import orjson

from arhn._version import __version__
from arhn.errors import CannotHold, OutputExists, OutputLocked
from arhn.evaluate.measures import NDCG, identical_relevant, measure, pytrec_eval
from arhn.evaluate.results import PACKAGES, RESULTS, DatasetRecord, ModelRecord, Results, Settings, read_results
from arhn.evaluate.retrievers import Asked, Retriever
from arhn.evaluate.sources import Opened, Source
from arhn.files.atomic import output_errors
from arhn.files.locks import locked
from arhn.retrieval.runs import Run, read_run, write_run

logger = logging.getLogger(__name__)

#: Passages a query in a run, as in BEIR and mteb: deep enough that ties at the end don't touch recall@100.
DEPTH = 1000


def evaluate(
    retriever: Retriever,
    sources: Sequence[Source],
    output: Path,
    *,
    depth: int = DEPTH,
    skip_identical: bool = True,
    training_sets: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Results:
    """Evaluate a retriever; run files and results.json go to the folder `output`.

    A data set whose run is there, made by the same model from the same data, isn't searched again. What else the
    folder holds of the same model stays in its results.json and counts in the averages.

    Args:
        sources: the data sets; see `sources.sources`.
        depth: passages a query in the run.
        skip_identical: leave out passages with the query's own id, as in BEIR.
        training_sets: what the model was trained on, where its manifest doesn't say or is to be overruled.
        overwrite: replace what the folder holds, instead of going on with it or refusing.

    Raises:
        OutputExists: the folder holds results of another model or other settings, or a run of other data.
        OutputLocked: another process writes there.
        CannotHold: an id with blanks in it, which a run file can't hold.
        and what `retriever` and `sources` raise. All but what a hub only says when a data set is fetched is
        raised before the first search.
    """
    pytrec_eval()
    checked = [source.check() for source in sources]
    model = retriever.prepare()
    if training_sets is not None:
        model = model.model_copy(update={"training_sets": tuple(training_sets)})
    with output_errors(output / RESULTS):
        output.mkdir(parents=True, exist_ok=True)
    with locked(output / ".lock", lambda: OutputLocked(f"{output}: another 'arhn evaluate' writes there. Wait for it")):
        results = _begun(output, model, Settings(depth=depth, skip_identical=skip_identical), overwrite)
        for source, opened in zip(sources, checked, strict=True):
            if opened is not None:
                _require_room(opened, _place(output, source), _tag(results, opened.data), overwrite)
        for source in sources:
            dataset = _dataset(retriever, source, output, results, overwrite)
            results = results.with_dataset(dataset)
            results.write(output)
            logger.info("%s: %s %.4f", dataset.name, NDCG, dataset.means[NDCG])
    return results


def _begun(output: Path, model: ModelRecord, settings: Settings, overwrite: bool) -> Results:
    """What the folder holds of this model, or nothing."""
    new = Results(model=model, settings=settings, datasets=())
    if overwrite or not (output / RESULTS).exists():
        return new
    old = read_results(output)
    for what, before, now in (
        ("the model", old.model.identity, model.identity),
        ("the settings", old.settings, settings),
    ):
        if before != now:
            raise OutputExists(
                f"{output}: holds results with {what} {before}, not {now}; choose another folder, or replace them with "
                "--overwrite"
            )
    return new.model_copy(update={"datasets": old.datasets})


def _dataset(retriever: Retriever, source: Source, output: Path, results: Results, overwrite: bool) -> DatasetRecord:
    opened = source.open()
    collection, data, path = opened.collection, opened.data, _place(output, source)
    tag = _tag(results, data)
    _require_room(opened, path, tag, overwrite)
    if not overwrite and _is(_tag_of(path), tag):
        logger.info("%s: its run is there", source.name)
        return _measured(opened, read_run(path), _found(results, source.name, data), results.settings)
    logger.info("%s: searching %d queries in %d passages", source.name, len(collection.queries), len(collection.corpus))
    started = time.monotonic()
    settings = results.settings
    run = retriever.run(Asked(source.name, collection, settings.depth, settings.skip_identical))
    seconds = round(time.monotonic() - started, 1)
    write_run(path, run, tag, overwrite=True)  # whatever is there is ours to replace, as was checked
    return _measured(opened, run, _Searched(source.name, data, seconds, _versions()), settings)


def run_file(name: str) -> str:
    """The file name of a data set's run."""
    return f"{name}.trec"


def _place(output: Path, source: Source) -> Path:
    return output / run_file(source.name)


def _require_room(opened: Opened, path: Path, tag: str, overwrite: bool) -> None:
    """Raises what would otherwise stop the run file from being written after a long search."""
    there = _tag_of(path)
    if there is not None and not _is(there, tag) and not overwrite:
        raise OutputExists(
            f"{path}: is a run of other data, another model or other settings; choose another folder, or replace it "
            "with --overwrite"
        )
    if not _is(there, tag):
        for what, ids in (("query_id", opened.collection.queries), ("doc_id", opened.collection.corpus.doc_ids)):
            if bad := next((each for each in ids if len(each.split()) != 1), None):
                raise CannotHold(f"{what} {bad!r} has a blank in it, which a run in TREC form can't hold. Rename it")


def _tag(results: Results, data: str) -> str:
    """The last column of a run file: which model, settings and data it is of."""
    of = [results.model.identity, results.settings.model_dump(), data]
    name = re.sub(r"[^\w.+-]+", "-", results.model.name, flags=re.ASCII).strip("-")
    return f"{name}/{hashlib.sha256(orjson.dumps(of)).hexdigest()[:16]}"


def _is(there: str | None, tag: str) -> bool:
    """Whether two tags are of the same run, whatever the model is called."""
    return there is not None and there.rsplit("/", 1)[-1] == tag.rsplit("/", 1)[-1]


def _tag_of(path: Path) -> str | None:
    """The last column of a run file; None where there is no file, or nothing in it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            columns = file.readline().split()
    except FileNotFoundError:
        return None
    return columns[-1] if columns else None


class _Searched(NamedTuple):
    """A data set, the hash of its data, and what is known of the search."""

    name: str
    data: str
    seconds: float | None
    versions: Mapping[str, str]


def _found(results: Results, name: str, data: str) -> _Searched:
    """What earlier results tell of a run that is there."""
    if results.has(name) and (old := results.dataset(name)).data == data:
        return _Searched(name, data, old.seconds, old.versions)
    return _Searched(name, data, None, {})


def _measured(opened: Opened, run: Run, searched: _Searched, settings: Settings) -> DatasetRecord:
    collection = opened.collection
    found = measure(collection.qrels, run, skip_identical=settings.skip_identical)
    return DatasetRecord(
        name=searched.name,
        split=opened.split,
        source=opened.origin,
        data=searched.data,
        passages=len(collection.corpus),
        missing=found.missing,
        without_relevant=found.without_relevant,
        identical_relevant=identical_relevant(collection.qrels) if settings.skip_identical else 0,
        run=run_file(searched.name),
        seconds=searched.seconds,
        versions=searched.versions,
        means=found.means,
        per_query=found.per_query,
    )


def _versions() -> dict[str, str]:
    return {"arhn": __version__, "python": platform.python_version()} | {
        package: found for package in PACKAGES if (found := _version(package))
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
