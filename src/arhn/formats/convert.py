"""Groups from one format to another: what `arhn convert` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arhn.errors import NothingLeft
from arhn.files.apart import require_apart
from arhn.files.atomic import publish_together
from arhn.files.claims import Claim
from arhn.files.jsonl import JsonlIfAny
from arhn.files.names import resolve_output, strip_suffixes
from arhn.formats import GroupWriter, OnBadRow, Source, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What `convert` did: groups written, what was left out (what the format can't hold, passages without a text), rows
    rejected and where those are.
    """

    written: int
    losses: Mapping[str, int]
    rejected: int
    rejects: Path


def convert(
    source: Source,
    output: str,
    to: str,
    *,
    rejects: Path | None = None,
    on_bad_row: OnBadRow = "fail",
    overwrite: bool = False,
) -> Converted:
    """Write a source's groups in another format; nothing appears unless all of it is written.

    Raises:
        NothingLeft: there is no group to write.
        DataError, OutputError, UsageError: see errors.py.
    """
    written = resolve_output(output, rejects)
    place = rejects or written.with_name(f"{strip_suffixes(written.name)}.rejects.jsonl")
    require_apart({"the input": source.path}, {"--output": output, "--rejects": place})
    left_out: Counter[str] = Counter()
    with (
        Claim(output, place, overwrite=overwrite) as claim,
        GroupWriter(output, to, like=source, overwrite=claim) as writer,
        JsonlIfAny(place, overwrite=claim) as rejected,
    ):
        groups = read(source, on_bad_row=on_bad_row, rejects=rejected.add, require_negatives=False, left_out=left_out)
        for group in groups:
            writer.write(group)
        if not writer.written:
            raise NothingLeft(_explain_nothing(rejected.count, writer), path=source.path)
        publish_together([rejected, writer], claim)
    losses = Counter(writer.losses) + left_out
    return Converted(written=writer.written, losses=losses, rejected=rejected.count, rejects=place)


def _explain_nothing(rejected: int, writer: GroupWriter) -> str:
    why = [f"{rejected} rows are no groups"] if rejected else []
    why += [f"{writer.format} can't hold: {what} ({count})" for what, count in sorted(writer.losses.items())]
    return f"no group is left to write: {'; '.join(why) or 'it has none'}. Correct the rows, or take another format"
