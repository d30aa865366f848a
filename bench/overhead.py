"""What the pipeline itself costs, and whether that grows: groups of small passages, an engine that answers at once.

    python -m bench.overhead --groups 1000 100000
    python -m bench.overhead --groups 10000 1000000 --negatives 3 --what cold

Files are read and written, every answer goes through the store on disk. `cold` asks the engine everything,
`resumed` runs the same command again over the store. `copy` is the least that any tool must do: read the groups and
write them. Peak memory and CPU are those of a fresh process per row, CPU without its start; the last line is the CPU a
group takes over what it takes in the run with the fewest groups.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arhn import formats
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.engines import Completion, Permutation, Request, SpanOf
from arhn.engines.fake import FakeEngine
from arhn.types import Group, Passage
from bench import output

WHAT = ("copy", "cold", "resumed")
FILLER = "Words that stand for the sixty or so that a passage of a training set has, so that sizes are real. "


def make(path: Path, count: int, negatives: int) -> None:
    """`count` groups of one positive and some negatives; the positive and every fifth passage after it hold an answer.

    Of fewer than five negatives, the last one does.
    """
    every = min(5, negatives)
    with formats.GroupWriter(path, "tevatron") as writer:
        for i in range(count):
            passages = tuple(
                Passage(doc_id=f"{i}-{j}", text=f"{FILLER * 4}Number {i}-{j}." + (" ANSWER" if j % every == 0 else ""))
                for j in range(negatives + 1)
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
    # Not what the labelled positive answers, which negatives are asked with.
    holds = ". ANSWER" in request.messages[-1].content
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
    """Run `what` in a process of its own; seconds without the imports, CPU seconds, and peak memory in MiB."""
    command = [sys.executable, "-m", "bench.overhead", "--child", what, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(what: str, folder: Path) -> None:
    cpu, started = time.process_time(), time.monotonic()
    (copy if what == "copy" else job)(folder)
    spent = {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}
    print(json.dumps({**spent, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Peak resident memory of this process; getrusage would count what the parent had before the fork."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def rows(what: Sequence[str], counts: Sequence[int], negatives: int, place: str | None) -> Iterator[dict[str, Any]]:
    first: dict[str, float] = {}
    for count in sorted(counts):
        with tempfile.TemporaryDirectory(dir=place) as name:
            folder = Path(name)
            make(folder / "in.jsonl", count, negatives)
            measured = {each: measure(each, folder) for each in WHAT if each in what}
        for each, m in measured.items():
            cpu = 1000 * m["cpu"] / count
            over = {"times the copy": m["seconds"] / measured["copy"]["seconds"]} if "copy" in measured else {}
            yield {
                "name": f"{each}, {count:,}",
                "groups a minute": 60 * count / m["seconds"],
                **over,
                "peak memory, MiB": m["peak_mib"],
                "CPU a group, ms": cpu,
                "CPU, times the fewest groups'": cpu / first.setdefault(each, cpu),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--negatives", type=int, default=7)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--folder", help="for the files, about 6 GB for a million small groups; a temporary one")
    parser.add_argument("--json", type=Path, default=Path("bench/out/overhead.json"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child[0], Path(a.child[1]))
        return
    found = list(rows(a.what, a.groups, a.negatives, a.folder))
    output.show(f"Pipeline overhead, groups of {a.negatives + 1} passages, engine answers at once", found)
    output.write(a.json, "overhead", {"groups": a.groups, "passages": a.negatives + 1}, found)


if __name__ == "__main__":
    main()
