"""Names of outputs, and of files that lie beside them and are called after them."""

from __future__ import annotations

from pathlib import Path

from arhn.errors import OutputNotWritable, UsageError

_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet")


def strip_suffixes(name: str) -> str:
    """The name of an output without what says how it is stored: `cleaned` for `cleaned.jsonl.gz`."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def resolve_output(output: str, *beside: Path | None) -> Path:
    """The place of an output on this machine.

    Args:
        beside: other files that are to be written.

    Raises:
        UsageError: one of them doesn't end in a name.
        OutputNotWritable: a data set on the hub.
    """
    if "://" in output:
        raise OutputNotWritable(f"{output}: data sets on the hub are only read; write a file or folder")
    place = Path(output)
    for path in (place, *filter(None, beside)):
        if path.name in ("", ".."):
            raise UsageError(f"{str(path)!r}: has no file name to write to. Name a file")
    return place
