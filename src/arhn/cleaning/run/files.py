"""Where a run writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arhn.files.names import resolve_output, strip_suffixes


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a run writes. Unless given, everything lies beside the output and is named after it."""

    output: str
    decisions: Path
    summary: Path
    rejects: Path
    failures: Path
    store: Path
    #: Those that go to an object store in the end: their addresses by what they are.
    urls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def beside(cls, output: str, **given: Path | None) -> Files:
        """For `dir/cleaned.jsonl.gz`: `dir/cleaned.decisions.jsonl`, `dir/cleaned.summary.json` and so on.

        Raises:
            UsageError: a path that doesn't end in a name.
            OutputNotWritable: a data set on the hub, or a URL where only a file on this machine will do.
        """
        place = resolve_output(output, *given.values())
        paths = {what: given.get(what) or place.with_name(name) for what, name in name_files(place.name).items()}
        return cls(output=output, urls={}, **paths)

    def locate(self, what: str) -> str:
        """The address or absolute path that one of them has in the end; `what` is the name of a field."""
        return self.urls.get(what) or str(Path(getattr(self, what)).resolve())

    @property
    def flags(self) -> dict[str, str | Path]:
        """The files by the option or setting that names them."""
        return {
            "--output": self.output,
            "files.decisions": self.decisions,
            "files.summary": self.summary,
            "files.rejects": self.rejects,
            "files.failures": self.failures,
            "--store": self.store,
        }


def name_files(name: str) -> dict[str, str]:
    """What the files beside an output of that name are called."""
    stem = strip_suffixes(name)
    return {
        "decisions": f"{stem}.decisions.jsonl",
        "summary": f"{stem}.summary.json",
        "rejects": f"{stem}.rejects.jsonl",
        "failures": f"{stem}.failures.jsonl",
        "store": f"{stem}.responses.sqlite",
    }
