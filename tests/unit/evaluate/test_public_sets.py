"""BEIR's sets through mteb, with a task whose data are made here; and mteb's own numbers on it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from arhn.errors import TaskUnavailable
from arhn.evaluate import public_sets
from arhn.evaluate.beir import choose_sets
from arhn.evaluate.job import evaluate
from arhn.evaluate.measures import MRR, NDCG, RECALL
from arhn.evaluate.results import Results
from arhn.evaluate.retrievers import Bm25Retriever, DenseRetriever
from arhn.evaluate.sources import BeirFolder, PublicSet, find_sources
from arhn.retrieval.runs import read_run
from tests.unit.evaluate.invented import PROMPTS, beir, parts
from tests.unit.train import tiny

mteb = pytest.importorskip("mteb")
pytest.importorskip("datasets")

# mteb and the libraries below it warn of each other's ways; that isn't ours to fail on.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("DeprecationWarning", "FutureWarning", "UserWarning", "ResourceWarning")
]


def task(of: Mapping[str, Any], *, identical: bool = True, name: str = "Invented") -> Any:
    """A retrieval task of mteb that knows its data; `seen` has the unrounded values of each query after `evaluate`."""
    from mteb._evaluators.retrieval_metrics import mrr
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Invented(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name,
            description="words",
            reference=None,
            dataset={"path": "nobody/words", "revision": "abc"},
            type="Retrieval",
            category="t2t",
            eval_splits=["dev"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )
        ignore_identical_ids = identical
        seen: ClassVar[dict[str, dict[str, float]]] = {}

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            if self.data_loaded:
                return
            self.queries = {"dev": dict(of["queries"])}
            self.corpus = {"dev": {d: {"title": t, "text": text} for d, (t, text) in of["corpus"].items()}}
            self.relevant_docs = {"dev": {q: dict(grades) for q, grades in of["qrels"].items()}}
            self.data_loaded = True

        def task_specific_scores(  # type: ignore[override]  # mteb gives all by name
            self, scores: Any, qrels: Any, results: Any, **_: Any
        ) -> dict[str, float]:
            first = dict(zip(results, mrr(qrels, results, [10])["MRR@10"], strict=True))
            self.seen.update(
                {NDCG: {q: s["ndcg_cut_10"] for q, s in scores.items()},
                 RECALL: {q: s["recall_100"] for q, s in scores.items()}, MRR: first}
            )  # fmt: skip
            return {}

    return Invented()


def without_negative(of: dict[str, Any]) -> dict[str, Any]:
    """mteb hands grades to pytrec_eval as they are, which doesn't survive negative ones."""
    return of | {"qrels": {q: {d: max(0, g) for d, g in grades.items()} for q, grades in of["qrels"].items()}}


