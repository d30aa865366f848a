"""Inputs and outputs that would replace each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from arhn.errors import UsageError


def require_apart(source: str, outputs: Mapping[str, str | Path]) -> None:
    """Refuse outputs that would replace the input or another output, even with --overwrite; and names that aren't
    UTF-8, which a run's summary, being JSON, can't hold.

    Args:
        outputs: by the flags that name them.

    Raises:
        UsageError
    """
    paths = {**outputs} if "://" in source else {"the input": source, **outputs}
    for what, path in paths.items():
        if not _is_unicode(path):
            raise UsageError(f"{what} {str(path)!r}: the name isn't UTF-8. Rename it")
    real = {what: Path(os.path.realpath(path)) for what, path in paths.items()}
    for what, other in permutations(paths, 2):
        if what in outputs and real[other].is_relative_to(real[what]):
            raise UsageError(f"{what} {paths[what]}: would replace {other}, {paths[other]}. Name another place")


def _is_unicode(path: str | Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
