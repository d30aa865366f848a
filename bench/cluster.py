"""What a second worker adds on a Ray cluster: groups a second, against a local server that answers after 200 ms.

    python -m bench.cluster --workers 1 2

One cluster on this machine for all rows, and one server, whose process is its own. Each worker has at most
`--concurrency` requests in flight, so that the server's latency is what it waits for, not this machine's cores. A row's
time is that between its first group and its last, without the start of the cluster and of the workers. The first row is
what the others are compared with. Needs `pip install 'arhn[ray]'`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import many

from arhn import formats
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, close
from arhn.cluster.connect import LOCAL, connect
from arhn.cluster.run import Cluster, run
from bench import output


def models(url: str, concurrency: int, stack: ExitStack) -> Models:
    from arhn.engines.openai.engine import connect
    from arhn.engines.openai.settings import Settings

    engine = connect(Settings(urls=(url,), concurrency=concurrency))
    stack.callback(close, engine)
    return Models(engine=engine)


def measured(folder: Path, workers: int, a: argparse.Namespace, url: str) -> dict[str, Any]:
    job = Job(input=str(folder / "groups.jsonl"), files=Files.beside(str(folder / f"{workers}.jsonl")))
    cluster = Cluster(address=LOCAL, workers=workers, partition=a.partition)
    content = run(job, cluster, partial(models, url, a.concurrency))
    asked = sum(stage["asked"] for stage in content["llm"].values())
    return {
        "name": f"{workers} worker{'s' if workers > 1 else ''}",
        "groups a second": content["groups"]["read"] / content["seconds"],
        "requests a second": asked / content["seconds"],
        "of the ideal": asked / content["seconds"] / (workers * a.concurrency / a.latency),
        "groups": content["groups"]["read"],
        "seconds": content["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--partition", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--json", type=Path, default=Path("bench/out/cluster.json"))
    a = parser.parse_args()
    command = [sys.executable, "-m", "tests.serving", "--latency", str(a.latency)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        folder = Path(name)
        with formats.GroupWriter(folder / "groups.jsonl", "tevatron") as writer:
            for group in many(a.groups):
                writer.write(group)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with connect(LOCAL, max(a.workers)):
                for workers in a.workers:
                    row = measured(folder, workers, a, url)
                    first = (rows or [row])[0]["groups a second"]
                    rows.append({**row, "times the first row": row["groups a second"] / first})
        finally:
            server.terminate()
    output.show(f"Cleaning on Ray, with a server that answers after {a.latency:g} s", rows)
    settings = {name: getattr(a, name) for name in ("groups", "partition", "concurrency", "latency")}
    output.write(a.json, "cluster", settings, rows)


if __name__ == "__main__":
    main()
