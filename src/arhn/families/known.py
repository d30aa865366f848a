"""The families of well-known data sets, by any spelling of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from arhn.families.family import DATASETS, Family
from arhn.types import Group

#: Fields of a record that may name the data set which a group comes from, in the order they are tried.
FIELDS = ("subset", "dataset", "task", "source")
_LONGEST_NAME = 120

#: Family by name of a data set: in lower case, letters and digits only, without what `spellings` takes off.
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


def _squashed(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def spellings(name: str) -> Iterator[str]:
    """`name` as it may stand in a table: whole, without its folder, without "train", "passage", years and the like."""
    for each in dict.fromkeys((name, name.rsplit("/", 1)[-1])):
        bare = _squashed(each)
        yield bare
        while match := _BEFORE.match(bare) or _AFTER.search(bare):
            bare = bare.replace(match[0], "", 1) if match.start() == 0 else bare[: match.start()]
            yield bare


def _found(table: Mapping[str, Family], name: str) -> Family | None:
    return next((table[each] for each in spellings(name) if each in table), None)


@lru_cache(maxsize=4096)
def known(name: str) -> Family | None:
    """The family of a well-known data set, however its name is written; None for any other name."""
    return _found(KNOWN, name) or (Family.DUPLICATE if _CQA.search(_squashed(name)) else None)


def names_of(group: Group) -> Iterator[tuple[str, str]]:
    """(field, value) of the fields that may name the group's data set.

    Formats of one passage a column keep unknown columns with the passages, so where the group itself says nothing
    a name that all its passages with such a field share counts.
    """
    for where in FIELDS:
        value = group.extra.get(where)
        if value is None:
            value = _shared(group, where)
        if isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_NAME:
            yield where, value.strip()


def _shared(group: Group, where: str) -> Any:
    values = [p.extra[where] for p in group.passages if where in p.extra]
    return values[0] if values and all(value == values[0] for value in values) else None
