"""`arhn clean` against a server with faults, in real time: what it costs, and whether what it promises holds.

    python -m bench.faults --groups 400 --stall 60

The same groups three times: with a server without faults, with one that fails at every fifth request (429, 500, dropped
connections, half answers, wrong JSON, answers that name what there isn't, answers that come after a minute, and one
restart), and once more without faults, which asks only what had failed for good. What must hold is read from the files
(tests/faulted.py): no group lost or there twice, each change of a label backed by words of its passage and by stored
answers that the server really gave, and the same outcome as without faults for every group that got its answers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import many
from tests.faulted import Ran, broken_promises
from tests.served import Faulty, Served
from tests.serving import Server

from arhn import formats
from arhn.types import Group
from bench import output

#: What the engine asks to find out what a server can do.
PROBES = 40


def cleaned(folder: Path, groups: Sequence[Group], handler: Served | Faulty, flags: Sequence[str]) -> dict[str, Any]:
    """Run the command; seconds, and requests that arrived at the server."""
    with formats.GroupWriter(folder / "train.jsonl", "tevatron", overwrite=True) as writer:
        for group in groups:
            writer.write(group)
    with Server(handler) as server:
        if isinstance(handler, Faulty):
            handler.server = server
        files = (str(folder / "train.jsonl"), "-o", str(folder / "out.jsonl"))
        command = [sys.executable, "-m", "arhn", "clean", *files, "--engine", "openai", "--url", server.url, *flags]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {"seconds": time.monotonic() - started, "requests": len(server.asked)}


def row(name: str, ran: Ran, found: dict[str, Any], broken: Sequence[str]) -> dict[str, Any]:
    [counts] = ran.summary["serving"]["model"]["servers"].values()
    return {
        "name": name,
        **found,
        "sound answers": counts.get("answered", 0),
        "failed for good": len(ran.failures),
        "promises broken": len(broken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.2, help="of requests that meet a fault")
    parser.add_argument("--stall", type=float, default=60.0, help="seconds until a stalled answer comes")
    parser.add_argument("--timeout", type=float, default=30.0)
    parser.add_argument("--attempts", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("bench/out/faults.json"))
    a = parser.parse_args()
    groups = list(many(a.groups))
    faulty = Faulty(
        Served(), share=a.share, spared=PROBES, restart_after=PROBES + 4 * a.groups, stall=a.stall, lies=True
    )
    settings = {"engine.timeouts.answer": a.timeout, "engine.attempts": a.attempts, "max_failures": 1}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with tempfile.TemporaryDirectory() as place:
        for name in ("healthy", "harmed"):
            (Path(place) / name).mkdir()
        found = cleaned(Path(place) / "healthy", groups, Served(), flags)
        healthy = Ran(Path(place) / "healthy")
        rows = [row("no faults", healthy, found, broken_promises(groups, healthy, healthy, []))]
        broken: list[str] = []
        for name, handler, more in (("faults", faulty, ()), ("again, no faults", Served(), ("--overwrite",))):
            found = cleaned(Path(place) / "harmed", groups, handler, (*flags, *more))
            ran = Ran(Path(place) / "harmed")
            promises = broken_promises(groups, ran, healthy, faulty.lied)
            rows.append(row(name, ran, found, promises))
            broken += promises
    output.show_lines(f"A server that fails at {a.share:.0%} of requests", rows)
    output.show("Faults", [{"name": "requests", **dict(sorted(faulty.faults.items()))}])
    settings = {"groups": a.groups, "share": a.share, "stall": a.stall, "timeout": a.timeout, "attempts": a.attempts}
    output.write(a.json, "faults", {**settings, "faults": dict(faulty.faults)}, rows)
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
