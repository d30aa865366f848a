import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arhn.evaluate import measures
from arhn.evaluate.measures import MEASURES, MRR, NDCG, RECALL, average, count_identical_relevant, measure
from arhn.evaluate.view import results_view
from tests.unit.conftest import at_most
from tests.unit.evaluate.invented import results

DOCS = [f"d{i}" for i in range(30)]
# Few values, so that many tie; some differ only beyond the precision of 32-bit floats.
SCORES = st.sampled_from([0.0, 0.25, 0.25 + 1e-12, 0.5, 1.0, -1.0, 17.5, 1 / 3])
grades = st.dictionaries(st.sampled_from(DOCS), st.integers(-2, 3), max_size=12)
qrels_ = st.dictionaries(st.sampled_from(["q0", "q1", "q2", "d3", "d4"]), grades, min_size=1).filter(
    lambda qrels: any(qrels.values())
)
runs = st.dictionaries(
    st.sampled_from(["q0", "q1", "q2", "d3", "other"]), st.dictionaries(st.sampled_from(DOCS), SCORES, max_size=30)
)
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def ranked(scores: Mapping[str, float]) -> list[str]:
    """trec_eval's order: falling scores as 32-bit floats, ties by falling id."""
    return sorted(scores, key=lambda doc_id: (float(np.float32(scores[doc_id])), doc_id), reverse=True)


