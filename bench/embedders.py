"""A named embedding model without PyTorch beside the sentence-transformers model that it was made of.

    python -m bench.embedders FOLDER ... --model all-MiniLM-L6-v2 --split train --groups 60 --json FILE

On the first groups of each gold folder (see bench.scoring): the AUC of a true from a false negative by the similarity
of query and negative, and of labelled positive (the most similar one) and negative, each centred on its group's mean;
how the two models' cosines agree (Pearson; greatest difference); texts a second of CPU, all on one thread. A folder
with groups.jsonl has no splits. Texts are cut and formatted as `--similarity` does it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from arhn import formats
from arhn.retrieval.embedder import Embedder, as_text
from arhn.retrieval.onnx_embedder import OnnxEmbedder
from arhn.types import Group
from arhn.weights import EMBEDDING_MODELS
from bench import output

Gold = dict[str, dict[str, str]]
PAIRS = ("query", "positive")


def read(folder: Path, split: str, count: int) -> tuple[list[Group], Gold]:
    """The first groups of a gold folder, and its labels by query and passage."""
    whole = folder / "groups.jsonl"
    rows = map(json.loads, (folder / "gold.jsonl").read_text("utf-8").splitlines())
    gold = {row["query_id"]: row["labels"] for row in rows}
    groups = formats.read(whole if whole.exists() else folder / f"{split}.jsonl")
    return list(islice((group for group in groups if group.query_id in gold), count)), gold


def encode(embedder: OnnxEmbedder | Embedder, groups: Sequence[Group]) -> tuple[dict[str, Any], dict[str, Any], float]:
    """The vectors of queries and passages by text, and texts a second of CPU. The model is loaded before."""
    queries = list(dict.fromkeys(group.query for group in groups))
    passages = list(dict.fromkeys(as_text(passage) for group in groups for passage in group.passages))
    embedder.encode_queries(queries[:1])
    start = time.process_time()
    found = embedder.encode_queries(queries), embedder.encode_documents(passages)
    rate = (len(queries) + len(passages)) / (time.process_time() - start)
    by_query, by_passage = (dict(zip(t, v, strict=True)) for t, v in zip((queries, passages), found, strict=True))
    return by_query, by_passage, rate


def cosines(groups: Sequence[Group], queries: dict[str, Any], passages: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Per pair of PAIRS and group: the cosines of its negatives, in their order."""
    found: dict[str, list[list[float]]] = {pair: [] for pair in PAIRS}
    for group in groups:
        negatives = np.array([passages[as_text(passage)] for passage in group.negatives])
        positives = np.array([passages[as_text(passage)] for passage in group.positives])
        found["query"].append((negatives @ queries[group.query]).tolist())
        found["positive"].append((negatives @ positives.T).max(axis=1).tolist())
    return found


def auc(groups: Sequence[Group], gold: Gold, scores: Sequence[Sequence[float]]) -> tuple[float, int, int]:
    """The AUC of scores centred on their group's mean, and the numbers of false and true negatives."""
    by_label: dict[str, list[float]] = {"false_negative": [], "true_negative": []}
    for group, row in zip(groups, scores, strict=True):
        mean = sum(row) / len(row)
        for passage, score in zip(group.negatives, row, strict=True):
            label = gold[group.query_id].get(passage.doc_id, "")
            if label in by_label:
                by_label[label].append(score - mean)
    false, true = by_label.values()
    wins = sum((f > t) + (f == t) / 2 for f in false for t in true)
    return wins / (len(false) * len(true)), len(false), len(true)


def measure(folder: Path, embedders: dict[str, OnnxEmbedder | Embedder], a: argparse.Namespace) -> list[output.Row]:
    """A row for each model."""
    groups, gold = read(folder, a.split, a.groups)
    groups = [group for group in groups if group.negatives and group.positives]
    rows: list[dict[str, Any]] = []
    flat: dict[str, list[np.ndarray]] = {pair: [] for pair in PAIRS}
    for name, embedder in embedders.items():
        queries, passages, rate = encode(embedder, groups)
        found = cosines(groups, queries, passages)
        row: dict[str, Any] = {"data": folder.name, "model": name, "groups": len(groups)}
        for pair in PAIRS:
            row[f"AUC {pair}"], row["false"], row["true"] = auc(groups, gold, found[pair])
            flat[pair].append(np.concatenate([np.array(each) for each in found[pair]]))
        rows.append(row | {"texts": len(queries) + len(passages), "texts a CPU second": rate})
    agreement: dict[str, Any] = {}
    for pair, (first, second) in flat.items():
        agreement[f"r {pair}"] = float(np.corrcoef(first, second)[0, 1])
        agreement[f"most apart {pair}"] = float(np.abs(first - second).max())
    return [row | agreement for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER")
    add("--model", required=True, help="the sentence-transformers model to compare with")
    add("--named", default=next(iter(EMBEDDING_MODELS)), choices=list(EMBEDDING_MODELS))
    add("--split", default="train")
    add("--groups", type=int, default=60, help="of each folder; default: %(default)s")
    add("--json", type=Path)
    a = parser.parse_args()
    embedders: dict[str, OnnxEmbedder | Embedder] = {
        a.named: OnnxEmbedder(EMBEDDING_MODELS[a.named]),
        Path(a.model).name: Embedder(a.model, device="cpu", threads=1),
    }
    rows = [row for folder in a.folders for row in measure(folder, embedders, a)]
    output.show_lines("Embedding models, one thread", rows)
    if a.json:
        settings = {"split": a.split, "groups": a.groups, "models": [e.identity for e in embedders.values()]}
        output.write(a.json, "embedders", settings, rows)


if __name__ == "__main__":
    main()
