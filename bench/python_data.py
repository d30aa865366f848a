"""How fast `arhn.clean` takes a Dataset in and gives it back, and what memory it needs, with a fake engine.

python -m bench.python_data 20000
python -m bench.python_data 250000 --method none
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import datasets
from tests.conftest import answer_by_marks

import arhn
from arhn.engines.fake import FakeEngine


def make_rows(count: int) -> Iterator[dict[str, Any]]:
    """FlagEmbedding's rows with four negatives, one of which answers."""
    for i in range(count):
        texts = [f"passage {j} of group {i} holds {'nothing' if j else 'ANSWER1'}" for j in range(4)]
        yield {"query": f"question {i}?", "pos": [f"positive of {i} holds ANSWER2"], "neg": texts}


def measure_memory() -> int:
    """The most that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--method", default="arhn")
    given = parser.parse_args()
    settings = {"method": given.method} | ({"calibrations": "none"} if given.method == "arhn" else {})
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ARHN_CACHE"] = folder
        data = datasets.Dataset.from_generator(make_rows, gen_kwargs={"count": given.count}, cache_dir=folder)
        before, wall, cpu = measure_memory(), time.monotonic(), time.process_time()
        result = arhn.clean(data, FakeEngine(answer_by_marks, keep=False), progress=False, **settings)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        print(repr(result))
        print(f"{given.count / wall * 60:,.0f} groups a minute, {given.count / cpu * 60:,.0f} a minute of CPU time")
        print(f"memory {before} MB before, {measure_memory()} MB at most")


if __name__ == "__main__":
    main()
