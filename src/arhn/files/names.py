"""Names of outputs, and of files that lie beside them and are called after them."""

from __future__ import annotations

from pathlib import Path

from arhn.errors import OutputNotWritable, UsageError

_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet")

#: Endings of files that something else than groups is expected in.
_OTHERS = frozenset(
    {".arrow", ".bz2", ".csv", ".db", ".feather", ".html", ".ods", ".pickle", ".pkl", ".sqlite", ".tar", ".tsv", ".txt"}
    | {".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zip"}
)


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
        UsageError: one of them doesn't end in a name; the output is standard output, or has the ending of another kind
            of file.
        OutputNotWritable: a data set on the hub.
    """
    if "://" in output:
        raise OutputNotWritable(f"{output}: data sets on the hub are only read; write a file or folder")
    place = Path(output)
    if output == "-":
        raise UsageError(
            "-o -: groups aren't written to standard output, for they appear whole or not at all. Name a file"
        )
    if place.suffix.lower() in _OTHERS:
        raise UsageError(
            f"{output}: {place.suffix} isn't written. Name a file that ends in .jsonl, .jsonl.gz, .jsonl.zst or "
            ".parquet, or a folder for datasets that ends in /"
        )
    for path in (place, *filter(None, beside)):
        if path.name in ("", ".."):
            raise UsageError(f"{str(path)!r}: has no file name to write to. Name a file")
    return place
