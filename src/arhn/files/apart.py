"""Inputs and outputs that would replace each other: one rule for every command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from arhn.errors import UsageError
from arhn.files.claims import is_working_file

#: Files that are read or written, by what a message calls them; what isn't a file of this machine is left out.
Named = Mapping[str, str | Path | None]


def require_apart(inputs: Named, outputs: Named) -> None:
    """Refuse outputs that would replace an input or another output, even with --overwrite; and names that aren't
    UTF-8, which a run's summary, being JSON, can't hold.

    Files are compared by what they are, whatever links lead to them. The names that arhn gives files of its own beside
    an output (its lock, its journal, what isn't complete yet) are the output's, too.

    Args:
        inputs: every file and folder that is read, by the flags that name them.
        outputs: every file and folder that is written, by the flags that name them.

    Raises:
        UsageError
    """
    written = {what: str(path) for what, path in outputs.items() if path is not None and "://" not in str(path)}
    named = {what: str(path) for what, path in inputs.items() if path is not None and "://" not in str(path)} | written
    for what, path in named.items():
        if not _is_unicode(path):
            raise UsageError(f"{what} {path!r}: the name isn't UTF-8. Rename it")
    real = {what: Path(os.path.realpath(path)) for what, path in named.items()}
    for what, other in permutations(named, 2):
        if what not in written:
            continue
        if _replaces(real[what], real[other], is_input=other not in written):
            raise UsageError(f"{what} {named[what]}: would replace {other}, {named[other]}. Name another place")
        if _is_in_the_way(named[other], real[other], real[what]):
            raise UsageError(
                f"{other} {named[other]}: has a name that arhn uses while it writes {what}, {named[what]}. Rename it, "
                "or name another place"
            )


def _replaces(output: Path, other: Path, *, is_input: bool) -> bool:
    if other.is_relative_to(output) or _are_one_file(output, other):
        return True
    return is_input and output.is_relative_to(other) and other.is_dir() and _is_of_data_set(output)


def _is_of_data_set(path: Path) -> bool:
    """Whether it has the name of a file that makes a folder a saved data set."""
    return path.suffix == ".arrow" or path.name in ("dataset_info.json", "dataset_dict.json", "state.json")


def _are_one_file(output: Path, other: Path) -> bool:
    """Whether two names, perhaps hard links or differing in case only, lead to one file."""
    try:
        return output.samefile(other)
    except OSError:
        return False


def _is_in_the_way(name: str, real: Path, output: Path) -> bool:
    there = Path(os.path.realpath(Path(name).parent)) / Path(name).name  # a link of such a name would be removed
    return is_working_file(real, output) or is_working_file(there, output)


def _is_unicode(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
