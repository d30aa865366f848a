"""A retriever's similarity of a query with passages, by any sentence-transformers model.

sentence-transformers comes with the extra `similarity`. It is imported, and the model loaded, on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from arhn.retrieval.embedder import Embedder, as_text
from arhn.types import Group, Passage

#: Groups encoded together: enough to fill batches with texts of like length, few enough to hold.
WINDOW = 256
DIGITS = 6


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
        self._embedder = Embedder(
            model, device=device, threads=threads, batch_size=batch_size, cache_dir=cache_dir, extra="similarity"
        )

    @property
    def identity(self) -> str:
        """What the model is called beside recorded scores; equal only where the weights and settings are.

        `<folder name>@sha256:<16 digits>`, over names and contents of its weights, vocabulary and settings; for a
        hub name `<org/name>@<commit>`, asked of the hub, or of its cache when it can't be reached.

        Raises ModelMissing and ModelUnavailable (a hub name).
        """
        return self._embedder.identity

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
            DeviceMissing: there is no such `device`.
        """
        pairs = iter(asked)
        while window := list(islice(pairs, WINDOW)):
            texts = [[as_text(passage) for passage in passages] for _, passages in window]
            queries = self._encode(self._embedder.queries, (query for query, _ in window))
            documents = self._encode(self._embedder.documents, chain.from_iterable(texts))
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
    return round(cosine, DIGITS) + 0.0  # -0.0 becomes plain 0.0, which is written alike everywhere
