"""Training groups on disk ↔ `Group` objects: streaming both ways, detected by content, every loss counted.

with GroupWriter("cleaned.jsonl.zst", source.format, like=source) as writer:
    for group in read(source):
        writer.write(group)
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily
from arhn.registry import Registry

if TYPE_CHECKING:
    from arhn.formats.detection import Container, Source, detect
    from arhn.formats.interface import Draft, Format
    from arhn.formats.reading import OnBadRow, OnReject, Reject, read
    from arhn.formats.writing import GroupWriter, choose_container, list_losses

#: The data set formats, by name and in the order of detection: n-tuples and triplets may have a column of labels beside
#: their negatives. A format is one file here and one entry: a module or an object that has what `Format` names. Another
#: package adds its own by an entry point of the group "arhn.formats", a program by `FORMATS.register`.
FORMATS: Registry["Format"] = Registry(
    "format",
    "arhn.formats",
    {
        "tevatron": "arhn.formats.tevatron",
        "flagembedding": "arhn.formats.flagembedding",
        "ntuple": "arhn.formats.ntuple",
        "triplet": "arhn.formats.triplet",
        "labeled_list": "arhn.formats.labeled_list",
        "labeled_pair": "arhn.formats.labeled_pair",
        "negative_list": "arhn.formats.negative_list",
        "dpr": "arhn.formats.dpr",
        "swift": "arhn.formats.swift",
    },
)

__all__ = [
    "FORMATS",
    "Container",
    "Draft",
    "Format",
    "GroupWriter",
    "OnBadRow",
    "OnReject",
    "Reject",
    "Source",
    "choose_container",
    "detect",
    "list_losses",
    "read",
]

__getattr__ = lazily(
    __name__,
    {
        **{name: f"{__name__}.detection:{name}" for name in ("Container", "Source", "detect")},
        **{name: f"{__name__}.interface:{name}" for name in ("Draft", "Format")},
        **{name: f"{__name__}.reading:{name}" for name in ("OnBadRow", "OnReject", "Reject", "read")},
        **{name: f"{__name__}.writing:{name}" for name in ("GroupWriter", "choose_container", "list_losses")},
    },
)
