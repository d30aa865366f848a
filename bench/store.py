"""What the response store costs as it grows: putting answers in, beginning again, looking them up.

    python -m bench.store --answers 1000000 10000000

Answers are what a server gives: eight verdicts with 20 log-probabilities to two short texts. All of them go in through
`SqliteStore.put`, each committed on its own, as in a run. Every row after that is a fresh process that opens the store
as `arhn clean` does and looks keys up in batches, like a group's: known ones drawn at random, known ones in the order
in which they came (a resumed run), and unknown ones. `from disk` begins with none of the file in memory, `in memory`
with what the row before left there; `again` asks the same keys in the same process. The first look-up of a known answer
in a run is also noted as a use of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from arhn import store
from arhn.engines import Completion
from arhn.store import SqliteStore
from bench import output
from bench.overhead import peak_mib

MODEL = "bench openai-1 first=20"
ORDERS = ("random", "in order", "unknown")


def key(i: int) -> bytes:
    return blake2b(i.to_bytes(8, "big"), digest_size=16).digest()


def answer(i: int) -> Completion:
    if i % 10 >= 8:
        return Completion(text=f'Yes, the answer is "number {i} of them"', prompt_tokens=160, completion_tokens=12)
    # Log-probabilities arrive as 32-bit floats and are written out in full.
    first = {f" w{i % 997 + 7 * t}": -0.10536051541566849 * (1 + t * 1.1) for t in range(20)}
    return Completion(text="Yes", finish="length", first=first, prompt_tokens=150, completion_tokens=1)


def build(path: Path, count: int) -> dict[str, float]:
    """Put `count` answers; the cost of the first and of the last tenth, to see what grows."""
    marks, tenth = [time.process_time()], count // 10
    started = time.monotonic()
    with SqliteStore(path, model=MODEL) as opened:
        for i in range(count):
            opened.put(key(i), answer(i))
            if (i + 1) % tenth == 0:
                marks.append(time.process_time())
    seconds = time.monotonic() - started
    return {
        "puts a second": count / seconds,
        "CPU a put, µs": 1e6 * (marks[-1] - marks[0]) / count,
        "last tenth / first tenth, CPU": (marks[10] - marks[9]) / (marks[1] - marks[0]),
        "size, GiB": path.stat().st_size / 2**30,
        "seconds": seconds,
    }


def keys(order: str, stored: int, count: int) -> list[bytes]:
    rng = random.Random(5)
    if order == "in order":
        first = rng.randrange(stored - count + 1)
        return [key(i) for i in range(first, first + count)]
    low = stored if order == "unknown" else 0
    return [key(rng.randrange(low, low + stored)) for _ in range(count)]


def look_up(path: Path, order: str, stored: int, count: int, batch: int) -> dict[str, float]:
    wanted = keys(order, stored, count)
    batches = [wanted[i : i + batch] for i in range(0, count, batch)]
    started = time.monotonic()
    store.check(path)
    with SqliteStore(path, model=MODEL) as opened:
        opened.get_many(batches[0])
        resume = time.monotonic() - started
        first, again = (_rates(opened, batches, order) for _ in range(2))
    return {
        "seconds to the first answer": resume,
        "look-ups a second": first["second"],
        "look-ups a CPU second": first["CPU second"],
        "again, a second": again["second"],
        "again, a CPU second": again["CPU second"],
    }


def _rates(opened: SqliteStore, batches: list[list[bytes]], order: str) -> dict[str, float]:
    cpu, started = time.process_time(), time.monotonic()
    found = sum(len(opened.get_many(some)) for some in batches)
    spent = {"second": time.monotonic() - started, "CPU second": time.process_time() - cpu}
    asked = sum(len(set(some)) for some in batches)
    assert found == (0 if order == "unknown" else asked)
    return {unit: asked / took for unit, took in spent.items()}


WORK: dict[str, Callable[..., dict[str, float]]] = {"build": build, "look up": look_up}


def forget(path: Path) -> None:
    """Have the system drop what it holds of a file in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def measure(*what: object) -> dict[str, Any]:
    """Run this in a process of its own."""
    command = [sys.executable, "-m", "bench.store", "--child", json.dumps(what, default=str)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(what: str, path: str, *numbers: Any) -> None:
    found = WORK[what](Path(path), *numbers)
    print(json.dumps({**found, "peak memory, MiB": peak_mib()}))


def looked_up(path: Path, count: int, look_ups: int, batch: int) -> Iterator[dict[str, Any]]:
    for order in ORDERS:
        for start in ("from disk", "in memory"):
            if start == "from disk":
                forget(path)
            found = measure("look up", path, order, count, min(look_ups, count), batch)
            yield {"name": f"{order}, {start}, {count:,}", **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--look-ups", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--folder", help="for the stores, about 7 GB for ten million answers; a temporary one")
    parser.add_argument("--json", type=Path, default=Path("bench/out/store.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(*json.loads(a.child))
        return
    put: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for count in a.answers:
        with tempfile.TemporaryDirectory(dir=a.folder) as name:
            path = Path(name) / "answers.sqlite"
            put.append({"name": f"put, {count:,}", **measure("build", path, count)})
            found += looked_up(path, count, a.look_ups, a.batch)
    output.show("Answers put into the response store", put)
    output.show_lines(f"Looked up, {a.batch} at a time", found)
    output.write(a.json, "store", {"look_ups": a.look_ups, "batch": a.batch}, [*put, *found])


if __name__ == "__main__":
    main()
