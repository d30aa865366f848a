"""Whether weights fitted on some data sets hold on others: every set in turn is judged by weights from the rest.

    python -m bench.transfer FOLDER ... --split train --groups 40 --model qwen2.5-coder-0.5b qwen2.5-coder-1.5b
    python -m bench.transfer FOLDER ... --split test --shipped

A FOLDER is a gold folder (bench.scoring). For each way of deciding, by the signals it has: the AUC of false against
true negatives; F1 where at most 3% of the true negatives are lost; and, at the threshold to ship, with what the run
itself assumes (arhn.cleaning.evidence.assume): F1, precision, true negatives lost, and the calibration
error (ten bins). No label of a set plays a part in what is decided on it. `--write` puts the weights fitted on all
given sets where arhn ships them; `--shipped` judges by those. Intervals are over groups (bootstrap).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from arhn import weights
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.assume import Transfer, assume, find_transfer, find_trust, standardize
from arhn.cleaning.evidence.calibration import CurvePoint
from arhn.cleaning.evidence.confidence import make_confidences
from arhn.cleaning.evidence.signals import SIMILARITIES, VERDICT, Signals
from arhn.cleaning.first_groups import open_groups
from arhn.cleaning.methods.arhn import find_asked_negatives
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import aevidence
from arhn.cleaning.stats import Stats
from arhn.engines import settings_of
from arhn.retrieval.similarity import Similarity
from arhn.types import Group
from bench import output
from bench.scoring import Gold, load, store_at

WAYS = {
    "verdict": (VERDICT,),
    "similarities": SIMILARITIES,
    "all": (VERDICT, *SIMILARITIES),
    **{f"all but {name}": tuple(n for n in (VERDICT, *SIMILARITIES) if n != name) for name in SIMILARITIES},
}
#: The ways whose weights are shipped.
SHIPPED = ("verdict", "all")
#: True negatives, as a share, that the threshold to ship may cost on average over the sets.
MOST_LOST = 0.025
#: Precision from which on relabelling is worth it, on the sets together.
RELABELLED_PRECISION = 0.9
_PENALTY = 0.01
_THRESHOLDS = tuple(n / 100 for n in range(5, 100))
#: A precision measured on fewer negatives than this says nothing.
_LEAST_ACTED_ON = 5
_RESAMPLES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """A data set's groups: signals of the negatives, and whether each is false (None where that doesn't count)."""

    name: str
    model: str
    signals: tuple[Signals, ...]
    labels: tuple[tuple[bool | None, ...], ...]

    def flat(self, values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of all labelled negatives, their labels, and the numbers of their groups."""
        numbered = [(label, i) for i, labels in enumerate(self.labels) for label in labels]
        rows = [(v, label, i) for v, (label, i) in zip(values, numbered, strict=True) if label is not None]
        return tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def fit_transfer(sets: Sequence[LabelledSet], names: Sequence[str]) -> Transfer:
    """Weights from these sets, each counting alike; thresholds from sets that a fit hasn't seen."""
    fitted = _fit_weights(sets, names)
    if len(sets) < 3:
        return fitted
    judged = [_judge(each, _fit_weights(_leave_out(sets, each), names)) for each in sets]
    threshold = _choose_threshold(judged)
    return fitted.model_copy(
        update={
            "threshold": threshold,
            "lower": round(threshold / 3, 3),
            "relabel": _choose_relabel(judged, threshold),
            "curve": _draw_curve(judged),
        }
    )


def _leave_out(sets: Sequence[LabelledSet], one: LabelledSet) -> list[LabelledSet]:
    """The sets of other data, by any model."""
    return [each for each in sets if each.name != one.name]


def _fit_weights(sets: Sequence[LabelledSet], names: Sequence[str]) -> Transfer:
    """Weights, with thresholds that are still to be chosen."""
    trusts = [1.0] * len(sets)
    others = [name for name in names if name != VERDICT]
    if VERDICT in names and others:
        first, _ = _regress(sets, others, trusts)
        trusts = [find_trust(standardize(s.signals, names).values, {VERDICT: 1.0, **first}) for s in sets]
    found, intercept = _regress(sets, names, trusts)
    return Transfer(weights=found, intercept=intercept, threshold=0.5, lower=0.1, relabel=0.9)


