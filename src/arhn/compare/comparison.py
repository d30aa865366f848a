"""One table over models: means, spreads over seeds, paired significance against a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import numpy as np

from arhn.compare.comparable import common_datasets, list_notes, out_of_domain, require_comparable
from arhn.compare.contenders import Contender
from arhn.compare.significance import RESAMPLES, Floats, holm, interval, sign_flip
from arhn.errors import UsageError
from arhn.evaluate.measures import NDCG
from arhn.evaluate.results import DatasetRecord

#: Adjusted p below which a difference is marked.
ALPHA = 0.05

Kind = Literal["dataset", "average", "out_of_domain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One contender in one row.

    `seeds` are the means of the single seeds, `mean` is their mean and `spread` their standard deviation (None for one
    seed). `interval` is a 95% interval over queries. The other fields compare with the baseline, and are None for the
    baseline itself: the mean `difference` with its interval, `p` of the paired test, and that p `adjusted` for all
    comparisons of the table.
    """

    mean: float
    seeds: tuple[float, ...]
    spread: float | None
    interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None
    adjusted: float | None = None

    @property
    def significant(self) -> bool:
        """Whether it differs from the baseline, at `ALPHA` after Holm's correction."""
        return self.adjusted is not None and self.adjusted < ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A data set, or the average over several (`datasets`). `cells` are in the order of the contenders."""

    name: str
    kind: Kind
    datasets: tuple[str, ...]
    queries: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A finished comparison. `notes` say what was left out, and how results differ apart from the model."""

    measure: str
    contenders: tuple[str, ...]
    baseline: str
    rows: tuple[Row, ...]
    comparisons: int
    resamples: int
    seed: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as written to JSON."""
        return asdict(self)


def compare(
    contenders: Sequence[Contender],
    *,
    baseline: str | None = None,
    measure: str = NDCG,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare contenders on the data sets that all of them were evaluated on.

    For a contender with several seeds, the value of a query is the mean over its seeds. Every difference from the
    baseline is tested (`sign_flip`), on each data set and on the averages, and all p-values are corrected together
    (`holm`).

    Args:
        contenders: one or more; with one, nothing is tested.
        baseline: the name of the contender to compare the others with; by default the first.
        measure: a measure that all results have.
        resamples, seed: of the test.

    Raises:
        UsageError: no contender is called `baseline`, or `seed` is below 0.
        ResultsDiffer: the contenders have no data set in common, or differ in its data, its split or the rule for
            identical ids, or a result lacks the measure.
    """
    names = tuple(c.name for c in contenders)
    if seed < 0:
        raise UsageError(f"seed: expected 0 or more, found {seed}.")
    if baseline is not None and baseline not in names:
        raise UsageError(f"--baseline {baseline!r}: no such result. There are {', '.join(names)}.")
    first = names.index(baseline) if baseline is not None else 0
    datasets = common_datasets(contenders)
    require_comparable(contenders, datasets, measure)
    test = _Test(resamples, seed)
    rows = [
        _make_row(name, kind, members, [_read_scores(c, members, measure) for c in contenders], first, test)
        for name, kind, members in _plan_rows(contenders, datasets)
    ]
    return Comparison(
        measure=measure,
        contenders=names,
        baseline=names[first],
        rows=_correct_p_values(rows),
        comparisons=len(rows) * (len(names) - 1),
        resamples=resamples,
        seed=seed,
        notes=tuple(list_notes(contenders, datasets)),
    )


class _Test(NamedTuple):
    resamples: int
    seed: int


#: Per data set, the values of each seed for each query: shape (seeds, queries).
_Scores = Sequence[Floats]


def _read_scores(contender: Contender, datasets: Iterable[str], measure: str) -> _Scores:
    return [np.array([_read_values(r.dataset(name), measure) for r in contender.results]) for name in datasets]


def _read_values(record: DatasetRecord, measure: str) -> list[float]:
    # Files may hold the queries in any order, but pairs must match.
    return [value for _, value in sorted(record.per_query[measure].items())]


def _plan_rows(contenders: Sequence[Contender], datasets: Sequence[str]) -> Iterator[tuple[str, Kind, tuple[str, ...]]]:
    """The rows: each data set, the average over all, and the one over those that no contender was trained on."""
    for name in datasets:
        yield name, "dataset", (name,)
    if len(datasets) > 1:
        yield "average", "average", tuple(datasets)
    unseen = out_of_domain(contenders, datasets)
    if unseen and len(unseen) < len(datasets):
        yield "out of domain", "out_of_domain", unseen


def _make_row(
    name: str, kind: Kind, datasets: tuple[str, ...], scores: Sequence[_Scores], first: int, test: _Test
) -> Row:
    cells = [_make_cell(each, test) for each in scores]
    return Row(
        name=name,
        kind=kind,
        datasets=datasets,
        queries=sum(each.shape[1] for each in scores[first]),
        cells=tuple(
            cell if i == first else _compare_with_baseline(cell, scores[i], scores[first], test)
            for i, cell in enumerate(cells)
        ),
    )


def _make_cell(scores: _Scores, test: _Test) -> Cell:
    seeds = np.mean([each.mean(axis=1) for each in scores], axis=0).tolist()
    return Cell(
        mean=fmean(seeds),
        seeds=tuple(seeds),
        spread=stdev(seeds) if len(seeds) > 1 else None,
        interval=interval([each.mean(axis=0) for each in scores], seed=test.seed),
    )


def _compare_with_baseline(cell: Cell, scores: _Scores, baseline: _Scores, test: _Test) -> Cell:
    differences = [own.mean(axis=0) - other.mean(axis=0) for own, other in zip(scores, baseline, strict=True)]
    return replace(
        cell,
        difference=fmean(float(d.mean()) for d in differences),
        difference_interval=interval(differences, seed=test.seed),
        p=sign_flip(differences, resamples=test.resamples, seed=test.seed),
    )


def _correct_p_values(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with every p adjusted for all tests of the table."""
    adjusted = iter(holm([cell.p for row in rows for cell in row.cells if cell.p is not None]))
    return tuple(
        replace(
            row,
            cells=tuple(cell if cell.p is None else replace(cell, adjusted=next(adjusted)) for cell in row.cells),
        )
        for row in rows
    )