def textbook(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for query_id, of in qrels.items():
        if not of:
            continue
        order = ranked(run.get(query_id, {}))
        gains = [max(0, of.get(doc_id, 0)) for doc_id in order]
        ideal = sorted((g for g in of.values() if g > 0), reverse=True)
        relevant = len(ideal)
        best = dcg(ideal[:10])
        found[NDCG][query_id] = dcg(gains[:10]) / best if best else 0.0
        found[RECALL][query_id] = sum(g > 0 for g in gains[:100]) / relevant if relevant else 0.0
        found[MRR][query_id] = next((1 / rank for rank, g in enumerate(gains[:10], 1) if g > 0), 0.0)
    return found


def dcg(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def by_ir_measures(qrels: Qrels, run: Run, measures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Values of `ir_measures`, for the queries that are judged and in the run."""
    names = {str(m): name for name, m in measures.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(measures.values()), judged(qrels), filled(run)):
        found[names[str(metric.measure)]][metric.query_id] = metric.value
    return found


def judged(qrels: Qrels) -> Qrels:
    """What may be given to pytrec_eval, which doesn't survive negative grades."""
    return {query_id: {doc_id: max(0, g) for doc_id, g in of.items()} for query_id, of in qrels.items() if of}


def filled(run: Run) -> Run:
    return {query_id: scores for query_id, scores in run.items() if scores}


def close(found: Mapping[str, Mapping[str, float]], expected: Mapping[str, Mapping[str, float]]) -> None:
    for name, values in expected.items():
        assert dict(found[name]) == pytest.approx(dict(values), abs=1e-9), name


ir_measures = pytest.importorskip("ir_measures")
pytrec_eval = pytest.importorskip("pytrec_eval")


@given(qrels_, runs)
def test_values_are_the_textbooks(qrels: Qrels, run: Run) -> None:
    close(measure(qrels, run, skip_identical=False).per_query, textbook(qrels, run))


@given(qrels_, runs)
def test_values_are_those_of_ir_measures(qrels: Qrels, run: Run) -> None:
    found = measure(qrels, run, skip_identical=False)
    close(found.per_query, by_ir_measures(qrels, run, {NDCG: ir_measures.nDCG @ 10, RECALL: ir_measures.R @ 100}))
    whole = by_ir_measures(qrels, run, {MRR: ir_measures.RR})[MRR]
    assert found.per_query[MRR] == pytest.approx({q: v if v >= 0.1 else 0.0 for q, v in whole.items()}, abs=1e-9)


def without_ties(run: Run) -> Run:
    """The same ranking with scores that all differ."""
    return {q: {d: float(-rank) for rank, d in enumerate(ranked(scores))} for q, scores in run.items()}


@given(qrels_, runs)
def test_mrr_is_that_of_ms_marcos_script_where_nothing_ties(qrels: Qrels, run: Run) -> None:
    run = without_ties(run)
    expected = by_ir_measures(qrels, run, {MRR: ir_measures.RR @ 10})
    close(measure(qrels, run, skip_identical=False).per_query, expected)


@given(qrels_, runs)
def test_values_are_those_of_pytrec_eval_and_missing_queries_score_0(qrels: Qrels, run: Run) -> None:
    found = measure(qrels, run, skip_identical=False)
    evaluator = pytrec_eval.RelevanceEvaluator(judged(qrels), {"ndcg_cut.10", "recall.100", "recip_rank"})
    expected = evaluator.evaluate(filled(run))
    for query_id in judged(qrels):
        own = {name: found.per_query[name][query_id] for name in MEASURES}
        if query_id in expected:
            e = expected[query_id]
            first = e["recip_rank"] if e["recip_rank"] >= 0.1 else 0.0
            assert own == pytest.approx({NDCG: e["ndcg_cut_10"], RECALL: e["recall_100"], MRR: first}, abs=1e-9)
        else:
            assert query_id in found.missing
            assert set(own.values()) == {0.0}


@given(qrels_, runs)
def test_mrr_is_that_of_mteb(qrels: Qrels, run: Run) -> None:
    # mteb compares scores as 64-bit floats.
    run = {q: {d: float(np.float32(s)) for d, s in scores.items()} for q, scores in filled(run).items() if q in qrels}
    expected = mteb_mrr(qrels, run, [10])["MRR@10"]
    found = measure(qrels, run, skip_identical=False).per_query[MRR]
    assert [found[q] for q in run if qrels[q]] == pytest.approx(
        [v for q, v in zip(run, expected, strict=True) if qrels[q]]
    )


def mteb_mrr(qrels: Qrels, run: Run, depths: list[int]) -> Any:
    from mteb._evaluators.retrieval_metrics import mrr

    return mrr(qrels, run, depths) if run else {"MRR@10": []}


@at_most(20)
@given(st.integers(0, 2**32 - 1))
def test_long_runs_of_real_scores(seed: int) -> None:
    random = np.random.default_rng(seed)
    docs = [f"doc-{i}" for i in range(400)]
    qrels = {f"q{i}": {str(d): int(random.integers(-1, 3)) for d in random.choice(docs, 40)} for i in range(5)}
    run = {
        f"q{i}": {str(d): float(np.float32(random.choice([random.normal(), 0.5]))) for d in random.choice(docs, 300)}
        for i in range(5)
    }
    close(measure(qrels, run, skip_identical=False).per_query, textbook(qrels, run))


@given(qrels_, runs)
def test_a_passage_with_the_querys_own_id_counts_as_not_retrieved(qrels: Qrels, run: Run) -> None:
    without = {q: {d: s for d, s in scores.items() if d != q} for q, scores in run.items()}
    found, expected = measure(qrels, run), measure(qrels, without, skip_identical=False)
    assert found.per_query == expected.per_query
    assert found.missing == expected.missing


def test_relevant_passages_with_the_querys_own_id_are_counted() -> None:
    assert count_identical_relevant({"a": {"a": 1}, "b": {"b": 0, "a": 2}, "c": {}}) == 1


def test_missing_queries_and_queries_without_a_relevant_passage_score_0_and_are_named() -> None:
    found = measure({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 0}, "d": {}}, {"a": {"x": 1.0}, "b": {}, "c": {"x": 2}})
    assert found.missing == ("b",)
    assert found.without_relevant == ("c",)
    assert found.means == {name: pytest.approx(1 / 3) for name in MEASURES}


def test_nothing_judged_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="no judged query"):
        measure({"a": {}}, {})


def test_the_mean_over_data_sets_counts_each_the_same() -> None:
    assert average([{"a": 0.0, "b": 1.0}, {"a": 1.0}]) == {"a": 0.5}


@pytest.mark.parametrize("rank", [1, 9, 10, 11])
def test_mrr_ends_at_rank_10(rank: int) -> None:
    run = {"q": {f"d{i}": -float(i) for i in range(1, 20)}}
    found = measure({"q": {f"d{rank}": 1}}, run).means[MRR]
    assert found == pytest.approx(1 / rank if rank <= 10 else 0)


@at_most(50)
@given(qrels_, runs)
def test_on_one_run_file_mteb_says_the_same_but_leaves_missing_queries_out(qrels: Qrels, run: Run) -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    qrels, run = judged(qrels), filled(run)
    run = {q: {d: float(np.float32(s)) for d, s in scores.items()} for q, scores in run.items() if q in qrels}
    found = measure(qrels, run, skip_identical=False)
    assert set(found.missing) == qrels.keys() - run.keys()
    if not run:
        return
    expected = calculate_retrieval_scores(run, qrels, [1, 10, 100])
    here = {name: {q: found.per_query[name][q] for q in run} for name in MEASURES}
    close(here, {NDCG: {q: s["ndcg_cut_10"] for q, s in expected.all_scores.items()},
                 RECALL: {q: s["recall_100"] for q, s in expected.all_scores.items()}})  # fmt: skip
    assert sum(here[MRR].values()) / len(run) == pytest.approx(expected.mrr["MRR@10"], abs=5.1e-6)


def test_a_measure_is_one_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measures.MEASURES, "P@5", measures.Measure(request="P.5", field="P_5", depth=5))
    found = measure({"q": {"a": 1, "b": 1, "c": 0}}, {"q": {"a": 3.0, "b": 2.0, "c": 1.0}})
    assert found.means["P@5"] == pytest.approx(2 / 5)
    one = results("a model", {"words": [0.5, 0.25]}, measures=tuple(MEASURES))
    shown = io.StringIO()
    Console(width=120, file=shown).print(results_view(one))
    assert "P@5" in shown.getvalue()
