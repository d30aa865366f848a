"""BEIR's data sets as data (`beir.toml`), and which sets lie outside the domain of what a model was trained on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from arhn.errors import UnknownTask
from arhn.families.data_set_names import list_spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class BeirSet:
    """One data set. `task` is its name in mteb, None where it can't be fetched; `near` are training sets (`name`s)
    that make it in-domain besides itself."""

    name: str
    task: str | None = None
    near: frozenset[str] = frozenset()


def chosen(wanted: Iterable[str]) -> list[BeirSet]:
    """The sets that names and suites stand for, each once, in their order.

    Raises:
        UnknownTask: a name that is neither.
    """
    sets, suites, _ = _table()
    names = [name for given in wanted for name in suites.get(given.casefold()) or [_named(given)]]
    return [sets[name] for name in dict.fromkeys(names)]


def canonical(name: str) -> str:
    """One spelling for a data set: BEIR's name where it is one of its sets, else what is left without "train" etc."""
    _, _, aliases = _table()
    forms = [form for form in list_spellings(name) if form]
    known = next((aliases[form] for form in forms if form in aliases), None)
    return known or (forms[-1] if forms else name)


def in_domain(name: str, training_sets: Iterable[str]) -> bool:
    """Whether training on `training_sets` makes a data set known: it is one of them, or near one (`beir.toml`)."""
    sets, _, _ = _table()
    trained = {canonical(each) for each in training_sets}
    own = canonical(name)
    return own in trained or (own in sets and not sets[own].near.isdisjoint(trained))


def suites() -> Mapping[str, Sequence[str]]:
    """Names of sets by name of a suite."""
    return _table()[1]


def _named(given: str) -> str:
    sets, suites, _ = _table()
    name = canonical(given)
    if name in sets:
        return name
    known = [*suites, *sets]
    close = get_close_matches(given.casefold(), known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UnknownTask(
        f"task {given!r}: no such data set or suite.{hint} There are {', '.join(known)}; any other data set is "
        "given as a BEIR folder, with --data."
    )


@cache
def _table() -> tuple[dict[str, BeirSet], dict[str, list[str]], dict[str, str]]:
    """Sets by name, names by suite, and names by every spelling."""
    content = tomllib.loads(files("arhn.evaluate").joinpath("beir.toml").read_text("utf-8"))
    sets = {
        name: BeirSet(name=name, task=row.get("task"), near=frozenset(row.get("near", ())))
        for name, row in content["sets"].items()
    }
    aliases = {
        form: name
        for name, row in content["sets"].items()
        for each in (name, *filter(None, [row.get("task")]), *row.get("aliases", ()))
        for form in list_spellings(each)
        if form
    }
    return sets, content["suites"], aliases
