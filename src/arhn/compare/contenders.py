"""What is compared: results of one model, or of several seeds of one method, under one name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arhn.errors import UsageError
from arhn.evaluate.results import RESULTS, Results, read_results

#: What a folder's name says of the seed: -seed1, .s2, _3.
_SEED_IN_NAME = re.compile(r"[-_.](seed|s)?[-_.]?\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """`results` are of one model each: several are seeds of one method, and count together."""

    name: str
    results: tuple[Results, ...]


def contenders(
    results: Sequence[str] = (), groups: Sequence[str] = (), *, by_seed: bool = False
) -> tuple[Contender, ...]:
    """Read what is to be compared.

    Args:
        results: `PATH` or `NAME=PATH` of single models; a path is a folder of `arhn evaluate` or its results.json.
            Without a name it is called after its folder.
        groups: `NAME=PATH,PATH,...`, several seeds of one method.
        by_seed: take those of `results` whose training manifests differ in nothing but the seed for one method,
            called after their folders without the seed.

    Raises:
        UsageError: a group that isn't one, two contenders of one name, or none at all.
        FileMissing, BadJson, UnknownFormat, BadRow: see `read_results`.
    """
    single = [(name, read_results(path)) for name, path in map(_named, results)]
    found = _by_seed(single) if by_seed else [Contender(name=name, results=(r,)) for name, r in single]
    found += [_group(spec) for spec in groups]
    names = [c.name for c in found]
    if not names:
        raise UsageError("nothing to compare. Give folders that 'arhn evaluate' wrote.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two results are called {twice!r}. Tell them apart with NAME=PATH.")
    return tuple(found)


def _named(spec: str) -> tuple[str, str]:
    name, equals, path = spec.partition("=")
    if equals and name and path and not Path(spec).exists():
        return name, path
    place = Path(spec).absolute()
    return (place.parent if place.name == RESULTS else place).name, spec


def _group(spec: str) -> Contender:
    name, _, paths = spec.partition("=")
    each = [path for path in paths.split(",") if path]
    if not (name and each):
        raise UsageError(f"--group {spec!r}: expected NAME=PATH,PATH,..., the results of each seed.")
    return Contender(name=name, results=tuple(map(read_results, each)))


def _by_seed(single: Iterable[tuple[str, Results]]) -> list[Contender]:
    groups: dict[str, list[tuple[str, Results]]] = {}
    for name, results in single:
        groups.setdefault(results.model.method or f"only {name}", []).append((name, results))
    return [_one(members) for members in groups.values()]


def _one(members: Sequence[tuple[str, Results]]) -> Contender:
    results = tuple(r for _, r in members)
    if len(members) == 1:
        return Contender(name=members[0][0], results=results)
    names = {_SEED_IN_NAME.sub("", name) for name, _ in members}
    return Contender(name=names.pop() if len(names) == 1 else members[0][0], results=results)
