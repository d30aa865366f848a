"""Embeddings of texts by a sentence-transformers model, with typed errors for all that can go wrong.

The library is imported, and the model loaded, on first use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Self

from arhn.errors import ArhnError, DeviceMissing, ModelCorrupt, ModelUnavailable, UsageError
from arhn.libraries import library, require
from arhn.retrieval.model_files import find_folder, hash_folder, parse_hub_name, resolve_commit, summarize
from arhn.types import Passage
from arhn.weights.cache import cache_root

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["query", "document"]


class Embedder:
    """Embeddings of queries and passages by one model.

    The model's own prompts for queries and documents are used unless others are given, and texts longer than its
    `max_seq_length` are cut there. Equal calls give equal vectors; among other texts, a vector can differ in its last
    digits, because the text is padded differently. Several threads may call it; they take turns.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str | None = None,
        threads: int | None = None,
        batch_size: int = 32,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        dtype: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        extra: str = "mine",
    ) -> None:
        """Check the arguments; the model isn't loaded yet.

        Args:
            model: a folder of a sentence-transformers model, or a name on the hub: `org/name`, optionally with
                `hf://` before and `@revision` after it.
            device: as PyTorch names it, such as `cpu` or `cuda:1`; by default the best available.
            threads: CPU threads for all of PyTorch in this process; by default PyTorch decides.
            batch_size: texts encoded at once.
            query_prompt, document_prompt: put before each text instead of the model's own prompt; "" for none.
            max_length: tokens after which texts are cut, instead of the model's own limit.
            dtype: of the weights, as PyTorch names it, such as `bfloat16`; by default as they are stored.
            cache_dir: where hashes of weight files are stored, as in `arhn.weights`.
            extra: the extra of arhn to install, for the message when the library is missing.

        Raises:
            MissingDependency: sentence-transformers isn't installed.
            ModelMissing: the folder holds no sentence-transformers model, or `model` is neither a folder nor a
                possible name on the hub.
            UsageError: `threads`, `batch_size` or `max_length` is below 1.
        """
        require_positive(threads=threads, batch_size=batch_size, max_length=max_length)
        require("sentence_transformers", "sentence-transformers", extra)
        self._extra = extra
        self._given = os.fspath(model)
        self._folder = find_folder(self._given)
        self._name, self._revision = ("", None) if self._folder else parse_hub_name(self._given)
        self._device = device
        self._threads = threads
        self._batch_size = batch_size
        self._prompts: dict[Kind, str | None] = {"query": query_prompt, "document": document_prompt}
        self._max_length = max_length
        self._dtype = dtype
        self._cache_dir = cache_dir
        # Fast tokenizers fail when two threads change their padding at once, and the model must be loaded only once.
        self._lock = RLock()

    @classmethod
    def from_model(cls, model: Any, *, identity: str, batch_size: int = 32) -> Self:
        """An embedder around a SentenceTransformer that is already in memory, such as one in training.

        Args:
            model: the SentenceTransformer.
            identity: a name for its present weights. Vectors stored on disk are looked up by it, so it must change
                when the weights do.
            batch_size: texts encoded at once.
        """
        self = cls.__new__(cls)
        self._extra, self._given, self._folder = "mine", identity, None
        self._device = self._threads = self._max_length = self._dtype = None
        self._batch_size = batch_size
        self._prompts = {"query": None, "document": None}
        self._lock = RLock()
        self.__dict__.update(model=model, identity=identity)  # fills the cached properties
        return self

    @cached_property
    def identity(self) -> str:
        """The model's name beside recorded scores; equal only for equal weights and settings.

        `<folder name>@sha256:<16 digits>`, a hash over names and contents of its weights, vocabulary and settings; for
        a name on the hub `<org/name>@<commit>`, from the hub, or from its cache when the hub can't be reached. Prompts,
        length and dtype follow in brackets where they were given.

        Raises:
            ModelMissing, ModelUnavailable: a name on the hub can't be resolved.
        """
        if self._folder is None:
            return f"{self._name}@{self._commit}{self._settings}"
        name = os.fsencode(self._folder.resolve().name).decode(errors="backslashreplace")
        return f"{name}@sha256:{hash_folder(self._folder, cache_root(self._cache_dir))[:16]}{self._settings}"

    @property
    def device(self) -> str:
        """The device of the loaded model, such as `cuda:0`. Raises as `model` does."""
        return str(self.model.device)

    def require_device(self) -> None:
        """Raise DeviceMissing if `device` can't be used on this machine. Loads nothing but PyTorch."""
        require_device(library("torch", self._extra), self._device)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of queries, float32, shape (len(texts), dimensions). A zero vector stays zero.

        `texts` may be empty; the shape is then (0, 0).

        Raises:
            ModelMissing: the hub has no such model, or what it has isn't one of sentence-transformers.
            ModelUnavailable: it can't be fetched from the hub and isn't in its cache.
            ModelCorrupt: it can't be loaded, or gives embeddings that aren't numbers.
            DeviceMissing: `device` can't be used on this machine.
        """
        return self._encode("query", texts)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of passages, given as `as_text` formats them. Otherwise like `encode_queries`."""
        return self._encode("document", texts)

    def _encode(self, kind: Kind, texts: Sequence[str]) -> np.ndarray:
        numpy = library("numpy", self._extra)
        if not texts:
            return numpy.zeros((0, 0), dtype="float32")  # type: ignore[no-any-return]
        prompt = self._prompts[kind]
        with self._lock:
            encode = self.model.encode_query if kind == "query" else self.model.encode_document
            kwargs = {} if prompt is None else {"prompt": prompt}
            vectors = encode(list(texts), batch_size=self._batch_size, show_progress_bar=False, **kwargs)
        vectors = numpy.asarray(vectors, dtype="float64").reshape(len(texts), -1)
        if not numpy.isfinite(vectors).all():
            raise ModelCorrupt(f"Model {self._given!r} gives embeddings that aren't numbers. Choose another model.")
        norms = (vectors * vectors).sum(axis=1, keepdims=True) ** 0.5
        norms[norms == 0] = 1.0
        unit: np.ndarray = (vectors / norms).astype("float32")
        return unit

    @cached_property
    def _commit(self) -> str:
        return resolve_commit(self._name, self._revision, self._extra)

    @property
    def _settings(self) -> str:
        prompts = [(f"{kind}_prompt", prompt) for kind, prompt in self._prompts.items()]
        given = [*prompts, ("max_length", self._max_length), ("dtype", self._dtype)]
        shown = [f"{name}={value!r}" for name, value in given if value is not None]
        return f" ({', '.join(shown)})" if shown else ""

    @cached_property
    def model(self) -> Any:
        """The SentenceTransformer, which is loaded on first access. Raises as `encode_queries` does."""
        torch = library("torch", self._extra)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        require_device(torch, self._device)
        try:
            model = self._load()
        except ArhnError:
            raise
        except Exception as error:  # whatever the loaders of a dozen file formats raise
            if self._folder is None and isinstance(error, OSError):
                raise ModelUnavailable(f"Model {self._given!r} can't be fetched: {summarize(error)}") from error
            raise ModelCorrupt(
                f"Model {self._given!r} can't be loaded: {summarize(error)} Fetch it again, or choose another model."
            ) from error
        if self._max_length is not None:
            self._limit_length(model, self._max_length)
        return model

    def _load(self) -> Any:
        load = library("sentence_transformers", self._extra).SentenceTransformer
        kwargs: dict[str, Any] = {"device": self._device}
        if self._dtype is not None:
            kwargs["model_kwargs"] = {"dtype": self._dtype}
        if self._folder is None:
            return load(self._name, revision=self._commit, **kwargs)
        with _hide_progress_bars(self._extra):
            return load(str(self._folder), **kwargs)

    def _limit_length(self, model: Any, length: int) -> None:
        most = find_max_tokens(model)
        if most is not None and length > most:
            raise UsageError(
                f"max_length: model {self._given!r} takes {most} tokens at most, found {length}. Use {most}."
            )
        try:
            model.max_seq_length = length
        except AttributeError as error:  # static embeddings take texts of any length
            raise UsageError(f"Model {self._given!r} has no maximal length to set. Leave max_length out.") from error


def as_text(passage: Passage) -> str:
    """A passage as retrievers read it: the title on a line of its own, then the text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def require_positive(**numbers: int | None) -> None:
    """Raise UsageError where a number, by the name of its argument, is given and below 1."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(f"{name}: expected at least 1, found {number}.")


def require_device(torch: Any, device: str | None) -> None:
    """Raise DeviceMissing where `device` is given and can't be used on this machine."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceMissing(f"device {device!r} can't be used here: {summarize(error)} Try cpu.") from error


@contextmanager
def _hide_progress_bars(extra: str) -> Iterator[None]:
    """Hide the progress bars of loading, which takes milliseconds; afterwards the library's setting is restored."""
    bars = library("transformers.utils.logging", extra)
    shown_before = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown_before:
            bars.enable_progress_bar()


def find_max_tokens(model: Any) -> int | None:
    """The number of tokens that a sentence-transformers model has position embeddings for.

    None where it has no table of positions (rotary positions, static embeddings): such a model takes any length.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa and related models count positions from the one after the padding index.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - first
    return None
