"""Dense search against brute force, with tiny models made here."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import DeviceMissing, MissingDependency, ModelMissing, UsageError
from arhn.retrieval import approximate as faiss_module
from arhn.retrieval import dense as module
from arhn.retrieval import vectors as vectors_module
from arhn.retrieval.collection import open_collection
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.dense import Dense
from arhn.retrieval.embedder import Embedder
from arhn.retrieval.search import Hits, search_run
from arhn.retrieval.vectors import Vectors
from tests.unit.retrieval.helpers import put_beir, put_corpus, put_lines, static_model

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = ["moon", "rock", "cat", "dog", "cheese", "sun", "mat", "of", "the", "a"]
ASKED = ["moon rock", "the cat of a dog", "cheese", "nothing known", "sun sun mat", ""]


def invented(count: int) -> dict[str, str]:
    rng = random.Random(1)
    return {f"d{i}": " ".join(rng.choices(WORDS, k=rng.randrange(0, 4))) for i in range(count)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_model(tmp_path_factory.mktemp("model") / "static", WORDS)


@pytest.fixture
def embedder(model: Path) -> Embedder:
    return Embedder(model, device="cpu", threads=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus.open(put_corpus(tmp_path_factory.mktemp("corpus"), invented(300)))


def brute(corpus: Corpus, embedder: Embedder, queries: list[str]) -> Any:
    """All scores in double precision, with 6 digits."""
    documents = embedder.encode_documents([passage.text for passage in corpus]).astype("float64")
    return np.round(embedder.encode_queries(queries).astype("float64") @ documents.T, 6) + 0.0


def same(found: Hits, scores: Any, k: int) -> None:
    order = np.lexsort((np.arange(len(scores)), -scores))[:k]
    assert found.positions.tolist() == order.tolist()
    assert found.scores.tolist() == scores[order].astype("float32").tolist()
    assert (found.positions.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize(("batch", "chunk", "block"), [(1024, 4096, 1024), (2, 7, 50), (4, 100, 64), (1, 1, 300)])
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_pieces_of_any_size_equal_brute_force(
    corpus: Corpus, embedder: Embedder, monkeypatch: pytest.MonkeyPatch, batch: int, chunk: int, block: int, k: int
) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(vectors_module, "BLOCK", block)
    expected = brute(corpus, embedder, ASKED)
    found = list(Dense(corpus, embedder).search(ASKED, k))
    assert len(found) == len(ASKED)
    for hits, scores in zip(found, expected, strict=True):
        same(hits, scores, k)


def test_equal_texts_are_in_the_order_of_the_corpus(embedder: Embedder, tmp_path: Path) -> None:
    texts = {f"d{i}": ("moon rock", "cat")[i % 2] for i in range(40)}
    (hits,) = Dense(Corpus.open(put_corpus(tmp_path, texts)), embedder).search(["rock"], 25)
    expected = [*range(0, 40, 2), *range(1, 40, 2)] if hits.positions[0] == 0 else [*range(1, 40, 2), *range(0, 40, 2)]
    assert hits.positions.tolist() == expected[:25]
    assert len({*hits.scores.tolist()}) == 2


def test_scores_of_given_passages_are_those_of_the_search(
    corpus: Corpus, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    searcher, expected = Dense(corpus, embedder), brute(corpus, embedder, ASKED).astype("float32")
    wanted = [[299, 0], [], [7], [1, 2, 1], [5], list(range(300))]
    for scores, row, places in zip(searcher.score(ASKED, wanted), expected, wanted, strict=True):
        assert scores.tolist() == [row[place] for place in places]


def test_titles_are_encoded_too_and_a_corpus_of_one_is_enough(embedder: Embedder, tmp_path: Path) -> None:
    corpus = Corpus.open(put_lines(tmp_path / "c.jsonl", [{"_id": "a", "title": "moon", "text": "rock"}]))
    (hits,) = Dense(corpus, embedder).search(["moon rock"], 9)
    assert (hits.positions.tolist(), hits.scores.tolist()) == ([0], [1.0])


def test_embeddings_are_kept_by_model_and_content(
    corpus: Corpus, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched() -> list[list[float]]:
        return [hits.scores.tolist() for hits in Dense(corpus, embedder, cache=tmp_path / "kept").search(ASKED, 5)]

    first = searched()
    (kept,) = (tmp_path / "kept").iterdir()
    assert np.load(kept).shape == (300, 16)
    with monkeypatch.context() as patched:
        patched.setattr(embedder, "encode_documents", lambda texts: pytest.fail("encoded again"))
        assert searched() == first
    other = Corpus.open(put_corpus(tmp_path / "other", invented(299)))
    next(Dense(other, embedder, cache=tmp_path / "kept").search(ASKED, 5))
    prompted = Embedder(embedder._given, device="cpu", document_prompt="moon ")
    next(Dense(corpus, prompted, cache=tmp_path / "kept").search(ASKED, 5))
    assert len(list((tmp_path / "kept").iterdir())) == 3


def test_what_a_killed_run_left_is_made_again(corpus: Corpus, embedder: Embedder, tmp_path: Path) -> None:
    whole = Vectors.load_or_encode(corpus, embedder, tmp_path).read_range(0, 300)
    (kept,) = tmp_path.iterdir()
    for cut in (0, 50, 1000):
        kept.write_bytes(kept.read_bytes()[:cut])
        assert (Vectors.load_or_encode(corpus, embedder, tmp_path).read_range(0, 300) == whole).all()
    assert [kept] == list(tmp_path.iterdir())


def test_nothing_is_left_of_a_run_that_fails(
    corpus: Corpus, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(texts: list[str]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedder, "encode_documents", fail)
    with pytest.raises(KeyboardInterrupt):
        next(Dense(corpus, embedder, cache=tmp_path).search(ASKED, 5))
    assert not list(tmp_path.iterdir())


def test_identical_ids_are_left_out_of_runs(embedder: Embedder, tmp_path: Path) -> None:
    texts = {"d1": "moon", "d2": "moon rock", "q1": "moon"}
    queries, qrels = {"q1": "moon", "q2": "moon"}, {"q1": {"d1": 1}, "q2": {"d1": 1}}
    folder = put_beir(tmp_path, texts, queries, qrels)
    collection = open_collection(folder=folder, split="train")
    searcher = Dense(collection.corpus, embedder)
    assert {q: list(found) for q, found in search_run(searcher, collection, 2).items()} == {
        "q1": ["d1", "d2"],
        "q2": ["d1", "q1"],
    }
    assert list(search_run(searcher, collection, 2, skip_identical=False)["q1"]) == ["d1", "q1"]


# --- FAISS ----------------------------------------------------------------------------------------


def test_faiss_with_all_lists_looked_into_equals_brute_force(
    corpus: Corpus, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(faiss_module, "SHARD_BYTES", 7000)  # three shards
    searcher = Dense(corpus, embedder, faiss_above=299)
    for hits, scores in zip(searcher.search(ASKED, 1000), brute(corpus, embedder, ASKED), strict=True):
        same(hits, scores, 1000)
    found = [hits.scores.tolist() for hits in searcher.search(ASKED, 10)]
    assert found == [hits.scores.tolist() for hits in Dense(corpus, embedder).search(ASKED, 10)]


def test_faiss_finds_nearly_all_of_the_best(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(20_000, 16)).astype("float32")
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    np.save(tmp_path / "v.npy", raw)
    vectors = Vectors(os.open(tmp_path / "v.npy", os.O_RDONLY), len(raw))
    found = faiss_module.ApproximateIndex(vectors).search(raw[:50], 10)
    assert all(hits.positions[0] == i and hits.scores[0] == 1.0 for i, hits in enumerate(found))
    best = np.argsort(-(raw[:50] @ raw.T), axis=1)[:, :10]
    hit = [len({*hits.positions.tolist()} & {*row.tolist()}) for hits, row in zip(found, best, strict=True)]
    assert sum(hit) / (10 * len(hit)) > 0.9


# --- What can be wrong ----------------------------------------------------------------------------


def test_without_faiss_the_command_is_named(
    corpus: Corpus, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    Dense(corpus, embedder)
    with pytest.raises(MissingDependency, match=r"faiss-cpu .*pip install 'arhn\[mine\]'"):
        Dense(corpus, embedder, faiss_above=10)


def test_a_negative_size_is_refused(corpus: Corpus, embedder: Embedder) -> None:
    with pytest.raises(UsageError, match="found -1"):
        Dense(corpus, embedder, faiss_above=-1)


def test_models_that_are_not_there_say_which_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelMissing, match="no such folder"):
        Embedder(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependency, match=r"'arhn\[mine\]'"):
        Embedder(tmp_path)


def test_a_device_that_is_not_there_is_an_error_before_the_model_is_loaded(model: Path) -> None:
    embedder = Embedder(model, device="cuda:99")
    with pytest.raises(DeviceMissing, match=r"cuda:99.*Try cpu"):
        embedder.require_device()


# --- The embedder ---------------------------------------------------------------------------------


def test_prompts_and_lengths_are_part_of_the_identity(model: Path) -> None:
    bare = Embedder(model)
    assert Embedder(model, query_prompt="query: ").identity == f"{bare.identity} (query_prompt='query: ')"
    both = Embedder(model, document_prompt="", max_length=5, dtype="bfloat16")
    assert both.identity == f"{bare.identity} (document_prompt='', max_length=5, dtype='bfloat16')"


def test_prompts_are_put_in_front(embedder: Embedder, model: Path) -> None:
    prompted = Embedder(model, device="cpu", query_prompt="moon ", document_prompt="sun ")
    assert (prompted.encode_queries(["rock"]) == embedder.encode_queries(["moon rock"])).all()
    assert (prompted.encode_documents(["rock"]) == embedder.encode_documents(["sun rock"])).all()


def test_vectors_have_length_one_or_none(embedder: Embedder) -> None:
    vectors = embedder.encode_queries(["moon rock", "", "unknown"])
    assert (vectors.shape, vectors.dtype) == ((3, 16), np.float32)
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 0, 1], abs=1e-6)
    assert embedder.encode_documents([]).shape[0] == 0


def test_a_model_in_memory_is_used_as_it_is(embedder: Embedder) -> None:
    held = Embedder.from_model(embedder.model, identity="step 7")
    assert held.identity == "step 7"
    assert (held.encode_queries(["moon"]) == embedder.encode_queries(["moon"])).all()


def test_a_model_without_a_length_says_so(model: Path) -> None:
    with pytest.raises(UsageError, match="no maximal length"):
        Embedder(model, device="cpu", max_length=5).encode_queries(["moon"])


def test_a_length_that_a_model_can_not_hold_is_said_before_a_text_is_read(tmp_path: Path) -> None:
    from tests.unit.train import tiny

    folder = str(tiny.retriever(tmp_path / "bert"))
    with pytest.raises(UsageError, match=r"takes 192 tokens at most, found 193\. Use 192"):
        _ = Embedder(folder, device="cpu", max_length=193).model
    assert Embedder(folder, device="cpu", max_length=192).encode_queries(["w1 " * 300]).shape == (1, 32)


def test_nothing_heavy_is_imported_with_the_embedder() -> None:
    code = "import sys; from arhn.retrieval import embedder; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"