def _regress(
    sets: Sequence[LabelledSet], names: Sequence[str], trusts: Sequence[float]
) -> tuple[dict[str, float], float]:
    """Logistic regression, every set counting alike, whose weights can't be negative; and its intercept."""
    rows, labels, shares = [], [], []
    for each, trust in zip(sets, trusts, strict=True):
        found = standardize(each.signals, names)
        columns = [each.flat([(trust if n == VERDICT else 1.0) * v for v in found.values[n]]) for n in names]
        rows.append(np.stack([c[0] for c in columns], axis=1))
        labels.append(columns[0][1].astype(float))
        shares.append(np.full(len(rows[-1]), 1 / len(rows[-1]) / len(sets)))
    x, y, share = np.concatenate(rows), np.concatenate(labels), np.concatenate(shares)

    def loss(t: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ t[:-1] + t[-1]
        error = share * (1 / (1 + np.exp(-z)) - y)
        value = float(share @ (np.logaddexp(0, z) - y * z)) + _PENALTY * float(t[:-1] @ t[:-1]) / 2
        return value, np.append(x.T @ error + _PENALTY * t[:-1], error.sum())

    bounds = [(0.0, None)] * len(names) + [(None, None)]
    best = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return {name: round(float(w), 4) for name, w in zip(names, best, strict=False)}, round(float(best[-1]), 4)


Judged = tuple[np.ndarray, np.ndarray, np.ndarray]


def _judge(each: LabelledSet, transfer: Transfer) -> Judged:
    """Confidences, labels and groups of a set's negatives, as a run of arhn on it would make them."""
    calibration = assume(each.signals, transfer).calibration
    return each.flat([c for g in each.signals for c in make_confidences(g, calibration)])


def _choose_threshold(judged: Sequence[Judged]) -> float:
    """The best mean F1 where the sets lose no more than `MOST_LOST` on average."""
    able = [t for t in _THRESHOLDS if np.mean([_measure(j, t)["TN lost"] for j in judged]) <= MOST_LOST]
    return max(able, key=lambda t: np.mean([_measure(j, t)["F1"] for j in judged]), default=_THRESHOLDS[-1])


def _choose_relabel(judged: Sequence[Judged], threshold: float) -> float:
    """The lowest threshold whose precision on all sets together is high enough."""
    able = [t for t in _THRESHOLDS if t >= threshold and _find_precision(judged, t) >= RELABELLED_PRECISION]
    return min(able, default=1.0)


def _find_precision(judged: Sequence[Judged], threshold: float) -> float:
    acted = np.concatenate([label[c >= threshold] for c, label, _ in judged])
    return float(acted.mean()) if len(acted) else 0.0


def _draw_curve(judged: Sequence[Judged]) -> tuple[CurvePoint, ...]:
    """By falling threshold: the precision of the set where it is lowest, and the mean recall."""
    points = []
    for t in reversed(_THRESHOLDS):
        precisions = [float(label[c >= t].mean()) for c, label, _ in judged if (c >= t).sum() >= _LEAST_ACTED_ON]
        if precisions:
            recall = float(np.mean([(label & (c >= t)).sum() / max(1, label.sum()) for c, label, _ in judged]))
            points.append(CurvePoint(threshold=t, precision=round(min(precisions), 4), recall=round(recall, 4)))
    return tuple(points)


def _measure(judged: Judged, threshold: float) -> dict[str, float]:
    confidences, labels, _ = judged
    acted = confidences >= threshold
    right = int((acted & labels).sum())
    precision, recall = right / max(1, acted.sum()), right / max(1, labels.sum())
    return {
        "F1": 2 * precision * recall / max(1e-9, precision + recall),
        "precision": precision,
        "recall": recall,
        "TN lost": float((acted & ~labels).sum() / max(1, (~labels).sum())),
    }


def _find_f1(judged: Judged, most_lost: float) -> float:
    able = [m for t in np.unique(judged[0]) if (m := _measure(judged, t))["TN lost"] <= most_lost]
    return max((m["F1"] for m in able), default=0.0)


def _find_error(judged: Judged) -> float:
    """Expected calibration error."""
    confidences, labels, _ = judged
    bins = np.minimum((confidences * 10).astype(int), 9)
    each = [np.mean(bins == b) * abs(confidences[bins == b].mean() - labels[bins == b].mean()) for b in np.unique(bins)]
    return float(np.sum(each))


def _find_interval(judged: Judged, threshold: float) -> str:
    confidences, labels, groups = judged
    draw = np.random.default_rng(0)
    places = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    found = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([places[i] for i in draw.integers(0, len(places), len(places))])
        found.append(_measure((confidences[rows], labels[rows], groups[rows]), threshold)["F1"])
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{low:.2f}–{high:.2f}"


def _count_right(judged: Judged, threshold: float) -> str:
    """False negatives among all that reach a threshold."""
    confidences, labels, _ = judged
    acted = confidences >= threshold
    return f"{int((acted & labels).sum())} of {int(acted.sum())}"


def judge_row(way: str, each: LabelledSet, transfer: Transfer, precision: float) -> dict[str, Any]:
    """One line of the table."""
    judged = _judge(each, transfer)
    assumption = assume(each.signals, transfer)
    at = _measure(judged, transfer.threshold)
    promised = min((p.threshold for p in transfer.curve if p.precision >= precision), default=None)
    sure = None if promised is None else _measure(judged, promised)
    acted = promised is not None and bool((judged[0] >= promised).any())
    return {
        "name": each.name,
        "model": each.model,
        "by": way,
        "false": int(judged[1].sum()),
        "true": int((~judged[1]).sum()),
        "AUC": float(roc_auc_score(judged[1], judged[0])),
        "F1 at 3%": _find_f1(judged, 0.03),
        **at,
        "F1, 95%": _find_interval(judged, transfer.threshold),
        f"P at {precision:g}": sure["precision"] if sure and acted else None,
        f"R at {precision:g}": sure["recall"] if sure else None,
        f"right at {precision:g}": "–" if promised is None else _count_right(judged, promised),
        "right of relabelled": _count_right(judged, transfer.relabel),
        "error": _find_error(judged),
        "rate": float(judged[1].mean()),
        "assumed": assumption.rate,
        "trust": assumption.trust,
    }


def add_means(rows: Sequence[dict[str, Any]], way: str, model: str) -> dict[str, Any]:
    """The mean over sets of what has one."""
    own = [row for row in rows if (row["by"], row["model"]) == (way, model)]
    found = {k: float(np.mean([row[k] for row in own])) for k in ("AUC", "F1 at 3%", "F1", "TN lost", "error")}
    return {"name": "mean", "model": model, "by": way, **found}


def gather(
    folder: Path,
    groups: Sequence[Group],
    gold: Gold,
    models: Models,
    store: Path | None,
    model: str,
    config: CleanConfig,
) -> LabelledSet:
    """The signals of a folder's groups, and their labels; `config` has their families settled."""
    assert models.engine is not None

    async def ask() -> list[Signals]:
        with store_at(store and store / f"{folder.name}.{model}.sqlite", models.engine.model) as answers:  # type: ignore[union-attr]
            stream = aevidence(groups, models, config=config, store=answers, stats=Stats())
            return [each.negatives async for each in stream]

    words = {"false_negative": True, "true_negative": False}
    labels = [
        tuple(words.get(gold[g.query_id].get(p.doc_id, "")) for p in find_asked_negatives(g, None)) for g in groups
    ]
    return LabelledSet(name=folder.name, model=model, signals=tuple(asyncio.run(ask())), labels=tuple(labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--split", default="train")
    parser.add_argument("--groups", type=int, help="of each set, evenly spread; all unless given")
    parser.add_argument("--engine", default="llamacpp")
    parser.add_argument("--model", nargs="+", default=[weights.STARTER])
    parser.add_argument("--similarity", default="all-minilm-l6-v2-int8")
    parser.add_argument("--store", type=Path, help="a folder to keep answers in; a second run with it asks nothing")
    parser.add_argument("--precision", type=float, default=0.9)
    parser.add_argument("--shipped", action="store_true", help="judge by the weights that arhn ships")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put weights fitted on all sets here")
    parser.add_argument("--json", type=Path, default=Path("bench/out/transfer.json"))
    a = parser.parse_args()
    sets = []
    similarity = Similarity(a.similarity)
    for model in a.model:
        models = Models(engine=settings_of({"name": a.engine, "model": model}).open(None), similarity=similarity)
        for folder in a.folders:
            groups, gold = load(folder, a.split, limit=None)
            # As a run settles them: from the first groups of the whole split, not of the few that are judged here.
            config, _ = open_groups(groups, CleanConfig())
            sets.append(gather(folder, _spread(groups, a.groups), gold, models, a.store, model, config))
    rows: list[dict[str, Any]] = []
    for way, names in WAYS.items():
        if a.shipped and way not in SHIPPED:
            continue
        for each in sets:
            transfer = find_transfer(names) if a.shipped else fit_transfer(_leave_out(sets, each), names)
            rows.append(judge_row(way, each, transfer, a.precision))
        rows += [add_means(rows, way, model) for model in a.model]
    settings = {"split": a.split, "engine": a.engine, "model": a.model, "similarity": a.similarity, "groups": a.groups}
    output.show_lines(f"{', '.join(a.model)}, {a.split}", rows)
    output.write(a.json, "transfer", settings, rows)
    if a.write is not None:
        lines = [orjson.dumps(fit_transfer(sets, WAYS[way]).model_dump(mode="json")).decode() for way in SHIPPED]
        a.write.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _spread(groups: Sequence[Group], count: int | None) -> Sequence[Group]:
    if count is None or len(groups) <= count:
        return groups
    return groups[:: len(groups) // count][:count]


if __name__ == "__main__":
    main()
