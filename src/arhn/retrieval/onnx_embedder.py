"""Embeddings of texts by a named model that runs without PyTorch, on onnxruntime and tokenizers.

Both are imported, and the model fetched and loaded, on first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from arhn import weights
from arhn.errors import DeviceMissing, IncompatibleVersions, ModelCorrupt
from arhn.libraries import library, require
from arhn.retrieval.embedder import require_positive
from arhn.retrieval.model_files import summarize
from arhn.weights import CacheDir, EmbeddingModel

if TYPE_CHECKING:
    import numpy as np

EXTRA = "onnx"


class OnnxEmbedder:
    """Embeddings of queries and passages by one named model, which has no prompts for either.

    Texts are encoded one at a time, each on one thread, so a text's vector never depends on what is encoded beside
    it. That is also quicker than padded batches on one thread (LOG, 2026-11-28). Several threads may call it.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        device: str | None = None,
        threads: int | None = None,
        cache_dir: CacheDir = None,
    ) -> None:
        """Check the arguments; the model is neither fetched nor loaded yet.

        Args:
            model: one of `arhn.weights.EMBEDDING_MODELS`.
            device: `cpu`, or None for the same.
            threads: texts encoded at once; 1 unless given.
            cache_dir: where models are kept, as in `arhn.weights`.

        Raises:
            MissingDependency: onnxruntime or tokenizers isn't installed.
            DeviceMissing: `device` is another one.
            UsageError: `threads` is below 1.
        """
        require_positive(threads=threads)
        for name in ("onnxruntime", "tokenizers"):
            require(name, name, EXTRA)
        if device not in {None, "cpu"}:
            raise DeviceMissing(
                f"device {device!r}: {model.name} runs on the CPU only. Give cpu or no device, or a "
                "sentence-transformers model in its place."
            )
        self._model = model
        self._threads = threads or 1
        self._cache_dir = cache_dir
        self._lock = Lock()

    @cached_property
    def identity(self) -> str:
        """The model's name beside recorded scores: `<name>@sha256:<16 digits>`.

        A hash over its files' names and contents and how they are used; equal only for equal embeddings. The table
        pins the contents and loading verifies them, so nothing is fetched for it.
        """
        lines = [f"{Path(file.file).name}\0{file.sha256}" for file in self._model.files]
        lines += [f"max_length\0{self._model.max_length}", "pooling\0mean"]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return f"{self._model.name}@sha256:{digest[:16]}"

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of queries, float32, shape (len(texts), dimensions). A zero vector stays zero.

        `texts` may be empty; the shape is then (0, 0).

        Raises:
            ModelUnavailable: the model can't be fetched and isn't in the cache.
            ModelCorrupt: what came, or lies in the cache, has another SHA-256, or it gives embeddings that aren't
                numbers.
            DiskFull, OutputNotWritable: it can't be stored.
            IncompatibleVersions: the installed onnxruntime or tokenizers can't load it.
        """
        return self._encode(texts)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of passages, given as `as_text` formats them. Otherwise like `encode_queries`."""
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        numpy = library("numpy", EXTRA)
        if not texts:
            return numpy.zeros((0, 0), dtype="float32")  # type: ignore[no-any-return]
        with self._lock:
            _ = self._loaded
        if self._threads == 1:
            means = [self._encode_one(text) for text in texts]
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                means = list(pool.map(self._encode_one, texts))
        vectors = numpy.stack(means)
        if not numpy.isfinite(vectors).all():
            raise ModelCorrupt(
                f"Model {self._model.name!r} gives embeddings that aren't numbers. Choose another model."
            )
        norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
        norms[norms == 0] = 1.0
        unit: np.ndarray = (vectors / norms).astype("float32")
        return unit

    def _encode_one(self, text: str) -> np.ndarray:
        """The mean of the vectors of a text's tokens, float64, shape (dimensions,)."""
        numpy = library("numpy", EXTRA)
        session, tokenizer, names = self._loaded
        encoding = tokenizer.encode(text)
        ids = numpy.array([encoding.ids], dtype="int64")
        # Without padding, all tokens count.
        inputs = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        tokens = session.run(None, {name: inputs[name] for name in names})[0]
        mean: np.ndarray = tokens[0].mean(axis=0, dtype="float64")
        return mean

    @cached_property
    def _loaded(self) -> tuple[Any, Any, tuple[str, ...]]:
        """The session, the tokenizer and the names of the session's inputs."""
        runtime, tokenizers = library("onnxruntime", EXTRA), library("tokenizers", EXTRA)
        graph, vocabulary = weights.fetch_embedding_model(self._model, cache_dir=self._cache_dir)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            tokenizer = tokenizers.Tokenizer.from_file(str(vocabulary))
        except Exception as error:  # both raise classes of their own; the files themselves are verified
            raise IncompatibleVersions(
                f"Model {self._model.name!r} can't be loaded by onnxruntime {runtime.__version__} and tokenizers "
                f"{tokenizers.__version__}: {summarize(error)} Run: pip install -U onnxruntime tokenizers"
            ) from error
        tokenizer.no_padding()  # a tokenizer's file may pad and cut to lengths of its own
        tokenizer.enable_truncation(self._model.max_length)
        return session, tokenizer, tuple(given.name for given in session.get_inputs())
