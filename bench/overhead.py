"""What the pipeline itself costs: groups of 8 passages with an engine that answers at once.

    python -m bench.overhead --groups 1000 100000

Files are read and written, every answer goes through the store on disk. `cold` asks the engine everything,
`resumed` runs the same command again over the store. The baseline is the least that any tool must do: read
the groups and write them. Peak memory is that of a fresh process per row.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from arhn import formats
from arhn.engines import Completion, Permutation, Request, SpanOf
from arhn.engines.fake import FakeEngine
from arhn.job import Files, Job, run
from arhn.methods.choose import Models
from arhn.types import Group, Passage
from bench import output

NEGATIVES = 7
FILLER = "Words that stand for the sixty or so that a passage of a training set has, so that sizes are real. "


def make(path: Path, count: int) -> None:
    """`count` groups of one positive and seven negatives; the positive and one negative hold an answer."""
    with formats.GroupWriter(path, "tevatron") as writer:
        for i in range(count):
            passages = tuple(
                Passage(doc_id=f"{i}-{j}", text=f"{FILLER * 4}Number {i}-{j}." + (" ANSWER" if j % 5 == 0 else ""))
                for j in range(NEGATIVES + 1)
            )
            query = f"What is the answer to {i}?"
            writer.write(Group(query_id=str(i), query=query, positives=passages[:1], negatives=passages[1:]))


def answer(request: Request) -> Completion:
    match request.constraint:
        case Permutation(n):
            return Completion(text=" > ".join(str(i + 1) for i in range(n)))
        case SpanOf(lead=lead, close=close):
            return Completion(text=f"{lead}ANSWER{close}", prompt_tokens=160)
    # A verdict, or whether an answer is full: one token with its alternatives.
    holds = "ANSWER" in request.messages[-1].content
    first = {f"t{i}": -3.0 - i for i in range(38)} | ({"Yes": -0.2, "No": -1.9} if holds else {"Yes": -1.9, "No": -0.2})
    return Completion(text="Yes" if holds else "No", first=first, finish="length", prompt_tokens=150)


def job(folder: Path) -> None:
    files = Files.beside(str(folder / "out.jsonl"))
    run(
        Job(input=str(folder / "in.jsonl"), files=files, overwrite=True),
        lambda _: Models(engine=FakeEngine(answer, keep=False)),
    )


def copy(folder: Path) -> None:
    with formats.GroupWriter(folder / "copy.jsonl", "tevatron", overwrite=True) as writer:
        for group in formats.read(folder / "in.jsonl"):
            writer.write(group)


def measure(what: str, folder: Path) -> dict[str, Any]:
    """Run `what` in a process of its own; seconds without the imports, and peak memory in MiB."""
    command = [sys.executable, "-m", "bench.overhead", "--child", what, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(what: str, folder: Path) -> None:
    started = time.monotonic()
    (copy if what == "copy" else job)(folder)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Peak resident memory of this process; getrusage would count what the parent had before the fork."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--json", type=Path, default=Path("bench/out/overhead.json"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child[0], Path(a.child[1]))
        return
    rows = []
    for count in a.groups:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder / "in.jsonl", count)
            measured = {what: measure(what, folder) for what in ("copy", "cold", "resumed")}
        for what, m in measured.items():
            rows.append(
                {
                    "name": f"{what}, {count:,}",
                    "groups a minute": 60 * count / m["seconds"],
                    "times the copy": m["seconds"] / measured["copy"]["seconds"],
                    "peak memory, MiB": m["peak_mib"],
                }
            )
    output.show("Pipeline overhead, groups of 8 passages, engine answers at once", rows)
    output.write(a.json, "overhead", {"groups": a.groups, "passages": NEGATIVES + 1}, rows)


if __name__ == "__main__":
    main()
