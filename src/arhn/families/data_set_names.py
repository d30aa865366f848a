"""The names of well-known data sets and the families of their queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from arhn.families.family import DATASETS, Family
from arhn.types import Group

F = TypeVar("F", bound=str)
#: Fields of a record that may name the data set a group comes from, in the order they are tried.
FIELDS = ("subset", "dataset", "task", "source")
_LONGEST_NAME = 120

#: Family by name of a data set: lower-case letters and digits only, without what `list_spellings` removes.
KNOWN: Mapping[str, Family] = {
    **{family.value: family for family in Family},
    **{name: family for family, names in DATASETS.items() for name in names.split()},
}

_BEFORE = re.compile(r"(beir|mteb|bge|rlhn|tevatron|sentencetransformers|embeddingtrainingdata)")
_AFTER = re.compile(
    r"(train|training|dev|test|val|validation|corpus|queries|passages?|docs?|documents?|retrieval|reranking|rerank"
    r"|rr|hardnegatives?|hn|negatives?|pairs?|triplets?|full|mini|small|sampled?|aug"
    r"|titleabstract|titlecitation|en|english|v\d+|(19|20)\d\d)$"
)
_CQA = re.compile(r"cqadupstack\w*")


def normalize(name: str) -> str:
    """A name in lower case, with letters and digits only."""
    return re.sub(r"[\W_]+", "", name.casefold())


def list_spellings(name: str) -> Iterator[str]:
    """The normalized spellings to look a data set up by, the most specific first.

    They are the whole name, the name without its folder, and those without "train", "passage", years and the like.
    """
    for each in dict.fromkeys((name, name.rsplit("/", 1)[-1])):
        bare = normalize(each)
        yield bare
        while match := _BEFORE.match(bare) or _AFTER.search(bare):
            bare = bare.replace(match[0], "", 1) if match.start() == 0 else bare[: match.start()]
            yield bare


def look_up(table: Mapping[str, F], name: str) -> F | None:
    """The family that `table` gives to the most specific spelling of `name`; None where it has none of them."""
    return next((table[each] for each in list_spellings(name) if each in table), None)


@lru_cache(maxsize=4096)
def find_family(name: str) -> Family | None:
    """The family of a well-known data set by any spelling of its name; None for any other name."""
    return look_up(KNOWN, name) or (Family.DUPLICATE if _CQA.search(normalize(name)) else None)


def list_names(group: Group) -> Iterator[tuple[str, str]]:
    """The fields that may name a group's data set, as pairs of field and value, in the order of `FIELDS`.

    Some formats store unknown columns with the passages. So where the group itself lacks a field, the value counts that
    all its passages with that field share.
    """
    for where in FIELDS:
        value = group.extra.get(where)
        if value is None:
            value = find_shared_value(group, where)
        if isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_NAME:
            yield where, value.strip()


def find_shared_value(group: Group, where: str) -> Any:
    """The value of a field that all passages with that field share; None where there is none."""
    values = [p.extra[where] for p in group.passages if where in p.extra]
    return values[0] if values and all(value == values[0] for value in values) else None
