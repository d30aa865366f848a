"""What can be evaluated: an embedding model, BM25, or runs that were made elsewhere."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
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

#: The name that stands for BM25 where a model is asked for.
BM25 = "bm25"


class Asked(NamedTuple):
    """A data set to be searched: `depth` passages a query, without one of the query's own id if `skip_identical`."""

    name: str
    collection: Collection
    depth: int
    skip_identical: bool


class Retriever(Protocol):
    """What is evaluated."""

    def prepare(self) -> ModelRecord:
        """Get ready, and say what this is. Whatever can go wrong goes wrong here, before anything long begins."""
        ...

    def run(self, asked: Asked) -> Run:
        """The best passages of every query of a data set."""
        ...


class Embedding:
    """A sentence-transformers model: all passages by cosine similarity, exact."""

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
        """Nothing is loaded yet.

        Args:
            model: a folder, or a name on the hub; `arhn.train.json` in the folder says how it was trained.
            name: what tables call it; the folder's name or the hub's, unless given.
            query_prompt, document_prompt, max_length: instead of the model's own.
            recipe: where prompts and length come from that aren't given and that the model hasn't; recorded.
            device, threads, batch_size, dtype: see `Embedder`.
            embeddings: a folder that keeps the vectors of passages for the next time.

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
            BadJson: the manifest in the model's folder isn't one.
        """
        trained = _manifest(self._folder)
        model = self._embedder.model
        query, document = self._prompts
        return ModelRecord(
            name=self._name,
            kind="dense",
            identity=self._embedder.identity,
            prompts={
                "query": _own(model, "query") if query is None else query,
                "document": _own(model, "document", "passage", "corpus") if document is None else document,
            },
            max_length=_length(model),
            recipe=self._recipe,
            training_sets=tuple(trained.sets) or None if trained else None,
            # The losses are long, and the model's own file keeps them.
            manifest=trained.model_dump(mode="json", by_alias=True, exclude={"losses"}) if trained else None,
        )

    def run(self, asked: Asked) -> Run:
        """See `Retriever`."""
        return _searched(
            Dense(asked.collection.corpus, self._embedder, cache=self._embeddings, faiss_above=sys.maxsize), asked
        )


class WordMatching:
    """BM25 with English stop words and stems; nothing is trained, so every data set is out of its domain."""

    def __init__(self, *, name: str | None = None) -> None:
        self._name = name or BM25

    def prepare(self) -> ModelRecord:
        """See `Retriever`. Raises MissingDependency: bm25s or PyStemmer isn't installed."""
        require("bm25s", "bm25s", "mine")
        require("Stemmer", "PyStemmer", "mine")
        return ModelRecord(name=self._name, kind="bm25", identity=f"bm25 k1={K1:g} b={B:g} english", training_sets=())

    def run(self, asked: Asked) -> Run:
        """See `Retriever`."""
        return _searched(Bm25(asked.collection.corpus), asked)


class RunFiles:
    """Runs in TREC form, one a data set."""

    def __init__(self, files: Sequence[str], datasets: Sequence[str], *, name: str | None = None) -> None:
        """
        Args:
            files: `DATASET=PATH`, or `PATH` where there is only one data set.
            datasets: what the data sets are called.
            name: what tables call the runs; the first file's name, unless given.

        Raises:
            UsageError: a data set without a run, or with two, or a run without a data set.
        """
        named = [_file(spec, datasets) for spec in files]
        self._files = dict(named)
        if len(self._files) < len(named) or self._files.keys() != set(datasets):
            raise UsageError(
                f"--run: found runs for {', '.join(each or '?' for each, _ in named)}. Give one for each data set, "
                f"as DATASET=FILE: {', '.join(datasets)}."
            )
        self._name = name or named[0][1].name.split(".")[0]
        self._runs: dict[str, Run] = {}

    def prepare(self) -> ModelRecord:
        """See `Retriever`. Raises FileMissing, BadRow, DuplicateId, ...: see `read_run`."""
        self._runs = {name: read_run(path) for name, path in self._files.items()}
        hashes = "".join(sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files.values()))
        return ModelRecord(name=self._name, kind="run", identity=hashlib.sha256(hashes.encode()).hexdigest())

    def run(self, asked: Asked) -> Run:
        """See `Retriever`; the whole run, however deep. Raises RunMismatch: it has queries that the data hasn't."""
        run = self._runs[asked.name]
        if unknown := [query_id for query_id in run if query_id not in asked.collection.qrels]:
            raise RunMismatch(
                f"{self._files[asked.name]}: {len(unknown)} of its {len(run)} queries have no judgement in "
                f"{asked.name}: {', '.join(map(repr, unknown[:5]))}. Check that run, data and --split belong together."
            )
        return run


def _manifest(folder: Path | None) -> manifest.Manifest | None:
    """How a model was trained, where its folder says so. Raises BadJson: what it says is no manifest."""
    return manifest.read(folder) if folder and (folder / manifest.NAME).exists() else None


def _searched(searcher: Searcher, asked: Asked) -> Run:
    return search_run(searcher, asked.collection, asked.depth, skip_identical=asked.skip_identical)


def _file(spec: str, datasets: Sequence[str]) -> tuple[str, Path]:
    name, equals, path = spec.partition("=")
    if equals and not Path(spec).exists():
        return name, Path(path)
    return datasets[0] if len(datasets) == 1 else "", Path(spec)


def _own(model: Any, *names: str) -> str | None:
    """The model's own prompt, which sentence-transformers looks for under these names, then under its default one."""
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return model.prompts.get(name) or None


def _length(model: Any) -> int | None:
    length = model.max_seq_length
    return int(length) if isinstance(length, (int, float)) and length < sys.maxsize else None
