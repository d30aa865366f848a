"""The family of a group's query, which decides by which prompts it is judged. Pure.

The user's own map decides first, then the names of well-known data sets, then the query's own form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    def of(cls, table: Mapping[object, object]) -> FamilyMap:
        """From the names of families by subset, `*` for every subset that isn't named.

        Raises:
            UsageError: a family that doesn't exist, a key that names no subset, a subset that is named twice with
                different families.
        """
        families: dict[str, Family] = {}
        for name, value in table.items():
            if not isinstance(name, str):
                raise UsageError(f"families: {name!r} doesn't name a subset. {_HOW}")
            key = DEFAULT if name.strip() == DEFAULT else normalize(name)
            if not key:
                raise UsageError(f"families: {name!r} doesn't name a subset. {_HOW}")
            family = _read_family(name, value)
            if families.setdefault(key, family) is not family:
                raise UsageError(
                    f"families: subset {name.strip()!r} is named twice, as {families[key]} and as {family} "
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
    f'Expected subsets with their families, such as tickets = "duplicate"; families: {", ".join(Family)}; '
    f"{DEFAULT} stands for every subset that isn't named."
)


def _read_family(name: str, value: object) -> Family:
    try:
        return Family(value.strip().casefold() if isinstance(value, str) else "")
    except ValueError:
        arrived = f"{value.strip()!r}" if isinstance(value, str) else f"a value of type {type(value).__name__}"
        raise UsageError(
            f"families: {arrived} isn't a family of prompts (for subset {name.strip()!r}). "
            f"Families: {', '.join(Family)}. Take the one that fits its queries, or leave the entry out."
        ) from None
