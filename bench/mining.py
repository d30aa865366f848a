"""What mining holds in memory and how long it takes, over corpora of growing size; sentence-transformers beside it.

    python -m bench.mining --sizes 1000 10000 200000

Passages are made of invented words whose frequencies fall as in real texts (Zipf), queries of words of their
passage. The dense model is a static embedding made here, with random weights: what is measured is all around it.
Each row is a process of its own. `peak` is its peak memory, libraries included; `above` what was added to it since
the model was there and before the corpus was open_inputs. `mine_hard_negatives` of sentence-transformers, with the same
model, rules and queries, takes the whole corpus as a list.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench import output
from bench.overhead import peak_mib

WORDS, LENGTH = 30_000, 60
DIMENSIONS = 128
RANGE, NEGATIVES = 100, 7
METHODS = ("bm25", "dense", "both", "sentence-transformers")


def make(folder: Path, passages: int, queries: int) -> None:
    """A BEIR folder of invented texts, the same in every run."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(WORDS)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(WORDS)))
    (folder / "qrels").mkdir(parents=True)
    every = max(1, passages // queries)
    with (
        (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus,
        (folder / "queries.jsonl").open("w", encoding="utf-8") as asked,
        (folder / "qrels" / "train.tsv").open("w", encoding="utf-8") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for i in range(passages):
            text = rng.choices(words, cum_weights=weights, k=LENGTH)
            corpus.write(json.dumps({"_id": f"d{i}", "title": "", "text": " ".join(text)}) + "\n")
            if i % every == 0 and i // every < queries:
                asked.write(json.dumps({"_id": f"q{i}", "text": " ".join(rng.sample(text, 8))}) + "\n")
                qrels.write(f"q{i}\td{i}\t1\n")


def make_model(folder: Path) -> None:
    """A static embedding of the invented words, with random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from torch import manual_seed

    manual_seed(0)
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0} | {f"w{i}": i + 1 for i in range(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    module = StaticEmbedding(tokenizer, embedding_dim=DIMENSIONS)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))


# --- In the child: what is measured ---------------------------------------------------------------


def mine(method: str, folder: Path, model: Path) -> dict[str, Any]:
    """Mine with our retrievers, from files to files."""
    from arhn.mine import job
    from arhn.mine.rules import Settings
    from arhn.retrieval.bm25 import Bm25
    from arhn.retrieval.collection import Collection, open_collection
    from arhn.retrieval.dense import Dense
    from arhn.retrieval.embedder import Embedder
    from arhn.retrieval.search import Searcher

    embedder = Embedder(model, device="cpu")
    if method != "bm25":
        embedder.encode_queries(["w1"])
    else:
        import bm25s  # noqa: F401  # what is imported belongs to what was there before
    clock = Clock()

    def open_inputs() -> tuple[Collection, job.Retrievers]:
        collection = open_collection(folder=folder, split="train")
        clock.lap("open")
        searchers: dict[str, Callable[[], Searcher]] = {
            "bm25": lambda: Bm25(collection.corpus),
            "dense": lambda: Dense(collection.corpus, embedder, faiss_above=10**9),
        }
        names = ("bm25", "dense") if method == "both" else (method,)
        return collection, job.Retrievers(searchers=[searchers[name]() for name in names])

    files = job.Files.beside(str(folder / f"{method}.jsonl"))
    settings = Settings(range_max=RANGE, negatives=NEGATIVES)
    content = job.run(files, open_inputs, settings, on_query=clock.on_query, overwrite=True)
    return clock.row(content["queries"]["read"])


def mine_with_sentence_transformers(folder: Path, model: Path) -> dict[str, Any]:
    """`mine_hard_negatives` of sentence-transformers on the same files."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    loaded = SentenceTransformer(str(model), device="cpu")
    loaded.encode(["w1"])
    clock = Clock()
    corpus = {row["_id"]: row["text"] for row in _rows(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    clock.lap("open")
    pairs = Dataset.from_dict({"query": list(queries.values()), "answer": [corpus[f"d{q[1:]}"] for q in queries]})
    found = mine_hard_negatives(
        pairs, loaded, corpus=list(corpus.values()), range_max=RANGE, num_negatives=NEGATIVES, verbose=False
    )
    assert len(found)
    clock.on_query(len(queries), len(queries))
    return clock.row(len(queries))


class Clock:
    """Seconds of each step, and what memory was there before."""

    def __init__(self) -> None:
        self.before = peak_mib()
        self.started = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, what: str) -> None:
        now = time.monotonic()
        self._laps[what] = now - self._last
        self._last = now

    def on_query(self, done: int, total: int) -> None:
        if done == 1:
            self.lap("first")
        if done == total:
            self.lap("rest")

    def row(self, queries: int) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        peak = peak_mib()
        return {"seconds": seconds, "queries": queries, "peak": peak, "above": peak - self.before, **self._laps}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


# --- In the parent --------------------------------------------------------------------------------


def measure(method: str, folder: Path, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.mining", "--child", method, str(folder), str(model)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(method: str, folder: Path, model: Path) -> None:
    measured = mine_with_sentence_transformers(folder, model) if method == METHODS[-1] else mine(method, folder, model)
    print(json.dumps(measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], help="passages; default: %(default)s")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--json", type=Path, default=Path("bench/out/mining.json"))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child[0], Path(a.child[1]), Path(a.child[2]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        make_model(model)
        for size in a.sizes:
            folder = Path(name) / str(size)
            make(folder, size, a.queries)
            rows += [_row(method, size, measure(method, folder, model)) for method in a.methods]
    rows.sort(key=lambda row: METHODS.index(row["name"]))
    first = {row["name"]: row["peak, MiB"] for row in reversed(rows)}
    rows = [{**row, "times the first": row["peak, MiB"] / first[row["name"]]} for row in rows]
    output.show_lines(f"Mining, {a.queries} queries", rows)
    output.write(a.json, "mining", {"sizes": a.sizes, "queries": a.queries, "words": LENGTH}, rows)


def _row(method: str, size: int, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": method,
        "passages": size,
        "seconds": measured["seconds"],
        "ms a query": 1000 * measured["seconds"] / measured["queries"],
        "peak, MiB": measured["peak"],
        "above, MiB": measured["above"],
    }


if __name__ == "__main__":
    main()
