"""The family of a group's query, which decides by which prompts it is judged.

The user's own map decides first, then the names of well-known data sets, then the query's own form. A pure
module, except that `FamilyMap.parse` reads the file it is given.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from arhn.errors import UsageError
from arhn.families.data_set_names import find_family, list_names, look_up, normalize
from arhn.families.family import Family
from arhn.families.form import guess
from arhn.types import Group

Source = Literal["map", "known", "guessed"]
#: The key for every subset that a map doesn't name.
DEFAULT = "*"


@dataclass(frozen=True, slots=True)
class FamilyMap:
    """The user's own families by subset; `default` is for all that aren't named, the well-known ones included."""

    subsets: Mapping[str, Family] = field(default_factory=dict)
    default: Family | None = None

    @classmethod
    def parse(cls, value: str, where: str = "families") -> FamilyMap:
        """From `fever=claim,arguana=argument,*=question`, or the path of a TOML or JSON file with such a table.

        Args:
            where: what an error calls it.

        Raises:
            UsageError: a family that doesn't exist, an entry that isn't one, a subset that is named twice with
                different families, a file that can't be read.
        """
        if value.strip().casefold().endswith((".toml", ".json")):
            path = Path(value.strip())
            return cls.of(_entries(path, f"{where} {path}"), f"{where} {path}")
        return cls.of(_inline(value, where), where)

    @classmethod
    def of(cls, entries: Iterable[tuple[object, object]], where: str = "families") -> FamilyMap:
        """From pairs of a subset and its family; `where` is what an error calls them. Raises UsageError."""
        families: dict[str, Family] = {}
        for name, value in entries:
            if not isinstance(name, str):
                raise UsageError(f"{where}: {name!r} doesn't name a subset. {_HOW}")
            key = DEFAULT if name.strip() == DEFAULT else normalize(name)
            if not key:
                raise UsageError(f"{where}: {name!r} doesn't name a subset. {_HOW}")
            family = _family(name, value, where)
            if families.setdefault(key, family) is not family:
                raise UsageError(
                    f"{where}: subset {name.strip()!r} is named twice, as {families[key]} and as {family} "
                    "(capitals, hyphens and underscores make no difference). Keep one of them."
                )
        default = families.pop(DEFAULT, None)
        return cls(families, default)

    def family(self, name: str) -> Family | None:
        """The family that the map gives to a subset by name; None where it isn't named."""
        return look_up(self.subsets, name) if self.subsets else None

    @property
    def entries(self) -> dict[str, str]:
        """Families by subset, as they can be read again; subsets are in lower case, letters and digits only."""
        default = {DEFAULT: self.default.value} if self.default else {}
        return {**{name: family.value for name, family in self.subsets.items()}, **default}


NO_MAP = FamilyMap()


class Choice(NamedTuple):
    """A group's family and its source.

    The record's `field` holds the `name` that decided; None where the family was guessed.
    """

    family: Family
    source: Source
    field: str | None = None
    name: str | None = None


def family_of(group: Group, families: FamilyMap = NO_MAP) -> Choice:
    """The family of a group: from the user's map, else from a well-known name, else from the query's form.

    Where a record names its data set in several fields (`FIELDS`), the first that the map has counts, then the first
    that is well known. A field such as `task: "retrieval"`, which neither has, is ignored.
    """
    names = tuple(list_names(group))
    for where, name in names:
        if family := families.family(name):
            return Choice(family, "map", where, name)
    if families.default:
        return Choice(families.default, "map", None, DEFAULT)
    for where, name in names:
        if family := find_family(name):
            return Choice(family, "known", where, name)
    return Choice(guess(group.query), "guessed")


_HOW = (
    "Write SUBSET=FAMILY,SUBSET=FAMILY,... or give the path of a .toml or .json file with such a table; "
    f"families: {', '.join(Family)}; {DEFAULT}=FAMILY is for every subset that isn't named."
)


def _inline(value: str, where: str) -> Iterator[tuple[str, object]]:
    if not value.strip():
        raise UsageError(f"{where}: nothing in it. {_HOW}")
    for entry in value.split(","):
        name, equals, family = entry.partition("=")
        if not (equals and name.strip() and family.strip()):
            raise UsageError(f"{where}: {entry.strip()!r} isn't an entry of the form SUBSET=FAMILY. {_HOW}")
        yield name, family


def _entries(path: Path, where: str) -> list[tuple[str, object]]:
    try:
        content = path.read_text("utf-8")
        pairs = (
            list(tomllib.loads(content).items())
            if path.suffix.casefold() == ".toml"
            # Not a dict: it would hide a subset that is there twice.
            else json.loads(content, object_pairs_hook=_Pairs)
        )
    except OSError as error:
        raise UsageError(f"{where}: can't be read ({error.strerror or error}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid {path.suffix[1:].upper()} ({error}). {_HOW}") from error
    if not isinstance(pairs, list) or not (isinstance(pairs, _Pairs) or path.suffix.casefold() == ".toml"):
        raise UsageError(f"{where}: expected a table of subsets and families. {_HOW}")
    return pairs


class _Pairs(list[tuple[str, object]]):
    """A JSON object, in the order of its keys and with repeated ones."""


def _family(name: str, value: object, where: str) -> Family:
    try:
        return Family(value.strip().casefold() if isinstance(value, str) else "")
    except ValueError:
        arrived = f"{value.strip()!r}" if isinstance(value, str) else f"a value of type {type(value).__name__}"
        raise UsageError(
            f"{where}: {arrived} isn't a family of prompts (for subset {name.strip()!r}). "
            f"Families: {', '.join(Family)}. Take the one that fits its queries, or leave the entry out."
        ) from None
