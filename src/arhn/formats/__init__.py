"""Training groups on disk ↔ `Group` objects: streaming both ways, detected by content, every loss counted.

with GroupWriter("cleaned.jsonl.zst", source.format, like=source) as writer:
    for group in read(source):
        writer.write(group)
"""

from __future__ import annotations

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
