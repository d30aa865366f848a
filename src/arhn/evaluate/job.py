"""Evaluation of one retriever: its run files and measures on some data sets, in a folder that a second call reuses."""

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

from arhn import __version__
from arhn.errors import CannotHold, NothingLeft, OutputExists, OutputLocked
from arhn.evaluate.measures import NDCG, count_identical_relevant, load_pytrec_eval, measure
from arhn.evaluate.results import PACKAGES, RESULTS, DatasetRecord, ModelRecord, Results, Settings, read_results
from arhn.evaluate.retrievers import Retriever, RunFiles, SearchRequest
from arhn.evaluate.sources import Dataset, Source
from arhn.files.apart import require_apart
from arhn.files.atomic import output_errors
from arhn.files.locks import locked
from arhn.retrieval.runs import Run, read_run, write_run

logger = logging.getLogger(__name__)

#: Passages for each query in a run, as in BEIR and mteb: deep enough that ties at the end don't change recall@100.
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
    """Evaluate a retriever, and write run files and results.json to the folder `output`.

    If the folder holds a data set's run by the same model on the same data, the data set isn't searched again. Results
    of the same model on other data sets stay in results.json and count in the averages.

    Args:
        retriever: what to evaluate.
        sources: the data sets; see `sources.find_sources`.
        output: the folder; it is made if it doesn't exist.
        depth: passages for each query in the run.
        skip_identical: leave out passages with the query's own id, as in BEIR.
        training_sets: what the model was trained on, instead of what its manifest says.
        overwrite: replace results and runs in the folder, instead of reusing them or raising an error.

    Returns:
        The results on all data sets in the folder.

    Raises:
        UsageError: a result would replace what is measured.
        OutputExists: the folder holds results of another model or other settings, or a run on other data.
        OutputLocked: another process writes to the folder.
        NothingLeft: no query of a data set finds a passage.
        CannotHold: an id has blanks in it, which a run file can't hold.
        what `retriever` and `sources` raise. All errors but those of fetching a public set are raised before the first
        search.
    """
    load_pytrec_eval()
    _require_apart(retriever, sources, output)
    checked = [source.check() for source in sources]
    model = retriever.prepare()
    if training_sets is not None:
        model = model.model_copy(update={"training_sets": tuple(training_sets)})
    with output_errors(output / RESULTS):
        output.mkdir(parents=True, exist_ok=True)
    with locked(output / ".lock", lambda: OutputLocked(f"{output}: another 'arhn evaluate' writes there. Wait for it")):
        results = _resume_results(output, model, Settings(depth=depth, skip_identical=skip_identical), overwrite)
        for source, opened in zip(sources, checked, strict=True):
            if opened is not None:
                _require_room(opened, _run_path(output, source), _make_tag(results, opened.data), overwrite)
        for source in sources:
            dataset = _evaluate_dataset(retriever, source, output, results, overwrite)
            results = results.with_dataset(dataset)
            results.write(output)
            logger.info("%s: %s %.4f", dataset.name, NDCG, dataset.means[NDCG])
    return results


def _require_apart(retriever: Retriever, sources: Sequence[Source], output: Path) -> None:
    """Raises UsageError: a result would replace what is measured."""
    inputs = dict(retriever.files) if isinstance(retriever, RunFiles) else {}
    for source in sources:
        inputs |= source.files
    outputs = {f"{RESULTS} in --output": output / RESULTS}
    require_apart(inputs, outputs | {f"the run of {source.name}": _run_path(output, source) for source in sources})


def _resume_results(output: Path, model: ModelRecord, settings: Settings, overwrite: bool) -> Results:
    """The results of this model in the folder, or new ones without data sets."""
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


def _evaluate_dataset(
    retriever: Retriever, source: Source, output: Path, results: Results, overwrite: bool
) -> DatasetRecord:
    opened = source.open()
    collection, data, path = opened.collection, opened.data, _run_path(output, source)
    tag = _make_tag(results, data)
    _require_room(opened, path, tag, overwrite)
    if not overwrite and _is_same_run(_read_tag(path), tag):
        logger.info("%s: its run is there", source.name)
        return _measure_run(opened, read_run(path), _recall_search(results, source.name, data), results.settings)
    logger.info("%s: searching %d queries in %d passages", source.name, len(collection.queries), len(collection.corpus))
    started = time.monotonic()
    settings = results.settings
    run = retriever.run(SearchRequest(source.name, collection, settings.depth, settings.skip_identical))
    seconds = round(time.monotonic() - started, 1)
    if not any(run.values()):
        raise NothingLeft(
            f"no passage was found for any of {len(collection.queries)} queries. Check that queries and corpus are of "
            "one language, or take another model",
            path=source.name,
        )
    write_run(path, run, tag, overwrite=True)  # `_require_room` checked that what is there may be replaced
    return _measure_run(opened, run, _Search(source.name, data, seconds, _list_versions()), settings)


def run_file(name: str) -> str:
    """The file name of a data set's run."""
    return f"{name}.trec"


def _run_path(output: Path, source: Source) -> Path:
    return output / run_file(source.name)


def _require_room(opened: Dataset, path: Path, tag: str, overwrite: bool) -> None:
    """Raise, before a long search, the errors that would keep its run file from being written."""
    there = _read_tag(path)
    if there is not None and not _is_same_run(there, tag) and not overwrite:
        raise OutputExists(
            f"{path}: is a run of other data, another model or other settings; choose another folder, or replace it "
            "with --overwrite"
        )
    if not _is_same_run(there, tag):
        for what, ids in (("query_id", opened.collection.queries), ("doc_id", opened.collection.corpus.doc_ids)):
            if bad := next((each for each in ids if len(each.split()) != 1), None):
                raise CannotHold(f"{what} {bad!r} has a blank in it, which a run in TREC form can't hold. Rename it")


def _make_tag(results: Results, data: str) -> str:
    """The last column of a run file: the model's name, and a hash of its identity, the settings and the data."""
    content = [results.model.identity, results.settings.model_dump(), data]
    name = re.sub(r"[^\w.+-]+", "-", results.model.name, flags=re.ASCII).strip("-")
    return f"{name}/{hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]}"


def _is_same_run(there: str | None, tag: str) -> bool:
    """Whether two tags are of the same run, whatever the model's name."""
    return there is not None and there.rsplit("/", 1)[-1] == tag.rsplit("/", 1)[-1]


def _read_tag(path: Path) -> str | None:
    """The last column of a run file; None where there is no file, or an empty one."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            columns = file.readline().split()
    except FileNotFoundError:
        return None
    return columns[-1] if columns else None


class _Search(NamedTuple):
    """A data set's name, the hash of its data, and how long its search took with which versions, if known."""

    name: str
    data: str
    seconds: float | None
    versions: Mapping[str, str]


def _recall_search(results: Results, name: str, data: str) -> _Search:
    """What earlier results record about the search behind an existing run."""
    if results.has(name) and (old := results.dataset(name)).data == data:
        return _Search(name, data, old.seconds, old.versions)
    return _Search(name, data, None, {})


def _measure_run(opened: Dataset, run: Run, searched: _Search, settings: Settings) -> DatasetRecord:
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
        identical_relevant=count_identical_relevant(collection.qrels) if settings.skip_identical else 0,
        run=run_file(searched.name),
        seconds=searched.seconds,
        versions=searched.versions,
        means=found.means,
        per_query=found.per_query,
    )


def _list_versions() -> dict[str, str]:
    return {"arhn": __version__, "python": platform.python_version()} | {
        package: found for package in PACKAGES if (found := _find_version(package))
    }


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
