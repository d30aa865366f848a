"""BEIR's data sets, as listed in `beir.toml`, and which of them are out of the domain of a model's training data."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from arhn.errors import UnknownTask
from arhn.families.data_set_names import list_spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class BeirSet:
    """One data set.

    `task` is its name in mteb, None where it can't be fetched. `near` are the names of other training sets that make it
    in-domain.
    """

    name: str
    task: str | None = None
    near: frozenset[str] = frozenset()


def choose_sets(wanted: Iterable[str]) -> list[BeirSet]:
    """The data sets for some names of sets and of suites, each once, in their order.

    Raises:
        UnknownTask: a name is neither a set nor a suite.
    """
    sets, suites, _ = _load_tables()
    names = [name for given in wanted for name in suites.get(given.casefold()) or [_find_set(given)]]
    return [sets[name] for name in dict.fromkeys(names)]


def canonical_name(name: str) -> str:
    """One spelling for all names of a data set: BEIR's name, or else the name without "train" and the like."""
    _, _, aliases = _load_tables()
    forms = [form for form in list_spellings(name) if form]
    known = next((aliases[form] for form in forms if form in aliases), None)
    return known or (forms[-1] if forms else name)


def in_domain(name: str, training_sets: Iterable[str]) -> bool:
    """Whether a data set is in the domain of some training sets: it is one of them, or near one (see `beir.toml`)."""
    sets, _, _ = _load_tables()
    trained = {canonical_name(each) for each in training_sets}
    own = canonical_name(name)
    return own in trained or (own in sets and not sets[own].near.isdisjoint(trained))


def _find_set(given: str) -> str:
    sets, suites, _ = _load_tables()
    name = canonical_name(given)
    if name in sets:
        return name
    known = [*suites, *sets]
    close = get_close_matches(given.casefold(), known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UnknownTask(
        f"task {given!r}: no such data set or suite.{hint} There are {', '.join(known)}. Give any other data set as a "
        "BEIR folder, with --data."
    )


@cache
def _load_tables() -> tuple[dict[str, BeirSet], dict[str, list[str]], dict[str, str]]:
    """The sets by name, the names in each suite, and the name for every spelling of a set."""
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
