"""Collators: they turn examples into the tensors of a batch.

This module imports torch, so import it only where training starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from arhn.train.groups import StoredPassage
from arhn.train.losses import Marks
from arhn.train.plan import Example

#: Passages are tokenized in parts of similar length, which saves padding: at most so many parts ...
PARTS = 8
#: ... of at least so many texts.
SMALLEST_PART = 32

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RetrieverCollator:
    """Makes batches of tokenized queries and passages, like sentence-transformers' collator, with the loss's `marks`.

    A passage that several queries of a batch have is there once. Passages are sorted, the longest first, and split into
    `parts`. `preprocess` is the model's tokenizer; the prompts are put before each text.
    """

    preprocess: Callable[..., dict[str, Any]]
    query_prompt: str | None = None
    document_prompt: str | None = None
    parts: int = PARTS

    def __call__(self, examples: Sequence[Example]) -> Batch:
        passages = _find_distinct(examples)
        texts = [passage.text for passage in passages]
        batch = self._tokenize("query", [example.query for example in examples], self.query_prompt, "query")
        for number, part in enumerate(_split(texts, self.parts)):
            batch |= self._tokenize(f"passage{number}", part, self.document_prompt, "document")
        batch["marks"] = make_marks(examples, passages)
        return batch

    def _tokenize(self, column: str, texts: list[str], prompt: str | None, task: str) -> Batch:
        tokens = self.preprocess(texts, prompt=prompt or None, task=task)
        return {f"{column}_{name}": value for name, value in tokens.items()}


@dataclass(frozen=True, slots=True)
class ListCollator:
    """Makes batches for listwise losses: queries, their passages, and labels, which are 1 for positives and else 0."""

    def __call__(self, examples: Sequence[Example]) -> Batch:
        return {
            "query": [example.query for example in examples],
            "docs": [[passage.text for passage in example.passages] for example in examples],
            "label": [torch.tensor(_make_labels(example)) for example in examples],
        }


@dataclass(frozen=True, slots=True)
class PairCollator:
    """Makes batches for pointwise losses: pairs of a query and a passage, with the same labels."""

    def __call__(self, examples: Sequence[Example]) -> Batch:
        pairs = [(example.query, passage.text) for example in examples for passage in example.passages]
        return {
            "query": [query for query, _ in pairs],
            "doc": [text for _, text in pairs],
            "label": torch.tensor([label for example in examples for label in _make_labels(example)]),
        }


def _make_labels(example: Example) -> list[float]:
    return [float(i < example.positives) for i in range(len(example.passages))]


def _find_distinct(examples: Sequence[Example]) -> list[StoredPassage]:
    """The passages of a batch, each once; the longest first, so that the texts of a part have similar lengths."""
    return sorted(dict.fromkeys(p for e in examples for p in e.passages), key=lambda p: -len(p.text))


def _split(texts: list[str], parts: int) -> list[list[str]]:
    size = max(SMALLEST_PART, -(-len(texts) // parts)) if parts > 1 else len(texts)
    return [texts[i : i + size] for i in range(0, len(texts), size)]


def make_marks(examples: Sequence[Example], passages: Sequence[StoredPassage]) -> Marks:
    """The marks of a batch, for the passages in this order."""
    number = {passage: i for i, passage in enumerate(passages)}
    terms = [(row, number[p]) for row, example in enumerate(examples) for p in example.passages[: example.positives]]
    pairs = [(row, key) for row, example in enumerate(examples) for key in example.forbidden]
    return Marks(
        columns=torch.tensor([(passage.doc, passage.key) for passage in passages]),
        rows=torch.tensor([row for row, _ in terms]),
        targets=torch.tensor([target for _, target in terms]),
        forbidden_rows=torch.tensor([row for row, _ in pairs]),
        forbidden_keys=torch.tensor([key for _, key in pairs]),
    )
