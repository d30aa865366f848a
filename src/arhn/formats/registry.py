"""The data set formats, by name. A format is one file here and one entry in `FORMATS`.

Another package adds its own by an entry point of the group "arhn.formats", a program by `FORMATS.register`: a module or
an object that has what `Format` names.
"""

from __future__ import annotations

from collections.abc import Set

from arhn.formats.protocol import Format
from arhn.registry import Registry

#: In the order of detection: n-tuples and triplets may have a column of labels beside their negatives.
FORMATS: Registry[Format] = Registry(
    "format",
    "arhn.formats",
    {
        "tevatron": "arhn.formats.tevatron",
        "flagembedding": "arhn.formats.flagembedding",
        "ntuple": "arhn.formats.ntuple",
        "triplet": "arhn.formats.triplet",
        "labeled_list": "arhn.formats.labeled_list",
    },
)


def format_of(fields: Set[str]) -> str | None:
    """The name of the first format that a row with these fields is of; None if it is of none."""
    return next((name for name in FORMATS.names() if FORMATS.get(name).fits(fields)), None)


__all__ = ["FORMATS", "format_of"]
