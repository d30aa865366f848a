"""Training groups on disk ↔ `Group` objects: streaming both ways, detected by content, every loss counted.

with GroupWriter("cleaned.jsonl.zst", source.format, like=source) as writer:
    for group in read(source):
        writer.write(group)
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.files.atomic import AtomicFile, AtomicFolder, Output
    from arhn.files.jsonl import JsonlFile, JsonlIfAny
    from arhn.formats.detection import Container, Source, detect
    from arhn.formats.protocol import Draft, Format
    from arhn.formats.reading import OnBadRow, OnReject, Reject, read
    from arhn.formats.registry import FORMATS
    from arhn.formats.writing import GroupWriter, container_for, losses

__all__ = [
    "FORMATS",
    "AtomicFile",
    "AtomicFolder",
    "Container",
    "Draft",
    "Format",
    "GroupWriter",
    "JsonlFile",
    "JsonlIfAny",
    "OnBadRow",
    "OnReject",
    "Output",
    "Reject",
    "Source",
    "container_for",
    "detect",
    "losses",
    "read",
]

__getattr__ = lazily(
    __name__,
    {
        **{name: f"arhn.files.atomic:{name}" for name in ("AtomicFile", "AtomicFolder", "Output")},
        **{name: f"arhn.files.jsonl:{name}" for name in ("JsonlFile", "JsonlIfAny")},
        **{name: f"{__name__}.detection:{name}" for name in ("Container", "Source", "detect")},
        **{name: f"{__name__}.protocol:{name}" for name in ("Draft", "Format")},
        "FORMATS": f"{__name__}.registry:FORMATS",
        **{name: f"{__name__}.reading:{name}" for name in ("OnBadRow", "OnReject", "Reject", "read")},
        **{name: f"{__name__}.writing:{name}" for name in ("GroupWriter", "container_for", "losses")},
    },
)
