"""nDCG@10, recall@100 and MRR@10 of a run, as trec_eval computes them.

The numbers are `pytrec_eval`'s, so they follow trec_eval in every corner:

- passages are ordered by falling score, ties by falling `doc_id`; scores are compared as 32-bit floats;
- nDCG's gain is the grade itself, discounted by log2(rank + 1); grades of 0 and below gain nothing;
- a passage is relevant from grade 1 on; one without a judgement isn't;
- a query without a relevant passage scores 0 in all three.

A judged query that the run lacks scores 0 and is counted. `pytrec_eval` and mteb leave it out of the mean instead;
`ir_measures` and trec_eval's `-c` do as we do. MRR@10 is trec_eval's `recip_rank` where it reaches 1/10; the `RR@10` of
`ir_measures` comes from MS MARCO's script, which orders ties by rising `doc_id`, and differs there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from arhn.libraries import library
from arhn.retrieval.runs import Run

#: Grades by query and passage.
Qrels = Mapping[str, Mapping[str, int]]
#: Values by measure and query.
PerQuery = dict[str, dict[str, float]]

NDCG = "nDCG@10"
RECALL = "recall@100"
MRR = "MRR@10"
MEASURES = (NDCG, RECALL, MRR)
#: The lowest rank that counts for MRR.
MRR_DEPTH = 10
#: And for recall.
RECALL_DEPTH = 100

_TREC_EVAL = {NDCG: "ndcg_cut_10", RECALL: "recall_100", MRR: "recip_rank"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run scores. `per_query` has every measure in [0, 1] for every judged query, in the order of the qrels.

    `missing` are judged queries without a passage in the run, `without_relevant` those whose judgements name no
    relevant passage: both score 0.
    """

    per_query: PerQuery
    missing: tuple[str, ...]
    without_relevant: tuple[str, ...]

    @property
    def means(self) -> dict[str, float]:
        """Each measure's mean over the judged queries."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}


def measure(qrels: Qrels, run: Run, *, skip_identical: bool = True) -> Measured:
    """Measure a run.

    Args:
        qrels: at least one query with a judgement. Queries without any don't count.
        run: any order; queries that aren't judged are ignored.
        skip_identical: whether a passage whose `doc_id` is the query's own id counts as not retrieved, as in BEIR.

    Raises:
        MissingDependency: pytrec_eval isn't installed.
        ValueError: no query is judged.
    """
    judged = {query_id: grades for query_id, grades in qrels.items() if grades}
    if not judged:
        raise ValueError("no judged query")
    ranked = {query_id: _kept(query_id, run.get(query_id, {}), skip_identical) for query_id in judged}
    found = _trec_eval(judged, {query_id: scores for query_id, scores in ranked.items() if scores})
    return Measured(
        per_query={name: {q: _value(found.get(q), name) for q in judged} for name in MEASURES},
        missing=tuple(query_id for query_id, scores in ranked.items() if not scores),
        without_relevant=tuple(q for q, grades in judged.items() if max(grades.values()) <= 0),
    )


def identical_relevant(qrels: Qrels) -> int:
    """Judgements that call a passage with the query's own id relevant; it can't be found where those are skipped."""
    return sum(grades.get(query_id, 0) > 0 for query_id, grades in qrels.items())


def mean_of(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean over data sets (each counts the same) of every measure that all of them have."""
    rows = list(rows)
    return {name: fmean(row[name] for row in rows) for name in rows[0] if all(name in row for row in rows)}


def _kept(query_id: str, scores: Mapping[str, float], skip_identical: bool) -> dict[str, float]:
    # pytrec_eval takes nothing but Python's own floats.
    return {doc_id: float(s) for doc_id, s in scores.items() if not (skip_identical and doc_id == query_id)}


def _trec_eval(qrels: Qrels, run: Run) -> Mapping[str, Mapping[str, float]]:
    library = pytrec_eval()
    # A negative grade means what 0 means, and makes pytrec_eval write where it mustn't: it crashes sooner or later.
    grades = {query_id: {doc_id: max(0, int(g)) for doc_id, g in of.items()} for query_id, of in qrels.items()}
    asked = {"ndcg_cut.10", "recall.100", "recip_rank"}
    found: Mapping[str, Mapping[str, float]] = library.RelevanceEvaluator(grades, asked).evaluate(run)
    return found


def _value(found: Mapping[str, float] | None, name: str) -> float:
    value = found[_TREC_EVAL[name]] if found else 0.0
    return 0.0 if name == MRR and value * MRR_DEPTH < 1 else value


def pytrec_eval() -> Any:
    """The library. Raises MissingDependency where it isn't installed: to be told before any long work."""
    return library("pytrec_eval", "evaluate")
