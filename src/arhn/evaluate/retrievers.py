"""The retrievers that can be evaluated: an embedding model, BM25, or run files made by other tools."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from arhn.errors import RunMismatch, UsageError
from arhn.evaluate.results import ModelRecord
from arhn.libraries import require
from arhn.retrieval.bm25 import K1, B, Bm25
from arhn.retrieval.collection import Collection
from arhn.retrieval.dense import Dense
from arhn.retrieval.embedder import Embedder
from arhn.retrieval.runs import Run, read_run
from arhn.retrieval.search import Searcher, search_run
from arhn.train import manifest

#: The name that stands for BM25 where the name of a model is expected.
BM25 = "bm25"


class SearchRequest(NamedTuple):
    """A data set to search, and how: `depth` passages for each query, without its own id if `skip_identical`."""

    name: str
    collection: Collection
    depth: int
    skip_identical: bool


class Retriever(Protocol):
    """A retriever to evaluate."""

    def prepare(self) -> ModelRecord:
        """Load what is needed and describe the retriever. Errors are raised here, before any long work."""
        ...

    def run(self, request: SearchRequest) -> Run:
        """Search a data set: the best passages of every query."""
        ...


class DenseRetriever:
    """A sentence-transformers model that ranks all passages by exact cosine similarity."""

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        recipe: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        batch_size: int = 32,
        dtype: str | None = None,
        embeddings: Path | None = None,
    ) -> None:
        """Check the arguments; the model isn't loaded yet.

        Args:
            model: a folder, or a name on the hub. If the folder holds `arhn.train.json`, that is its training's record.
            name: what tables call the model; by default the name of its folder or on the hub.
            query_prompt, document_prompt, max_length: to use instead of the model's own.
            recipe: the name of the training recipe that these were taken from, which is only recorded.
            device, threads, batch_size, dtype: see `Embedder`.
            embeddings: a folder that stores the vectors of passages for later evaluations.

        Raises:
            MissingDependency, ModelMissing, UsageError: see `Embedder`.
        """
        self._embedder = Embedder(
            model,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            max_length=max_length,
            device=device,
            threads=threads,
            batch_size=batch_size,
            dtype=dtype,
            extra="evaluate",
        )
        place = Path(model).expanduser()
        self._folder = place.resolve() if place.is_dir() else None
        self._name = name or (self._folder.name if self._folder else model)
        self._prompts = (query_prompt, document_prompt)
        self._recipe = recipe
        self._embeddings = embeddings

    def prepare(self) -> ModelRecord:
        """See `Retriever`.

        Raises:
            ModelUnavailable, ModelCorrupt, UsageError: see `Embedder.model`.
            BadJson: the manifest in the model's folder can't be parsed.
        """
        trained = _read_manifest(self._folder)
        model = self._embedder.model
        query, document = self._prompts
        return ModelRecord(
            name=self._name,
            kind="dense",
            identity=self._embedder.identity,
            prompts={
                "query": _own_prompt(model, "query") if query is None else query,
                "document": _own_prompt(model, "document", "passage", "corpus") if document is None else document,
            },
            max_length=_own_length(model),
            recipe=self._recipe,
            training_sets=tuple(trained.sets) or None if trained else None,
            # The losses are long, and stay in the manifest itself.
            manifest=trained.model_dump(mode="json", by_alias=True, exclude={"losses"}) if trained else None,
        )

    def run(self, request: SearchRequest) -> Run:
        """See `Retriever`."""
        return _search(
            Dense(request.collection.corpus, self._embedder, cache=self._embeddings, faiss_above=sys.maxsize), request
        )


class Bm25Retriever:
    """BM25 with English stop words and stems. It isn't trained, so every data set is out of its domain."""

    def __init__(self, *, name: str | None = None) -> None:
        self._name = name or BM25

    def prepare(self) -> ModelRecord:
        """See `Retriever`. Raises MissingDependency: bm25s or PyStemmer isn't installed."""
        require("bm25s", "bm25s", "mine")
        require("Stemmer", "PyStemmer", "mine")
        return ModelRecord(name=self._name, kind="bm25", identity=f"bm25 k1={K1:g} b={B:g} english", training_sets=())

    def run(self, request: SearchRequest) -> Run:
        """See `Retriever`."""
        return _search(Bm25(request.collection.corpus), request)


class RunFiles:
    """Run files in TREC's format, one for each data set."""

    def __init__(self, files: Sequence[str], datasets: Sequence[str], *, name: str | None = None) -> None:
        """Assign the files to the data sets; nothing is read yet.

        Args:
            files: `DATASET=PATH` each, or `PATH` where there is only one data set.
            datasets: the names of the data sets.
            name: what tables call the runs; by default the first file's name.

        Raises:
            UsageError: a data set has no run or several, or a run has no data set.
        """
        named = [_parse_file(spec, datasets) for spec in files]
        self._files = dict(named)
        if len(self._files) < len(named) or self._files.keys() != set(datasets):
            raise UsageError(
                f"--run: found runs for {', '.join(each or '?' for each, _ in named)}. Give one for each data set, "
                f"as DATASET=FILE: {', '.join(datasets)}."
            )
        self._name = name or named[0][1].name.split(".")[0]
        self._runs: dict[str, Run] = {}

    @property
    def files(self) -> Mapping[str, Path]:
        """The run files, by how they are named."""
        return {f"--run {path}": path for path in self._files.values()}

    def prepare(self) -> ModelRecord:
        """See `Retriever`. Raises FileMissing, BadRow, DuplicateId, ...: see `read_run`."""
        self._runs = {name: read_run(path) for name, path in self._files.items()}
        hashes = "".join(sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files.values()))
        return ModelRecord(name=self._name, kind="run", identity=hashlib.sha256(hashes.encode()).hexdigest())

    def run(self, request: SearchRequest) -> Run:
        """See `Retriever`; the depth of the request is ignored.

        Raises:
            RunMismatch: the run has queries that the data set lacks.
        """
        run = self._runs[request.name]
        if unknown := [query_id for query_id in run if query_id not in request.collection.qrels]:
            raise RunMismatch(
                f"{self._files[request.name]}: {len(unknown)} of its {len(run)} queries have no judgement in "
                f"{request.name}: {', '.join(map(repr, unknown[:5]))}. "
                "Check that run, data and --split belong together."
            )
        return run


def _read_manifest(folder: Path | None) -> manifest.Manifest | None:
    """The manifest in a model's folder, None where there is none. Raises BadJson where it can't be parsed."""
    return manifest.read(folder) if folder and (folder / manifest.NAME).exists() else None


def _search(searcher: Searcher, request: SearchRequest) -> Run:
    return search_run(searcher, request.collection, request.depth, skip_identical=request.skip_identical)


def _parse_file(spec: str, datasets: Sequence[str]) -> tuple[str, Path]:
    name, equals, path = spec.partition("=")
    if equals and not Path(spec).exists():
        return name, Path(path)
    return datasets[0] if len(datasets) == 1 else "", Path(spec)


def _own_prompt(model: Any, *names: str) -> str | None:
    """The model's own prompt, under the first of these names that it has, else under its default name.

    sentence-transformers looks prompts up in this order.
    """
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return model.prompts.get(name) or None


def _own_length(model: Any) -> int | None:
    length = model.max_seq_length
    return int(length) if isinstance(length, (int, float)) and length < sys.maxsize else None
