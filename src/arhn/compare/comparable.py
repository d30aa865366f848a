"""Whether results can be compared: on which data sets, and with which notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from arhn.compare.contenders import Contender
from arhn.errors import ResultsDiffer, describe_count
from arhn.evaluate.results import PACKAGES, DatasetRecord, Results

_LIBRARIES = ("arhn", *PACKAGES)


def common_datasets(contenders: Sequence[Contender]) -> tuple[str, ...]:
    """The data sets that all results have, in the order of the first. Raises ResultsDiffer where there is none."""
    results = [r for _, r in _list_results(contenders)]
    names = tuple(d.name for d in results[0].datasets if all(r.has(d.name) for r in results))
    if not names:
        had = "; ".join(
            f"{name}: {', '.join(d.name for d in r.datasets) or 'none'}" for name, r in _list_results(contenders)
        )
        raise ResultsDiffer(f"no data set is common to all results ({had}). Evaluate them on the same ones.")
    return names


def require_comparable(contenders: Sequence[Contender], datasets: Sequence[str], measure: str) -> None:
    """Raise ResultsDiffer where a data set isn't the same in all results, or a result lacks the measure."""
    (one, first), *others = _list_results(contenders)
    for name in datasets:
        _require_measure(one, first.dataset(name), measure)
        for other, results in others:
            _require_measure(other, results.dataset(name), measure)
            if why := _find_difference(first, results, name):
                raise ResultsDiffer(
                    f"data set {name!r}: {one} and {other} were evaluated on {why}. Evaluate one of them again."
                )


def out_of_domain(contenders: Sequence[Contender], datasets: Sequence[str]) -> tuple[str, ...]:
    """The data sets out of the domain of every contender whose training sets are recorded; none if none are."""
    known = [set(names) for _, r in _list_results(contenders) if (names := r.out_of_domain) is not None]
    return tuple(name for name in datasets if all(name in names for names in known)) if known else ()


def list_notes(contenders: Sequence[Contender], datasets: Sequence[str]) -> Iterator[str]:
    """What was left out, and how results differ apart from the model, as sentences without a full stop."""
    for name, results in _list_results(contenders):
        if left := [d.name for d in results.datasets if d.name not in datasets]:
            yield f"left out, because not every result has it: {', '.join(left)} (of {name})"
        if results.out_of_domain is None:
            yield f"the training sets of {name} aren't recorded: all data sets may be in its domain"
        for dataset in results.datasets:
            if dataset.name in datasets and dataset.missing:
                unanswered = describe_count(len(dataset.missing), "query")
                yield f"{name} has no passage for {unanswered} of {dataset.name}, where it scores 0"
    yield from _note_difference(contenders, "passages a query in the run", lambda r: str(r.settings.depth))
    yield from _note_difference(contenders, "maximal length", _find_length)
    for library in _LIBRARIES:
        yield from _note_difference(contenders, f"version of {library}", partial(_find_version, library, datasets))


def _find_length(results: Results) -> str | None:
    return None if results.model.max_length is None else str(results.model.max_length)


def _find_version(library: str, datasets: Sequence[str], results: Results) -> str | None:
    found = {results.dataset(name).versions.get(library) for name in datasets} - {None}
    return " and ".join(sorted(map(str, found))) or None


def _list_results(contenders: Sequence[Contender]) -> list[tuple[str, Results]]:
    """Every single result with its name: the contender's, and the number of the seed where it has several."""
    return [
        (c.name if len(c.results) == 1 else f"{c.name} ({i})", results)
        for c in contenders
        for i, results in enumerate(c.results, 1)
    ]


def _require_measure(name: str, dataset: DatasetRecord, measure: str) -> None:
    if measure not in dataset.per_query:
        has = ", ".join(dataset.per_query)
        raise ResultsDiffer(f"{name} has no {measure} on {dataset.name}. Choose one of {has}.")


def _find_difference(one: Results, other: Results, name: str) -> str | None:
    a, b = one.dataset(name), other.dataset(name)
    if a.split != b.split:
        return f"other splits ({a.split}, {b.split})"
    if a.data != b.data:
        return f"other data ({a.data[:12]} from {a.source}, {b.data[:12]} from {b.source})"
    if one.settings.skip_identical != other.settings.skip_identical:
        return "the same data with another rule for passages with the query's own id"
    return None


def _note_difference(
    contenders: Sequence[Contender], what: str, value: Callable[[Results], str | None]
) -> Iterator[str]:
    values = {name: found for name, r in _list_results(contenders) if (found := value(r)) is not None}
    if len(set(values.values())) > 1:
        yield f"{what} differs: " + ", ".join(f"{name} {found}" for name, found in values.items())
