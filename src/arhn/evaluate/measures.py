"""The measures of a run: nDCG@10, recall@100 and MRR@10, as trec_eval computes them.

The values are those of `pytrec_eval`, so they follow trec_eval in every detail:

- passages are ordered by falling score, ties by falling `doc_id`; scores are compared as 32-bit floats;
- nDCG's gain is the grade itself, discounted by log2(rank + 1); grades of 0 and below gain nothing;
- a passage is relevant from grade 1 on; one without a judgement isn't;
- a query without a relevant passage scores 0 in all measures.

A judged query that the run lacks scores 0 and is counted, as in `ir_measures` and with trec_eval's `-c`; `pytrec_eval`
and mteb leave it out of the mean. MRR@10 is trec_eval's `recip_rank` where that reaches 1/10. The `RR@10` of
`ir_measures` comes from MS MARCO's script, which orders ties by rising `doc_id`, and differs for ties.

A measure is added by a line in `MEASURES`; results, tables and comparisons show it then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from arhn.libraries import library
from arhn.retrieval.runs import Run

#: Grades by query_id and doc_id.
Qrels = Mapping[str, Mapping[str, int]]
#: Values by measure and query_id.
PerQuery = dict[str, dict[str, float]]

NDCG = "nDCG@10"
RECALL = "recall@100"
MRR = "MRR@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How trec_eval computes a measure.

    `request` is its name there with its parameter, `field` the name of the value that comes back. `depth` is the lowest
    rank that counts. trec_eval has no depth for reciprocal ranks: `is_rank` marks them, and a value below 1/`depth`
    counts as 0.
    """

    request: str
    field: str
    depth: int
    is_rank: bool = False


#: All measures by name, in the order in which tables show them.
MEASURES: Mapping[str, Measure] = {
    NDCG: Measure(request="ndcg_cut.10", field="ndcg_cut_10", depth=10),
    RECALL: Measure(request="recall.100", field="recall_100", depth=100),
    MRR: Measure(request="recip_rank", field="recip_rank", depth=10, is_rank=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The scores of a run.

    `per_query` has a value in [0, 1] for each measure and judged query, in the order of the qrels. `missing` are the
    judged queries without a passage in the run, `without_relevant` those without a relevant passage in the qrels; both
    score 0.
    """

    per_query: PerQuery
    missing: tuple[str, ...]
    without_relevant: tuple[str, ...]

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over the judged queries."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}


def measure(qrels: Qrels, run: Run, *, skip_identical: bool = True) -> Measured:
    """Compute all `MEASURES` of a run.

    Args:
        qrels: at least one query with a judgement. Queries without judgements are ignored.
        run: passages in any order. Queries without judgements are ignored.
        skip_identical: whether a passage whose `doc_id` is the query's own id counts as not retrieved, as in BEIR.

    Raises:
        MissingDependency: pytrec_eval isn't installed.
        ValueError: no query is judged.
    """
    judged = {query_id: grades for query_id, grades in qrels.items() if grades}
    if not judged:
        raise ValueError("no judged query")
    ranked = {query_id: _select(query_id, run.get(query_id, {}), skip_identical) for query_id in judged}
    values = _run_trec_eval(judged, {query_id: scores for query_id, scores in ranked.items() if scores})
    return Measured(
        per_query={name: {q: _read_value(values.get(q), of) for q in judged} for name, of in MEASURES.items()},
        missing=tuple(query_id for query_id, scores in ranked.items() if not scores),
        without_relevant=tuple(q for q, grades in judged.items() if max(grades.values()) <= 0),
    )


def count_identical_relevant(qrels: Qrels) -> int:
    """Count the relevant passages with their query's own id, which can't be found where such passages are skipped."""
    return sum(grades.get(query_id, 0) > 0 for query_id, grades in qrels.items())


def average(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean over data sets, each counting the same, of every measure that all of them have."""
    rows = list(rows)
    return {name: fmean(row[name] for row in rows) for name in rows[0] if all(name in row for row in rows)}


def _select(query_id: str, scores: Mapping[str, float], skip_identical: bool) -> dict[str, float]:
    # pytrec_eval takes nothing but Python's own floats.
    return {doc_id: float(s) for doc_id, s in scores.items() if not (skip_identical and doc_id == query_id)}


def _run_trec_eval(qrels: Qrels, run: Run) -> Mapping[str, Mapping[str, float]]:
    evaluators = load_pytrec_eval()
    # A negative grade means the same as 0, but makes pytrec_eval write outside its memory and crash.
    grades = {query_id: {doc_id: max(0, int(g)) for doc_id, g in of.items()} for query_id, of in qrels.items()}
    requests = {measure.request for measure in MEASURES.values()}
    values: Mapping[str, Mapping[str, float]] = evaluators.RelevanceEvaluator(grades, requests).evaluate(run)
    return values


def _read_value(values: Mapping[str, float] | None, of: Measure) -> float:
    """The value of a measure among those of one query; 0 where the run lacks the query."""
    value = values[of.field] if values else 0.0
    return 0.0 if of.is_rank and value * of.depth < 1 else value


def load_pytrec_eval() -> Any:
    """Import the library. Raises MissingDependency where it isn't installed: call it before any long work."""
    return library("pytrec_eval", "evaluate")
