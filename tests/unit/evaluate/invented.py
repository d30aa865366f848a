"""Invented data sets, models and results."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arhn.evaluate.measures import MEASURES, NDCG
from arhn.evaluate.results import DatasetRecord, ModelRecord, Results, Settings

WORDS = [f"w{i}" for i in range(50)]
PROMPTS = {"query": "query: ", "document": "passage: "}


def beir(
    folder: Path,
    *,
    queries: Mapping[str, str],
    corpus: Mapping[str, tuple[str, str]],
    qrels: Mapping[str, Mapping[str, int]],
    split: str = "test",
) -> Path:
    """A BEIR folder; `corpus` has title and text."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines(folder / "queries.jsonl", [{"_id": q, "text": text} for q, text in queries.items()])
    lines(folder / "corpus.jsonl", [{"_id": d, "title": t, "text": text} for d, (t, text) in corpus.items()])
    rows = [f"{q}\t{d}\t{grade}\n" for q, of in qrels.items() for d, grade in of.items()]
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows), "utf-8")
    return folder


def lines(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def parts(*, queries: int = 12, passages: int = 150, seed: int = 0) -> dict[str, Any]:
    """Queries, corpus and graded judgements of words; three queries have the id of a passage."""
    rng = random.Random(seed)

    def text(length: int) -> str:
        return " ".join(rng.choices(WORDS, k=length))

    corpus = {f"d{i}": (text(2) if i % 3 else "", text(rng.randint(5, 12))) for i in range(passages)}
    names = [f"d{i}" if i < 3 else f"q{i}" for i in range(queries)]
    texts = {q: text(6) for q in names}
    qrels = {}
    for q in names:
        judged = rng.sample([d for d in corpus if d != q], 8)
        qrels[q] = dict(zip(judged, [3, 2, 1, 1, 1, 0, 0, -1], strict=True))
    return {"queries": texts, "corpus": corpus, "qrels": qrels}


def static_model(folder: Path, *, prompts: Mapping[str, str] | None = None) -> Path:
    """A random vector a word; loads in milliseconds."""
    import sentence_transformers
    import tokenizers
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "query", "passage", ":", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    embedding = StaticEmbedding(tokenizer, embedding_dim=16)
    model = sentence_transformers.SentenceTransformer(modules=[embedding], prompts=dict(prompts or {}), device="cpu")
    model.save(str(folder))
    return folder


def results(
    name: str,
    values: Mapping[str, Sequence[float]],
    *,
    data: str = "",
    training_sets: Sequence[str] | None = ("msmarco",),
    manifest: Mapping[str, Any] | None = None,
    skip_identical: bool = True,
    split: str = "test",
    version: str = "0",
    measures: Sequence[str] = tuple(MEASURES),
    **model: Any,
) -> Results:
    """Results with these values of nDCG@10 a data set, and halves of them for the other measures."""
    return Results(
        model=ModelRecord(
            name=name,
            kind="dense",
            identity=name,
            training_sets=None if training_sets is None else tuple(training_sets),
            manifest=manifest,
            **model,
        ),
        settings=Settings(depth=1000, skip_identical=skip_identical),
        datasets=tuple(
            DatasetRecord(
                name=each,
                split=split,
                source="nowhere",
                data=data or each,
                passages=100,
                missing=(),
                without_relevant=(),
                identical_relevant=0,
                run=f"{each}.trec",
                seconds=None,
                versions={"arhn": version},
                means={m: sum(of) / len(of) / (1 if m == NDCG else 2) for m in measures},
                per_query={m: {f"q{i}": v / (1 if m == NDCG else 2) for i, v in enumerate(of)} for m in measures},
            )
            for each, of in values.items()
        ),
    )


def written(folder: Path, found: Results) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    found.write(folder)
    return folder
