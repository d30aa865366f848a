"""The contenders of a comparison: results of one model, or of several seeds of one method, under one name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arhn.errors import UsageError
from arhn.evaluate.results import RESULTS, Results, find_results, read_results

#: The seed in a folder's name: -seed1, .s2, _3.
_SEED_IN_NAME = re.compile(r"[-_.](seed|s)?[-_.]?\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One name in the comparison. Several `results` are seeds of one method, and count together."""

    name: str
    results: tuple[Results, ...]


def read_contenders(
    results: Sequence[str] = (), groups: Sequence[str] = (), *, by_seed: bool = False
) -> tuple[Contender, ...]:
    """Read the results to compare.

    Args:
        results: `PATH` or `NAME=PATH` of single models; a path is a folder of `arhn evaluate` or its results.json.
            Without a name, a model is called after its folder.
        groups: `NAME=PATH,PATH,...` each, for several seeds of one method.
        by_seed: group those of `results` whose training manifests differ only in the seed into one contender, which is
            called after their folders without the seed.

    Raises:
        UsageError: a group can't be parsed, two contenders have one name, or there is none.
        FileMissing, BadJson, UnknownFormat, BadRow: see `read_results`.
    """
    single = [(name, read_results(path)) for name, path in map(_parse_result, results)]
    found = _group_by_seed(single) if by_seed else [Contender(name=name, results=(r,)) for name, r in single]
    found += [_read_group(spec) for spec in groups]
    names = [c.name for c in found]
    if not names:
        raise UsageError("nothing to compare. Give folders that 'arhn evaluate' wrote.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two results are called {twice!r}. Tell them apart with NAME=PATH.")
    return tuple(found)


def find_files(results: Sequence[str] = (), groups: Sequence[str] = ()) -> dict[str, Path]:
    """The files that `read_contenders` reads, by how they are named."""
    paths = [path for _, path in map(_parse_result, results)]
    paths += [path for spec in groups for path in spec.partition("=")[2].split(",") if path]
    return {f"results {path}": find_results(path) for path in paths}


def _parse_result(spec: str) -> tuple[str, str]:
    name, equals, path = spec.partition("=")
    if equals and name and path and not Path(spec).exists():
        return name, path
    place = Path(spec).absolute()
    return (place.parent if place.name == RESULTS else place).name, spec


def _read_group(spec: str) -> Contender:
    name, _, paths = spec.partition("=")
    each = [path for path in paths.split(",") if path]
    if not (name and each):
        raise UsageError(f"--group {spec!r}: expected NAME=PATH,PATH,..., the results of each seed.")
    return Contender(name=name, results=tuple(map(read_results, each)))


def _group_by_seed(single: Iterable[tuple[str, Results]]) -> list[Contender]:
    groups: dict[str, list[tuple[str, Results]]] = {}
    for name, results in single:
        groups.setdefault(results.model.method or f"only {name}", []).append((name, results))
    return [_merge_seeds(members) for members in groups.values()]


def _merge_seeds(members: Sequence[tuple[str, Results]]) -> Contender:
    results = tuple(r for _, r in members)
    if len(members) == 1:
        return Contender(name=members[0][0], results=results)
    names = {_SEED_IN_NAME.sub("", name) for name, _ in members}
    return Contender(name=names.pop() if len(names) == 1 else members[0][0], results=results)
