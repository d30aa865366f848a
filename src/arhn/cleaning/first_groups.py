"""What the first groups of an input settle for all of it: its families, and examples for families of the user's own.

It is settled once, by whoever reads the input, and is part of the settings from then on: with workers elsewhere, each
of them has it, whichever groups it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from arhn.cleaning.config import ONLY_WITH, CleanConfig
from arhn.cleaning.prompts.own import OwnFamily, take_examples
from arhn.families.choice import FamilyMap, Opened, family_of, open_families
from arhn.families.data_set import SAMPLE, Decision
from arhn.types import Group


def open_groups(groups: Iterable[Group], config: CleanConfig) -> tuple[CleanConfig, Iterator[Group]]:
    """The settings with what the first `SAMPLE` groups settle, and all of the groups again.

    The same groups in the same order settle the same. Nothing is read ahead where there is nothing to settle: for
    methods that have no families, where one family is set for all groups, and where it was settled before.
    """
    rest = iter(groups)
    if config.method not in ONLY_WITH["families"] or config.families.opened is not None:
        return config, rest
    lacking = [name for name, own in config.family.items() if not own.examples]
    if config.families.default and not lacking:
        return config, rest
    first = list(islice(rest, SAMPLE))
    families = _settle(first, config.families)
    own = {**config.family, **{name: _add_examples(name, config.family[name], first, families) for name in lacking}}
    return config.model_copy(update={"families": families, "family": own}), chain(first, rest)


def _settle(first: Sequence[Group], families: FamilyMap) -> FamilyMap:
    return replace(families, opened=Opened()) if families.default else open_families(first, families)


def _add_examples(name: str, own: OwnFamily, first: Sequence[Group], families: FamilyMap) -> OwnFamily:
    mine = [group for group in first if family_of(group, families).family == name]
    return own.model_copy(update={"examples": take_examples(mine)})


def describe_families(config: CleanConfig) -> list[dict[str, object]]:
    """What was settled about families, for the summary of a run: one entry for the whole, one for each subset."""
    opened = config.families.opened
    if opened is None:
        return []
    decisions: dict[str | None, Decision] = dict((opened.subsets or {}).items())
    if opened.whole is not None and not decisions:
        decisions[None] = opened.whole
    return [
        {
            "subset": subset,
            "family": str(found.family) if found.family else None,
            "others": sorted(map(str, found.others)),
            "groups": found.groups,
            "shares": dict(found.shares),
            "why": found.why,
        }
        for subset, found in decisions.items()
    ]


__all__ = ["describe_families", "open_groups"]