def ours(folder: Path, model: Path, output: Path, *, skip_identical: bool = True) -> Results:
    retriever = DenseRetriever(str(model), device="cpu", threads=1)
    return evaluate(retriever, [BeirFolder(name="words", path=folder)], output, skip_identical=skip_identical)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentence_transformers

    folder = tiny.retriever(tmp_path_factory.mktemp("bert") / "tiny")
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", prompts=PROMPTS)
    prompted = folder.with_name("prompted")
    model.save(str(prompted))
    shutil.rmtree(folder)
    return prompted


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("kind", ["static", "bert"])
def test_values_are_those_of_mteb(
    kind: str, identical: bool, model: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers

    of = without_negative(parts(queries=20, passages=300, seed=3))
    path = model if kind == "static" else bert
    invented = task(of, identical=identical)
    found = mteb.evaluate(
        sentence_transformers.SentenceTransformer(str(path), device="cpu"),
        invented,
        cache=None,
        encode_kwargs={"batch_size": 32},
        show_progress_bar=False,
    )
    [dataset] = ours(beir(tmp_path / "words", **of), path, tmp_path / "out", skip_identical=identical).datasets
    for name, values in invented.seen.items():
        assert dataset.per_query[name] == pytest.approx(values, abs=1e-6), name
    [scores] = found.task_results[0].scores["dev"]
    # mteb rounds means to five digits.
    for name, key in ((NDCG, "ndcg_at_10"), (RECALL, "recall_at_100"), (MRR, "mrr_at_10")):
        assert dataset.means[name] == pytest.approx(scores[key], abs=5.1e-6)


def test_a_task_is_kept_as_a_beir_folder_that_says_the_same(tmp_path: Path) -> None:
    of = parts()
    loaded = task(of)
    loaded.load_data()
    loaded.convert_v1_dataset_format_to_v2(num_proc=None)
    kept = public_sets.save_task(loaded, tmp_path / "kept")
    assert kept == public_sets.find_saved(tmp_path / "kept") == public_sets.SavedSet("dev", "nobody/words@abc")
    same = BeirFolder(name="a", path=beir(tmp_path / "words", **of)).open()
    assert BeirFolder(name="a", path=tmp_path / "kept", split="dev").open().data == same.data


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that has the set NFCorpus; what is asked of it is written down."""
    asked: list[str] = []

    def get_task(name: str) -> Any:
        asked.append(name)
        return task(parts(), name="NFCorpus")

    monkeypatch.setattr(mteb, "get_task", get_task)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda *_: asked.append("reached"))
    return asked


def test_a_public_set_is_fetched_once_and_evaluated(hub: list[str], tmp_path: Path) -> None:
    [source] = find_sources(["nfcorpus"])
    assert isinstance(source, PublicSet)
    results = evaluate(Bm25Retriever(), [source], tmp_path / "out")
    assert hub == ["NFCorpus", "reached", "NFCorpus"]
    [dataset] = results.datasets
    assert (dataset.name, dataset.split, dataset.source) == ("nfcorpus", "dev", "nobody/words@abc")
    again = evaluate(Bm25Retriever(), find_sources(["nfcorpus"]), tmp_path / "again")
    assert len(hub) == 3
    assert again.datasets[0].per_query == dataset.per_query
    assert read_run(tmp_path / "again" / "nfcorpus.trec") == read_run(tmp_path / "out" / "nfcorpus.trec")


def test_what_another_process_fetches_is_waited_for_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching, may_end, loads = threading.Event(), threading.Event(), []

    class Slow:
        def __init__(self) -> None:
            self.of = task(parts(), name="NFCorpus")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.of, name)

        def load_data(self) -> None:
            loads.append(1)
            fetching.set()
            assert may_end.wait(30)
            self.of.load_data()

    monkeypatch.setattr(mteb, "get_task", lambda _: Slow())
    [nfcorpus] = choose_sets(["nfcorpus"])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(public_sets.fetch, nfcorpus, tmp_path / "beir" / "nfcorpus")
        assert fetching.wait(30)
        second = pool.submit(public_sets.fetch, nfcorpus, tmp_path / "beir" / "nfcorpus")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        may_end.set()
        assert first.result(30) == second.result(30) == public_sets.find_saved(tmp_path / "beir" / "nfcorpus")
    assert loads == [1]


def test_misfits_of_public_sets_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = parts()
    of["qrels"]["q5"] = {"nowhere": 1}
    of["qrels"]["q6"] = {"d0": 0}
    monkeypatch.setattr(mteb, "get_task", lambda _: task(of))
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda *_: None)
    [dataset] = evaluate(Bm25Retriever(), find_sources(["nfcorpus"]), tmp_path / "out").datasets
    assert dataset.per_query[RECALL]["q5"] == dataset.per_query[RECALL]["q6"] == 0
    assert dataset.without_relevant == ("q6",)


def test_a_fetch_that_breaks_leaves_nothing(hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = task(parts())
    monkeypatch.setattr(type(broken), "load_data", lambda self: (_ for _ in ()).throw(OSError("connection reset")))
    monkeypatch.setattr(mteb, "get_task", lambda _: broken)
    with pytest.raises(TaskUnavailable, match=r"nfcorpus.*connection reset"):
        evaluate(Bm25Retriever(), find_sources(["nfcorpus"]), tmp_path / "out")
    monkeypatch.undo()
    assert not list(tmp_path.rglob("corpus.jsonl"))


def test_a_half_written_folder_is_fetched_anew(hub: list[str], tmp_path: Path) -> None:
    [source] = find_sources(["nfcorpus"])
    evaluate(Bm25Retriever(), [source], tmp_path / "out")
    [about] = tmp_path.rglob("task.json")
    about.unlink()
    evaluate(Bm25Retriever(), find_sources(["nfcorpus"]), tmp_path / "again")
    assert about.exists()
