"""The family of a group's query, which decides by which prompts it is judged. Pure.

The user's own map decides first, then the names of well-known data sets, then a task that the row names, then what was
decided for the data set as a whole (`open_families`), then the query's own form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from arhn.errors import UsageError
from arhn.families.data_set import LEAST, SAMPLE, Decision, decide
from arhn.families.data_set_names import find_family, list_names, look_up, normalize
from arhn.families.family import Family
from arhn.families.form import guess
from arhn.families.named_tasks import find_task
from arhn.types import Group

Source = Literal["map", "known", "named", "guessed"]
#: The key for every subset that a map doesn't name.
DEFAULT = "*"
#: The family of rows that are left as they are, since no family fits the task they name.
LEFT_ALONE = ""
#: Tasks without a family that are named to the user.
_MOST_TASKS = 3
#: Rows that a subset has on average; with fewer, the field names something else.
_LEAST_ROWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the first groups of an input say of all of it.

    `subsets`: decisions by subset; None where no subsets are told apart. `whole`: for rows that name no subset, and for
    subsets with a `few` rows among these groups. `left_alone`: tasks that rows name and no family fits.
    """

    subsets: Mapping[str, Decision] | None = field(default_factory=dict)
    few: frozenset[str] = frozenset()
    whole: Decision | None = None
    left_alone: tuple[str, ...] = ()

    def find(self, name: str | None) -> Decision | None:
        """The decision for a subset, or for no subset; None for one that wasn't among the first groups."""
        if name is None or self.subsets is None or normalize(name) in self.few:
            return self.whole
        return self.subsets.get(normalize(name))


@dataclass(frozen=True, slots=True)
class FamilyMap:
    """The user's own families by subset; `default` is for all that aren't named, the well-known ones included.

    `opened`: what was decided for the data set as a whole; None before its first groups were seen.
    """

    subsets: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    opened: Opened | None = None

    @classmethod
    def of(cls, table: Mapping[object, object], own: Sequence[str] = ()) -> FamilyMap:
        """From the names of families by subset, `*` for every subset that isn't named.

        Args:
            own: the names of families that the user has defined. They are for subsets of their name; where one is all
                that is given, it is for every subset.

        Raises:
            UsageError: a family that doesn't exist, a key that names no subset, a subset that is named twice with
                different families.
        """
        families: dict[str, str] = {}
        for name, value in table.items():
            if not isinstance(name, str):
                raise UsageError(f"families: {name!r} doesn't name a subset. {_HOW}")
            key = DEFAULT if name.strip() == DEFAULT else normalize(name)
            if not key:
                raise UsageError(f"families: {name!r} doesn't name a subset. {_HOW}")
            family = _read_family(name, value, own)
            if families.setdefault(key, family) != family:
                raise UsageError(
                    f"families: subset {name.strip()!r} is named twice, as {families[key]} and as {family} "
                    "(capitals, hyphens and underscores make no difference). Keep one of them."
                )
        default = families.pop(DEFAULT, own[0] if len(own) == 1 and not families else None)
        return cls({normalize(name): name for name in own} | families, default)

    def family(self, name: str) -> str | None:
        """The family that the map gives to a subset by name; None where it isn't named."""
        return look_up(self.subsets, name) if self.subsets else None

    @property
    def entries(self) -> dict[str, str]:
        """Families by subset, as they can be read again; subsets are in lower case, letters and digits only."""
        default = {DEFAULT: str(self.default)} if self.default else {}
        return {**{name: str(family) for name, family in self.subsets.items()}, **default}


NO_MAP = FamilyMap()


class Choice(NamedTuple):
    """A group's family and its source.

    `family`: LEFT_ALONE where the row names a task that no family fits. The record's `field` holds the `name` that
    decided; None where the family was guessed.
    """

    family: str
    source: Source
    field: str | None = None
    name: str | None = None


def family_of(group: Group, families: FamilyMap = NO_MAP) -> Choice:
    """The family of a group.

    From the user's map, else from a well-known name, else from the task that its row names, else from the data set as
    a whole, else from the query's form.

    Where a record names its data set in several fields (`FIELDS`), the first that the map has counts, then the first
    that is well known. A field such as `task: "retrieval"`, which neither has, is ignored.
    """
    if choice := _find_named(group, families):
        return choice
    if families.opened is not None and (decision := families.opened.find(_find_subset(group))):
        return Choice(decision.find_family(group.query), "guessed")
    return Choice(guess(group.query), "guessed")


def _find_named(group: Group, families: FamilyMap) -> Choice | None:
    """What a group's own fields and the user's map say."""
    names = tuple(list_names(group))
    for where, name in names:
        if family := families.family(name):
            return Choice(family, "map", where, name)
    if families.default:
        return Choice(families.default, "map", None, DEFAULT)
    for where, name in names:
        if known := find_family(name):
            return Choice(known, "known", where, name)
    if task := find_task(group):
        return Choice(task.family or LEFT_ALONE, "named", task.field, task.text)
    return None


def _find_subset(group: Group) -> str | None:
    return next((name for _, name in list_names(group)), None)


def open_families(first: Sequence[Group], families: FamilyMap) -> FamilyMap:
    """The families of an input, from its first groups, of which at most `SAMPLE` are looked at.

    The same groups in the same order give the same families, wherever each of them is cleaned.
    """
    by_subset: dict[str, list[Group]] = {}
    undecided: list[Group] = []
    left_alone: dict[str, None] = {}
    for group in first[:SAMPLE]:
        choice = _find_named(group, families)
        if choice is None:
            undecided.append(group)
            if name := _find_subset(group):
                by_subset.setdefault(normalize(name), []).append(group)
        elif choice.family == LEFT_ALONE:
            left_alone[choice.name or ""] = None
    opened = Opened(
        subsets=_decide_subsets(undecided, by_subset),
        whole=decide(undecided) if undecided else None,
        few=frozenset(name for name, rows in by_subset.items() if len(rows) < LEAST),
        left_alone=tuple(islice(left_alone, _MOST_TASKS)),
    )
    return FamilyMap(families.subsets, families.default, opened)


def _decide_subsets(undecided: Sequence[Group], by_subset: Mapping[str, Sequence[Group]]) -> dict[str, Decision] | None:
    """Decisions by subset; None where what looks like the names of subsets are addresses, numbers and the like."""
    if len(by_subset) > max(2, len(undecided) // _LEAST_ROWS):
        return None
    return {name: decide(rows) for name, rows in by_subset.items() if len(rows) >= LEAST}


_HOW = (
    f'Expected subsets with their families, such as tickets = "duplicate"; families: {", ".join(Family)}; '
    f"{DEFAULT} stands for every subset that isn't named."
)


def _read_family(name: str, value: object, own: Collection[str]) -> str:
    if isinstance(value, str) and (mine := next((each for each in own if normalize(each) == normalize(value)), None)):
        return mine
    try:
        return Family(value.strip().casefold() if isinstance(value, str) else "")
    except ValueError:
        arrived = f"{value.strip()!r}" if isinstance(value, str) else f"a value of type {type(value).__name__}"
        raise UsageError(
            f"families: {arrived} isn't a family of prompts (for subset {name.strip()!r}). "
            f"Families: {', '.join([*Family, *own])}. Take the one that fits its queries, or leave the entry out."
        ) from None
