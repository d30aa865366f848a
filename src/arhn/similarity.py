"""A retriever's similarity of a query with passages, by any sentence-transformers model.

sentence-transformers comes with the extra `similarity`. It is imported, and the model loaded, on first use.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from threading import RLock
from typing import Any

from arhn.errors import ArhnError, MissingDependency, ModelCorrupt, ModelMissing, ModelUnavailable, UsageError
from arhn.types import Group, Passage
from arhn.weights.cache import cache_root, sha256_of

#: Groups encoded together: enough to fill batches with texts of like length, few enough to hold.
WINDOW = 256
DIGITS = 6
_MODULES = "modules.json"
_HUB = re.compile(r"(?:hf://)?(?P<repo>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[^@\s]+))?", re.IGNORECASE)
#: Files that a score can hang on: weights, vocabulary, settings.
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
#: Other formats of the same weights, and what training leaves behind.
_ELSEWHERE = re.compile(r"onnx|openvino|checkpoint-.*|\..*")


class Similarity:
    """Cosine similarities of queries with passages.

    The model's own prompts for queries and documents are used where it has them, and texts longer than its
    `max_seq_length` are cut there, as in retrieval with it.

    Scores have 6 digits. Equal calls give equal scores; a text that is encoded among other texts can differ in
    the last digit, for it is padded differently. May be called from several threads, which take turns.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str | None = None,
        threads: int | None = None,
        batch_size: int = 32,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Nothing is loaded yet, but what can be seen at once is checked.

        Args:
            model: a folder of a sentence-transformers model, or else a name on the hub: `org/name`, optionally
                `hf://` before and `@revision` after it.
            device: as PyTorch names it, such as `cpu` or `cuda:1`; the best there is, unless given.
            threads: CPU threads, for all of PyTorch in this process; PyTorch's choice, unless given.
            batch_size: texts encoded at once.
            cache_dir: where the hashes of weight files are kept, as in `arhn.weights`.

        Raises:
            MissingDependency: sentence-transformers isn't installed.
            ModelMissing: the folder holds no sentence-transformers model, or there is no such folder and it
                isn't a hub name.
            UsageError: `threads` or `batch_size` below 1.
        """
        for name, number in (("threads", threads), ("batch_size", batch_size)):
            if number is not None and number < 1:
                raise UsageError(f"{name}: expected at least 1, found {number}.")
        if find_spec("sentence_transformers") is None:
            raise MissingDependency("sentence-transformers", "similarity")
        self._given = os.fspath(model)
        self._folder = _folder(self._given)
        self._name, self._revision = ("", None) if self._folder else _hub_name(self._given)
        self._device = device
        self._threads = threads
        self._batch_size = batch_size
        self._cache_dir = cache_dir
        # Fast tokenizers fail when two threads change their padding at once, and one model is to be loaded once.
        self._lock = RLock()

    @cached_property
    def identity(self) -> str:
        """What the model is called beside recorded scores; equal only where the weights and settings are.

        `<folder name>@sha256:<16 digits>`, over names and contents of its weights, vocabulary and settings; for a
        hub name `<org/name>@<commit>`, asked of the hub, or of its cache when it can't be reached.

        Raises ModelMissing and ModelUnavailable (a hub name).
        """
        if self._folder is None:
            return f"{self._name}@{self._commit}"
        name = os.fsencode(self._folder.resolve().name).decode(errors="backslashreplace")
        return f"{name}@sha256:{_digest(self._folder, cache_root(self._cache_dir))[:16]}"

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        """The cosine similarity of `query` with each of `passages`, in [-1, 1], in their order.

        For many queries use `many` or `groups`, which fill the batches. Raises as `many` does.
        """
        return next(self.many([(query, passages)]))

    def groups(self, groups: Iterable[Group]) -> Iterator[tuple[float, ...]]:
        """Per group, its query's similarity with `group.passages`: positives, then negatives. As `many`."""
        return self.many((group.query, group.passages) for group in groups)

    def many(self, asked: Iterable[tuple[str, Sequence[Passage]]]) -> Iterator[tuple[float, ...]]:
        """Similarities of (query, passages) pairs, one tuple a pair, in their order.

        `WINDOW` pairs are read ahead and encoded together, each distinct text once.

        Raises:
            ModelMissing: the hub has no such model, or what it has isn't one of sentence-transformers.
            ModelUnavailable: neither the hub nor its cache has it for us.
            ModelCorrupt: it can't be loaded, or gives embeddings that aren't numbers.
            UsageError: there is no such `device`.
        """
        pairs = iter(asked)
        while window := list(islice(pairs, WINDOW)):
            texts = [[_shown(passage) for passage in passages] for _, passages in window]
            queries = self._encode("encode_query", (query for query, _ in window))
            documents = self._encode("encode_document", chain.from_iterable(texts))
            for (query, _), shown in zip(window, texts, strict=True):
                yield tuple(self._cosine(queries[query], documents[text]) for text in shown)

    def _encode(self, method: str, texts: Iterable[str]) -> dict[str, Any]:
        """Unit vectors in float64 (zero vectors stay zero), by text."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        with self._lock:
            encode = getattr(self._model, method)
            vectors = encode(distinct, batch_size=self._batch_size, show_progress_bar=False)
        vectors = vectors.astype("float64")
        norms = (vectors * vectors).sum(axis=1, keepdims=True) ** 0.5
        norms[norms == 0] = 1.0
        return dict(zip(distinct, vectors / norms, strict=True))

    def _cosine(self, query: Any, document: Any) -> float:
        cosine = float(query @ document)
        if not math.isfinite(cosine):
            raise ModelCorrupt(f"Model {self._given!r} gives embeddings that aren't numbers. Choose another one.")
        # + 0.0 makes -0.0 plain 0.0, which is written alike everywhere.
        return round(max(-1.0, min(1.0, cosine)), DIGITS) + 0.0

    @cached_property
    def _commit(self) -> str:
        return _resolved(self._name, self._revision)

    @cached_property
    def _model(self) -> Any:
        library = _library("sentence_transformers")
        torch = _library("torch")
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        _require_device(torch, self._device)
        try:
            if self._folder is None:
                return library.SentenceTransformer(self._name, revision=self._commit, device=self._device)
            with _without_bars():
                return library.SentenceTransformer(str(self._folder), device=self._device)
        except ArhnError:
            raise
        except Exception as error:  # whatever the loaders of a dozen file formats raise
            if self._folder is None and isinstance(error, OSError):
                raise ModelUnavailable(f"Model {self._given!r} can't be fetched: {_said(error)}") from error
            raise ModelCorrupt(
                f"Model {self._given!r} can't be loaded: {_said(error)} Fetch it again, or choose another one."
            ) from error


def _shown(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def _folder(given: str) -> Path | None:
    """The folder that `given` names; None where there is none and it may be a hub name."""
    try:
        path = Path(given).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, ~nobody, a null character
        raise _missing(given, str(error)) from error
    if is_file:
        raise _missing(given, "it is a file")
    if is_folder and not (path / _MODULES).is_file():
        raise _missing(given, f"the folder holds no {_MODULES}")
    return path if is_folder else None


def _hub_name(given: str) -> tuple[str, str | None]:
    """Repository and revision. Names without an organisation are sentence-transformers' own, as the library has it."""
    match = _HUB.fullmatch(given)
    if match is None:
        raise _missing(given, "no such folder, and not a name on the hub")
    repo = match["repo"]
    return (repo if "/" in repo else f"sentence-transformers/{repo}"), match["revision"]


