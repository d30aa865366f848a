"""Collections on disk and tiny models, made here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

#: Data that may be there beside a checkout, and is never part of it.
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

TEXTS = {
    "d1": "the cat sat on the mat",
    "d2": "a dog ran in the sun",
    "d3": "the moon is made of rock",
    "d4": "cheese and a cat and a dog",
    "d5": "the cat sat on the mat",
    "d6": "rock the cat",
}
QUERIES = {"q1": "where sat the cat", "q2": "is the moon rock or cheese"}
QRELS = {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 2, "d4": 1}}


def shared(*parts: str) -> Path:
    """A folder of the shared data; the test is skipped where it isn't there."""
    folder = DATA.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"no {folder} here")
    return folder


def put_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def put_corpus(folder: Path, texts: Mapping[str, str] = TEXTS) -> Path:
    return put_lines(folder / "corpus.jsonl", ({"_id": i, "title": "", "text": text} for i, text in texts.items()))


def put_beir(
    folder: Path,
    texts: Mapping[str, str] = TEXTS,
    queries: Mapping[str, str] = QUERIES,
    qrels: Mapping[str, Mapping[str, int]] = QRELS,
    split: str = "train",
) -> Path:
    """A BEIR folder."""
    put_corpus(folder, texts)
    put_lines(folder / "queries.jsonl", ({"_id": i, "text": text} for i, text in queries.items()))
    (folder / "qrels").mkdir(exist_ok=True)
    lines = [f"{q}\t{d}\t{grade}\n" for q, judged in qrels.items() for d, grade in judged.items()]
    (folder / "qrels" / f"{split}.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *lines]), encoding="utf-8")
    return folder


def static_model(folder: Path, texts: Iterable[str], dimensions: int = 16, seed: int = 0) -> Path:
    """A static embedding over the words of some texts, with random weights."""
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    tokenizers = pytest.importorskip("tokenizers")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {"[UNK]": 0} | {word: i for i, word in enumerate(words, 1)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    module = modules.StaticEmbedding(tokenizer, embedding_dim=dimensions)
    library.SentenceTransformer(modules=[module], device="cpu").save(str(folder))
    return folder


def ndcg(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]], k: int = 10) -> float:
    """Mean nDCG@k over the queries of `qrels`."""
    return sum(_ndcg(list(run.get(q, {})), judged, k) for q, judged in qrels.items()) / len(qrels)


def _ndcg(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    from math import log2

    gains = [max(0, judged.get(doc_id, 0)) for doc_id in ranked[:k]]
    ideal = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:k]
    found, best = (sum(gain / log2(i + 2) for i, gain in enumerate(g)) for g in (gains, ideal))
    return found / best if best else 0.0
