"""Cosine similarities of queries with passages, by any sentence-transformers model, or a named one without PyTorch.

sentence-transformers comes with the extra `similarity`, what the named models need with the extra `onnx`. The libraries
are imported, and the model loaded, on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Protocol

from arhn import weights
from arhn.retrieval.embedder import Embedder, as_text, require_positive
from arhn.retrieval.onnx_embedder import OnnxEmbedder
from arhn.retrieval.sentences import split_sentences
from arhn.types import Group, Passage

#: Groups encoded together: enough to fill batches with texts of similar length, few enough to hold in memory.
WINDOW = 256
#: Groups whose comparison is kept.
_KEPT = 128
#: Digits that a similarity is rounded to.
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Cosine similarities of a group's negatives, each in [-1, 1] and one a negative, in their order.

    `query`: with the query. `positive`: with the positive that each is most like. `sentence`: of the sentence that is
    most like the positives' sentence closest to the query, with that one.
    """

    query: tuple[float, ...]
    positive: tuple[float, ...]
    sentence: tuple[float, ...]


class Encoder(Protocol):
    """What similarities are computed with: an `Embedder` or an `OnnxEmbedder`."""

    @property
    def identity(self) -> str:
        """The model's name beside recorded scores."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Any:
        """Unit vectors of queries, float32, shape (len(texts), dimensions)."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Any:
        """Unit vectors of passages, in the same shape."""
        ...


class Similarity:
    """Cosine similarities of queries with passages.

    The model's own prompts for queries and documents are used where it has them, and texts longer than its
    `max_seq_length` are cut there, as in retrieval with it.

    Scores have 6 digits. Equal calls give equal scores; among other texts, a score of a sentence-transformers model can
    differ in its last digit, because the text is padded differently. Several threads may call it; with such a model
    they take turns.
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
        """Check the arguments; the model isn't loaded yet.

        Args:
            model: a name of `arhn.weights.EMBEDDING_MODELS`, which runs without PyTorch; a folder of a
                sentence-transformers model; or a name on the hub: `org/name`, optionally with `hf://` before and
                `@revision` after it. A known name wins over a folder of the same name, which is then `./name`.
            device: as PyTorch names it, such as `cpu` or `cuda:1`; by default the best available. The CPU for a model
                without PyTorch.
            threads: CPU threads for all of PyTorch in this process, by default as PyTorch decides; for a model without
                it, texts encoded at once, by default 1.
            batch_size: texts in a batch. A model without PyTorch takes one at a time whatever it is.
            cache_dir: where named models and hashes of weight files are stored, as in `arhn.weights`.

        Raises:
            MissingDependency: sentence-transformers, or what a model without PyTorch needs, isn't installed.
            DeviceMissing: a model without PyTorch is asked to run on another device than the CPU.
            ModelMissing: the folder holds no sentence-transformers model, or `model` is neither a folder nor a
                possible name on the hub.
            UsageError: `threads` or `batch_size` is below 1.
        """
        self._embedder: Encoder
        if (named := weights.EMBEDDING_MODELS.get(os.fspath(model))) is not None:
            require_positive(batch_size=batch_size)
            self._embedder = OnnxEmbedder(named, device=device, threads=threads, cache_dir=cache_dir)
        else:
            self._embedder = Embedder(
                model, device=device, threads=threads, batch_size=batch_size, cache_dir=cache_dir, extra="similarity"
            )

        self._compare = lru_cache(_KEPT)(self._compare_texts)

    @property
    def identity(self) -> str:
        """The model's name beside recorded scores; equal only for equal weights and settings. See the `identity` of
        `Embedder` and `OnnxEmbedder`.

        Raises:
            ModelMissing, ModelUnavailable: a name on the hub can't be resolved.
        """
        return self._embedder.identity

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        """The cosine similarity of `query` with each of `passages`, in [-1, 1], in their order.

        For many queries use `many` or `groups`, which encode texts in full batches. Raises as `many` does.
        """
        return next(self.many([(query, passages)]))

    def compare(self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage]) -> Likeness:
        """How like its query and its positives each negative of a group is. Raises as `many` does.

        The last groups' answers are kept: a run looks at its first groups twice.

        Args:
            positives: at least one.
        """
        return self._compare(query, tuple(map(as_text, positives)), tuple(map(as_text, negatives)))

    def _compare_texts(self, query: str, known: Sequence[str], found: Sequence[str]) -> Likeness:
        sentences = {text: split_sentences(text) for text in (*known, *found)}
        asked = self._encode(self._embedder.encode_queries, [query])[query]
        vectors = self._encode(self._embedder.encode_documents, chain(known, found, *sentences.values()))
        candidates = dict.fromkeys(chain.from_iterable(sentences[text] for text in known))
        answer = vectors[max(candidates, key=lambda sentence: _cosine(asked, vectors[sentence]))]
        return Likeness(
            query=tuple(_cosine(asked, vectors[text]) for text in found),
            positive=tuple(max(_cosine(vectors[other], vectors[text]) for other in known) for text in found),
            sentence=tuple(max(_cosine(answer, vectors[part]) for part in sentences[text]) for text in found),
        )

    def groups(self, groups: Iterable[Group]) -> Iterator[tuple[float, ...]]:
        """For each group, its query's similarities with `group.passages`: positives, then negatives. As `many`."""
        return self.many((group.query, group.passages) for group in groups)

    def many(self, asked: Iterable[tuple[str, Sequence[Passage]]]) -> Iterator[tuple[float, ...]]:
        """For each pair of a query and passages, the query's similarities with the passages, in their order.

        `WINDOW` pairs are read ahead and encoded together, each distinct text once.

        Raises:
            ModelMissing: the hub has no such model, or what it has isn't one of sentence-transformers.
            ModelUnavailable: it can't be fetched and isn't in the cache.
            ModelCorrupt: it can't be loaded, has another SHA-256 than the table says, or gives embeddings that aren't
                numbers.
            DeviceMissing: `device` can't be used on this machine.
            DiskFull, OutputNotWritable, IncompatibleVersions: of a named model, see `OnnxEmbedder.encode_queries`.
        """
        pairs = iter(asked)
        while window := list(islice(pairs, WINDOW)):
            texts = [[as_text(passage) for passage in passages] for _, passages in window]
            queries = self._encode(self._embedder.encode_queries, (query for query, _ in window))
            documents = self._encode(self._embedder.encode_documents, chain.from_iterable(texts))
            for (query, _), shown in zip(window, texts, strict=True):
                yield tuple(_cosine(queries[query], documents[text]) for text in shown)

    def _encode(self, encode: Callable[[list[str]], Any], texts: Iterable[str]) -> dict[str, Any]:
        """Unit vectors in float64 (zero vectors stay zero), by text."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        return dict(zip(distinct, encode(distinct).astype("float64"), strict=True))


def _cosine(query: Any, document: Any) -> float:
    cosine = max(-1.0, min(1.0, float(query @ document)))
    return round(cosine, DIGITS) + 0.0  # + 0.0 makes -0.0 plain 0.0
