"""A sentence-transformers model: found, checked, loaded with typed errors, and asked for unit vectors.

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
from arhn.retrieval.whereabouts import digest, folder_of, hub_name, resolved, said
from arhn.types import Passage
from arhn.weights.cache import cache_root

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["query", "document"]


class Embedder:
    """Embeddings of queries and passages by one model.

    The model's own prompts for queries and documents are used unless others are given, and texts longer than its
    `max_seq_length` are cut there. Equal calls give equal vectors; a text that is encoded among other texts can
    differ in the last digits, for it is padded differently. May be called from several threads, which take turns.
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
        """Nothing is loaded yet, but what can be seen at once is checked.

        Args:
            model: a folder of a sentence-transformers model, or else a name on the hub: `org/name`, optionally
                `hf://` before and `@revision` after it.
            device: as PyTorch names it, such as `cpu` or `cuda:1`; the best there is, unless given.
            threads: CPU threads, for all of PyTorch in this process; PyTorch's choice, unless given.
            batch_size: texts encoded at once.
            query_prompt, document_prompt: put in front of each text instead of the model's own; "" for none.
            max_length: tokens at which texts are cut, instead of the model's own number.
            dtype: of the weights, as PyTorch names it, such as `bfloat16`; as they are stored, unless given.
            cache_dir: where the hashes of weight files are kept, as in `arhn.weights`.
            extra: the extra of arhn that a message names when the library is missing.

        Raises:
            MissingDependency: sentence-transformers isn't installed.
            ModelMissing: the folder holds no sentence-transformers model, or there is no such folder and it
                isn't a hub name.
            UsageError: `threads`, `batch_size` or `max_length` below 1.
        """
        for name, number in (("threads", threads), ("batch_size", batch_size), ("max_length", max_length)):
            if number is not None and number < 1:
                raise UsageError(f"{name}: expected at least 1, found {number}.")
        require("sentence_transformers", "sentence-transformers", extra)
        self._extra = extra
        self._given = os.fspath(model)
        self._folder = folder_of(self._given)
        self._name, self._revision = ("", None) if self._folder else hub_name(self._given)
        self._device = device
        self._threads = threads
        self._batch_size = batch_size
        self._prompts: dict[Kind, str | None] = {"query": query_prompt, "document": document_prompt}
        self._max_length = max_length
        self._dtype = dtype
        self._cache_dir = cache_dir
        # Fast tokenizers fail when two threads change their padding at once, and one model is to be loaded once.
        self._lock = RLock()

    @classmethod
    def holding(cls, model: Any, *, identity: str, batch_size: int = 32) -> Self:
        """An embedder around a SentenceTransformer that is in memory already, such as one in training.

        `identity` names its present weights: embeddings that are kept on disk are found again by it.
        """
        self = cls.__new__(cls)
        self._extra, self._given, self._folder = "mine", identity, None
        self._device = self._threads = self._max_length = self._dtype = None
        self._batch_size = batch_size
        self._prompts = {"query": None, "document": None}
        self._lock = RLock()
        self.__dict__.update(model=model, identity=identity)  # as if the cached properties had been asked for
        return self

    @cached_property
    def identity(self) -> str:
        """What the model is called beside recorded scores; equal only where weights and settings are.

        `<folder name>@sha256:<16 digits>`, over names and contents of its weights, vocabulary and settings; for a
        hub name `<org/name>@<commit>`, asked of the hub, or of its cache when it can't be reached. Prompts, length
        and dtype follow in brackets where they were given.

        Raises ModelMissing and ModelUnavailable (a hub name).
        """
        if self._folder is None:
            return f"{self._name}@{self._commit}{self._settings}"
        name = os.fsencode(self._folder.resolve().name).decode(errors="backslashreplace")
        return f"{name}@sha256:{digest(self._folder, cache_root(self._cache_dir))[:16]}{self._settings}"

    @property
    def device(self) -> str:
        """Where the loaded model is, such as `cuda:0`. Raises as `model` does."""
        return str(self.model.device)

    def require_device(self) -> None:
        """Raise DeviceMissing if the `device` that was asked for can't be used here. Nothing is loaded but PyTorch."""
        require_device(library("torch", self._extra), self._device)

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of queries, float32, shape (len(texts), dimensions). A zero vector stays zero.

        Raises:
            ModelMissing: the hub has no such model, or what it has isn't one of sentence-transformers.
            ModelUnavailable: neither the hub nor its cache has it for us.
            ModelCorrupt: it can't be loaded, or gives embeddings that aren't numbers.
            DeviceMissing: there is no such `device`.
        """
        return self._encode("query", texts)

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of passages as `as_text` writes them. Everything else as for `queries`."""
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
            raise ModelCorrupt(f"Model {self._given!r} gives embeddings that aren't numbers. Choose another one.")
        norms = (vectors * vectors).sum(axis=1, keepdims=True) ** 0.5
        norms[norms == 0] = 1.0
        unit: np.ndarray = (vectors / norms).astype("float32")
        return unit

    @cached_property
    def _commit(self) -> str:
        return resolved(self._name, self._revision, self._extra)

    @property
    def _settings(self) -> str:
        prompts = [(f"{kind}_prompt", prompt) for kind, prompt in self._prompts.items()]
        given = [*prompts, ("max_length", self._max_length), ("dtype", self._dtype)]
        shown = [f"{name}={value!r}" for name, value in given if value is not None]
        return f" ({', '.join(shown)})" if shown else ""

    @cached_property
    def model(self) -> Any:
        """The SentenceTransformer, loaded now if it wasn't. Raises as `queries` does."""
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
                raise ModelUnavailable(f"Model {self._given!r} can't be fetched: {said(error)}") from error
            raise ModelCorrupt(
                f"Model {self._given!r} can't be loaded: {said(error)} Fetch it again, or choose another one."
            ) from error
        if self._max_length is not None:
            self._cut(model, self._max_length)
        return model

    def _load(self) -> Any:
        load = library("sentence_transformers", self._extra).SentenceTransformer
        kwargs: dict[str, Any] = {"device": self._device}
        if self._dtype is not None:
            kwargs["model_kwargs"] = {"dtype": self._dtype}
        if self._folder is None:
            return load(self._name, revision=self._commit, **kwargs)
        with _without_bars(self._extra):
            return load(str(self._folder), **kwargs)

    def _cut(self, model: Any, length: int) -> None:
        held = positions(model)
        if held is not None and length > held:
            raise UsageError(f"max_length: model {self._given!r} holds {held} tokens, not {length}. Take {held}.")
        try:
            model.max_seq_length = length
        except AttributeError as error:  # static embeddings take texts of any length
            raise UsageError(f"Model {self._given!r} has no maximal length to set. Leave it out.") from error


def as_text(passage: Passage) -> str:
    """A passage as retrievers see it: the title on a line of its own, then the text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def require_device(torch: Any, device: str | None) -> None:
    """Raises DeviceMissing: `device` is given and can't be used here."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceMissing(f"device {device!r} can't be used here: {said(error)} Try cpu.") from error


@contextmanager
def _without_bars(extra: str) -> Iterator[None]:
    """No bar for the milliseconds that loading takes; the library's own setting is put back."""
    bars = library("transformers.utils.logging", extra)
    shown_before = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown_before:
            bars.enable_progress_bar()


def positions(model: Any) -> int | None:
    """Tokens that a model of sentence-transformers has positions for; None where it has no table of them (rotary
    positions, static embeddings): such a model takes any length."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa and its kin count from behind the index that pads.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - first
    return None
