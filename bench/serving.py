"""What asking a server costs: requests a second and client CPU, against a local server that answers after 200 ms.

    python -m bench.serving --concurrency 64 256
    python -m bench.serving --distilabel ENVIRONMENT/bin/python

Each client is a fresh process and asks the same verdicts (a prompt of about 3 kB, 20 log-probabilities): this engine,
the plain `openai` client with `asyncio.gather` behind a semaphore, and a loop that waits for each answer, as RLHN's
scripts do it (with the same client; a few requests only). `ideal` is concurrency over latency. CPU is all that the
client's process used, from the first request to the last, start-up and probes left out. `later` leaves out the first
two seconds, in which this engine finds out how many requests the server takes at once, and the last one, in which there
are fewer and fewer left. The server has a process of its own. Needs `pip install openai`, which arhn itself doesn't
use. `distilabel` (bench/peers.py) has an environment of its own (`pip install 'distilabel[openai]' requests`), and is
absent where none is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from arhn.cleaning import prompts
from arhn.cleaning.extract.questions import request_verdict
from arhn.engines import Request
from arhn.types import Passage
from bench import output

TEXT = "Words that stand for the sixty or so that a passage of a training set has, so that sizes are real. "
#: Seconds at the beginning and at the end that `later` leaves out.
RAMP, DRAIN = 2.0, 1.0
Ask = Callable[[int], Awaitable[None]]


def request(i: int) -> Request:
    passage = Passage(doc_id=str(i), text=f"{TEXT * 4}Number {i}.")
    return request_verdict(f"What is the answer to {i}?", passage, prompts.load("question").extract)


async def measured(ask: Ask, count: int, limit: int) -> dict[str, float]:
    """Seconds, and CPU seconds, of `count` requests, at most `limit` at once; and requests a second once it runs."""
    await ask(-1)  # imports and the first connection
    gate = asyncio.Semaphore(limit)
    done: list[float] = []

    async def gated(i: int) -> None:
        async with gate:
            await ask(i)
        done.append(time.monotonic() - started)

    cpu, started = time.process_time(), time.monotonic()
    await asyncio.gather(*map(gated, range(count)))
    seconds = time.monotonic() - started
    later = sum(RAMP < at <= seconds - DRAIN for at in done) / max(0.1, seconds - RAMP - DRAIN)
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "later": later}


async def with_arhn(url: str, concurrency: int, count: int) -> dict[str, float]:
    from arhn.engines.openai.engine import open_engine
    from arhn.engines.openai.settings import Settings

    engine = await open_engine(Settings(urls=(url,), concurrency=concurrency))

    async def ask(i: int) -> None:
        assert (await engine.complete(request(i))).first

    try:
        # The engine sees to how many are sent; the pipeline has some more ready for it.
        return await measured(ask, count, 4 * concurrency)
    finally:
        await engine.aclose()


async def with_openai(url: str, concurrency: int, count: int) -> dict[str, float]:
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none")

    async def ask(i: int) -> None:
        asked = request(i)
        messages: Any = [{"role": m.role, "content": m.content} for m in asked.messages]
        answer = await client.chat.completions.create(
            model="m", messages=messages, max_tokens=1, temperature=0, seed=0, logprobs=True, top_logprobs=20
        )
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content

    try:
        return await measured(ask, count, concurrency)
    finally:
        await client.close()


PEER = "distilabel"
CLIENTS = {"arhn": with_arhn, "openai": with_openai, "sequential": with_openai}


def child(name: str, url: str, concurrency: int, count: int) -> None:
    print(json.dumps(asyncio.run(CLIENTS[name](url, concurrency, count))))


def run(name: str, url: str, concurrency: int, count: int, python: Path | None) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as questions:
        if name == PEER:
            for i in range(count):
                messages = [{"role": m.role, "content": m.content} for m in request(i).messages]
                questions.write(json.dumps(messages) + "\n")
            questions.flush()
            command = [str(python), str(Path(__file__).with_name("peers.py")), url, str(concurrency), questions.name]
        else:
            command = [sys.executable, "-m", "bench.serving", "--child", name, url, str(concurrency), str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, concurrency: int, count: int, latency: float, found: dict[str, float]) -> dict[str, Any]:
    rate, ideal = count / found["seconds"], concurrency / latency
    return {
        "name": f"{name}, {concurrency}",
        "requests a second": rate,
        "of the ideal": rate / ideal,
        "later, of the ideal": found["later"] / ideal if "later" in found else None,
        "CPU a request, ms": 1000 * found["cpu"] / count,
        "requests": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=20.0, help="that each row would take at the ideal rate")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--distilabel", type=Path, metavar="PYTHON", help="of an environment that has it")
    parser.add_argument("--json", type=Path, default=Path("bench/out/serving.json"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child[0], a.child[1], int(a.child[2]), int(a.child[3]))
        return
    command = [sys.executable, "-m", "tests.serving", "--latency", str(a.latency)]
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for name in (*a.clients, *([PEER] if a.distilabel else [])):
                for concurrency in [1] if name == "sequential" else a.concurrency:
                    count = round(a.seconds * concurrency / a.latency)
                    rows.append(
                        row(name, concurrency, count, a.latency, run(name, url, concurrency, count, a.distilabel))
                    )
        finally:
            server.terminate()
    if not a.distilabel:
        rows.append({"name": f"{PEER}: absent"})
    output.show_lines(f"Asking a server that answers after {a.latency:g} s", rows)
    output.write(a.json, "serving", {"latency": a.latency, "seconds": a.seconds}, rows)


if __name__ == "__main__":
    main()