def _missing(given: str, why: str) -> ModelMissing:
    return ModelMissing(
        f"Model {given!r}: {why}. A folder of a sentence-transformers model is needed, or its name on the "
        "hub: org/name, optionally with @revision."
    )


def _resolved(name: str, revision: str | None) -> str:
    """The commit that a branch, a tag or nothing stands for."""
    hub = _library("huggingface_hub")
    errors = _library("huggingface_hub.errors")
    wanted = f"{name}@{revision}" if revision else name
    try:
        return Path(hub.hf_hub_download(name, _MODULES, revision=revision)).parent.name
    except errors.LocalEntryNotFoundError as error:  # also an EntryNotFoundError, but of the cache
        raise ModelUnavailable(
            f"Model {wanted!r}: the hub can't be reached, and it isn't in its cache. Give a folder instead."
        ) from error
    except errors.EntryNotFoundError as error:
        raise _missing(wanted, f"the repository holds no {_MODULES}") from error
    except errors.RevisionNotFoundError as error:
        raise _missing(wanted, "the hub has no such revision of it") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"Model {wanted!r}: no such folder, and no such repository on the hub, or it needs HF_TOKEN with "
            "access to it."
        ) from error
    except errors.HFValidationError as error:
        raise _missing(wanted, "no such folder, and not a name on the hub") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelUnavailable(f"Model {wanted!r} can't be fetched: {_said(error)}") from error


def _digest(folder: Path, root: Path) -> str:
    """The SHA-256 over the names and contents of what a score can hang on."""
    lines = sorted(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path, root)}" for path in _files(folder))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not _ELSEWHERE.fullmatch(path.name):
            yield from _files(path)
        elif path.is_file() and path.suffix in _SUFFIXES:
            yield path


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or name, "similarity") from error


def _require_device(torch: Any, device: str | None) -> None:
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} can't be used here: {_said(error)} Try cpu.") from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """No bar for the milliseconds that loading takes; the library's own setting is put back."""
    bars = _library("transformers.utils.logging")
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _said(error: BaseException) -> str:
    """The first line of a message, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300] + "."
