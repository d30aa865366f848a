"""What comes from outside, broken at random: does anything but an error of arhn's own come of it?

    python -m bench.fuzz --minutes 20

Three kinds of input: files in each format that is read, sound ones with bytes or values changed; answers of servers,
likewise; response stores with bytes flipped. An exception that isn't an `ArhnError` is a finding: it is shown with the
place that raised it, and its smallest input is left in --out's folder. Hypothesis draws the changes.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.conftest import many
from tests.serving import chat

from arhn import formats, store
from arhn.engines import Completion
from arhn.engines.openai.faults import find_fault, read_retry_after
from arhn.engines.openai.listing import find_context, parse_models
from arhn.engines.openai.responses import Unsound, read_answer, thinks_aloud
from arhn.engines.openai.wire import Reply
from arhn.errors import ArhnError
from arhn.store import SqliteStore
from bench import output

#: Examples that Hypothesis draws in one go.
ROUND = 100
#: What is put into sound inputs.
HOSTILE = (
    b"null", b"-1", b"1e999", b"9" * 5000, b"[" * 300 + b"]" * 300, b'{"a":' * 200 + b"1" + b"}" * 200, b'""', b"[]",
    b"{}", b"\x00", b"\xff\xfe", b"\\ud800", b'"\\ud800"', b"\x1b[31m", b"true", b"NaN", b"\n", b"\r", b"\t", b",",
    "\u2028".encode(), b'"', b"0", b"18446744073709551616",
)  # fmt: skip
Target = Callable[[bytes], None]


@dataclass
class Findings:
    """Exceptions that aren't arhn's own, by kind and place, with the smallest input of each."""

    inputs: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, error: Exception, content: bytes) -> None:
        """Note one."""
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "arhn" in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        kind = f"{name}: {type(error).__name__} at {place}"
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(content) < len(self.inputs.get(kind, content + b" ")):
            self.inputs[kind] = content


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Sound bytes with a few changes."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["flip", "cut", "hostile", "twice", "value"]))
        size = draw(st.integers(1, 40))
        if what == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del content[at : at + size]
        elif what == "hostile":
            content[at:at] = draw(st.sampled_from(HOSTILE))
        elif what == "twice":
            content[at:at] = content[at : at + size]
        elif (start := content.find(b":", at)) >= 0:
            ends = [end for mark in (b",", b"}", b"]", b"\n") if (end := content.find(mark, start)) >= 0]
            content[start + 1 : min(ends, default=len(content))] = draw(st.sampled_from(HOSTILE))
    return bytes(content)


def read_file(path: Path, given_format: str | None, content: bytes) -> None:
    """Read a file, also where bad rows are skipped."""
    path.write_bytes(content)
    for how in ("fail", "skip"):
        try:
            source = formats.detect(str(path), format=given_format, skip_bad_rows=how == "skip")
            for _ in formats.read(source, on_bad_row=how):
                pass
        except ArhnError as error:
            str(error)


def read_server(content: bytes) -> None:
    """Read an answer, a refusal and a list of models."""
    for read in (partial(read_answer, alternatives=20), partial(read_answer, lead="a", thinks=True), thinks_aloud):
        try:
            read(content)
        except Unsound as error:
            str(error)
    for status in (400, 404, 500):
        find_fault(Reply(status, httpx.Headers(), content))
    for row in parse_models(Reply(200, httpx.Headers(), content)).models.values():
        find_context(row)
    read_retry_after(content.decode("latin-1"))


def open_store(path: Path, content: bytes) -> None:
    """Use a store as a run does, and as `arhn store` does."""
    keys = [f"{i:016}".encode() for i in range(60)]
    for use in (
        partial(_run_on, path, keys),
        partial(store.info, path),
        partial(store.forget_unreadable, path),
        partial(store.prune, path, "unused"),
    ):
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(content)
        try:
            use()
        except ArhnError as error:
            str(error)


def _run_on(path: Path, keys: Sequence[bytes]) -> None:
    with SqliteStore(path, model="m", server="s") as answers:
        found = answers.get_many(keys)
        for key in keys[:5]:
            answers.put(key, found.get(key, Completion(text="new")))
            answers.mark_unreadable(key)


def list_targets(folder: Path) -> list[tuple[str, Target, Sequence[bytes]]]:
    """What is fuzzed: a name, what uses the bytes, and sound bytes to begin with."""
    found: list[tuple[str, Target, Sequence[bytes]]] = []
    for name in formats.FORMATS.names():
        for ending in ("jsonl", "parquet"):
            path = folder / f"{name}.{ending}"
            try:
                with formats.GroupWriter(str(path), name, overwrite=True) as writer:
                    for group in many(3, negatives=3):
                        writer.write(group)
            except ArhnError:
                continue  # not a format that is written so
            given_format = name if ending == "jsonl" else None
            found.append((f"{name}.{ending}", partial(read_file, path, given_format), [path.read_bytes()]))
    first = {"Yes": -0.1, "No": -2.5}
    answers = [chat("Yes", first=first), chat("<think>a</think>b", reasoning_content="x"), {"error": {"message": "m"}}]
    models = {"data": [{"id": "m", "max_model_len": 4096, "aliases": ["a"], "meta": {"n_ctx": 5}}]}
    found.append(("servers", read_server, [orjson.dumps(each) for each in [*answers, models]]))
    path = folder / "s.sqlite"
    with SqliteStore(path, model="m") as answers_store:
        for i in range(50):
            answers_store.put(f"{i:016}".encode(), Completion(text=f"answer {i}", first=first))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    found.append(("stores", partial(open_store, path), [path.read_bytes()]))
    return found


def fuzz(name: str, use: Target, sound: Sequence[bytes], round_: int, findings: Findings) -> int:
    """One round on one target; returns how many inputs were tried."""
    tried = 0

    @seed(round_)
    @settings(max_examples=ROUND, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sound).flatmap(damaged) | st.binary(max_size=200))
    def try_one(content: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            use(content)
        except Exception as error:
            findings.add(name, error, content)

    try_one()
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz.json"))
    a = parser.parse_args()
    until, findings = time.monotonic() + 60 * a.minutes, Findings()
    with tempfile.TemporaryDirectory() as folder:
        targets = [target for target in list_targets(Path(folder)) if a.only in target[0]]
        tried: dict[str, int] = dict.fromkeys((name for name, _, _ in targets), 0)
        round_ = 0
        while time.monotonic() < until:
            for name, use, sound in targets:
                if time.monotonic() < until:
                    tried[name] += fuzz(name, use, sound, round_, findings)
            round_ += 1
    rows: list[dict[str, Any]] = []
    for name, inputs in tried.items():
        kinds = [kind for kind in findings.counts if kind.startswith(f"{name}: ")]
        rows.append({"name": name, "inputs": inputs, "findings": len(kinds)})
    output.show_lines("Inputs broken at random", rows)
    for kind, count in sorted(findings.counts.items()):
        print(f"{kind} ({count} times): {findings.inputs[kind][:200]!r}")
    for number, content in enumerate(findings.inputs.values()):
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.with_suffix(f".{number}.input").write_bytes(content)
    output.write(
        a.out, "fuzz", {"minutes": a.minutes}, [*rows, *({"name": k, "times": n} for k, n in findings.counts.items())]
    )


if __name__ == "__main__":
    main()
