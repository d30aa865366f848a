"""Which results may stand in one table, on which data sets, and what has to be said beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from arhn.compare.contenders import Contender
from arhn.errors import ResultsDiffer
from arhn.evaluate.results import PACKAGES, DatasetRecord, Results

_LIBRARIES = ("arhn", *PACKAGES)


def common(contenders: Sequence[Contender]) -> tuple[str, ...]:
    """The data sets that every result has, in the order of the first. Raises ResultsDiffer where there is none."""
    results = [r for _, r in _each(contenders)]
    names = tuple(d.name for d in results[0].datasets if all(r.has(d.name) for r in results))
    if not names:
        had = "; ".join(f"{name}: {', '.join(d.name for d in r.datasets) or 'none'}" for name, r in _each(contenders))
        raise ResultsDiffer(f"no data set is common to all results ({had}). Evaluate them on the same ones.")
    return names


def require_comparable(contenders: Sequence[Contender], datasets: Sequence[str], measure: str) -> None:
    """Raises ResultsDiffer: a data set of one name isn't the same in all results, or one lacks the measure."""
    (one, first), *others = _each(contenders)
    for name in datasets:
        _require_measure(one, first.dataset(name), measure)
        for other, results in others:
            _require_measure(other, results.dataset(name), measure)
            if why := _difference(first, results, name):
                raise ResultsDiffer(
                    f"data set {name!r}: {one} and {other} were evaluated on {why}. Evaluate one of them again."
                )


def out_of_domain(contenders: Sequence[Contender], datasets: Sequence[str]) -> tuple[str, ...]:
    """The data sets that no contender's training made known; none where nobody says what any was trained on."""
    known = [set(names) for _, r in _each(contenders) if (names := r.out_of_domain) is not None]
    return tuple(name for name in datasets if all(name in names for names in known)) if known else ()


def notes(contenders: Sequence[Contender], datasets: Sequence[str]) -> Iterator[str]:
    """What was left out, and how results differ besides the model, in sentences without a full stop."""
    for name, results in _each(contenders):
        if left := [d.name for d in results.datasets if d.name not in datasets]:
            yield f"left out, for not every result has it: {', '.join(left)} (of {name})"
        if results.out_of_domain is None:
            yield f"nobody says what {name} was trained on: all data sets may be known to it"
        for dataset in results.datasets:
            if dataset.name in datasets and dataset.missing:
                yield f"{name} has no passage for {len(dataset.missing)} queries of {dataset.name}, which score 0"
    yield from _differing(contenders, "passages a query in the run", lambda r: str(r.settings.depth))
    yield from _differing(contenders, "maximal length", _length)
    for library in _LIBRARIES:
        yield from _differing(contenders, f"version of {library}", partial(_version, library, datasets))


def _length(results: Results) -> str | None:
    return None if results.model.max_length is None else str(results.model.max_length)


def _version(library: str, datasets: Sequence[str], results: Results) -> str | None:
    found = {results.dataset(name).versions.get(library) for name in datasets} - {None}
    return " and ".join(sorted(map(str, found))) or None


def _each(contenders: Sequence[Contender]) -> list[tuple[str, Results]]:
    """Every single result with what it is called: its contender, and which of its seeds."""
    return [
        (c.name if len(c.results) == 1 else f"{c.name} ({i})", results)
        for c in contenders
        for i, results in enumerate(c.results, 1)
    ]


def _require_measure(name: str, dataset: DatasetRecord, measure: str) -> None:
    if measure not in dataset.per_query:
        has = ", ".join(dataset.per_query)
        raise ResultsDiffer(f"{name} has no {measure} on {dataset.name}. Choose one of {has}.")


def _difference(one: Results, other: Results, name: str) -> str | None:
    a, b = one.dataset(name), other.dataset(name)
    if a.split != b.split:
        return f"other splits ({a.split}, {b.split})"
    if a.data != b.data:
        return f"other data ({a.data[:12]} from {a.source}, {b.data[:12]} from {b.source})"
    if one.settings.skip_identical != other.settings.skip_identical:
        return "the same data with another rule for passages with the query's own id"
    return None


def _differing(contenders: Sequence[Contender], what: str, value: Callable[[Results], str | None]) -> Iterator[str]:
    values = {name: found for name, r in _each(contenders) if (found := value(r)) is not None}
    if len(set(values.values())) > 1:
        yield f"{what} differs: " + ", ".join(f"{name} {found}" for name, found in values.items())
