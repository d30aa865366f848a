"""What asking a server costs: requests a second and client CPU, against a local server that answers after 200 ms.

    python -m bench.serving --concurrency 64 256

Each client is a fresh process and asks the same verdicts (a prompt of about 3 kB, 20 log-probabilities): this engine,
the plain `openai` client with `asyncio.gather` behind a semaphore, and a loop that waits for each answer, as RLHN's
scripts do it (with the same client; a few requests only). `ideal` is concurrency over latency. CPU is all that the
client's process used, from the first request to the last, start-up and probes left out. The server has a process of its
own. Needs `pip install openai`, which arhn itself doesn't use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from arhn import prompts
from arhn.engines import Request
from arhn.extract import verdict_request
from arhn.types import Passage
from bench import output

TEXT = "Words that stand for the sixty or so that a passage of a training set has, so that sizes are real. "
Ask = Callable[[int], Awaitable[None]]


def request(i: int) -> Request:
    passage = Passage(doc_id=str(i), text=f"{TEXT * 4}Number {i}.")
    return verdict_request(f"What is the answer to {i}?", passage, prompts.load("question").extract)


async def measured(ask: Ask, count: int, limit: int | None) -> dict[str, float]:
    """Seconds, and CPU seconds, of `count` requests; at most `limit` at once where the client doesn't see to that."""
    await ask(-1)  # imports and the first connection
    gate = asyncio.Semaphore(limit or count)

    async def gated(i: int) -> None:
        async with gate:
            await ask(i)

    cpu, started = time.process_time(), time.monotonic()
    await asyncio.gather(*map(gated if limit else ask, range(count)))
    return {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}


async def with_arhn(url: str, concurrency: int, count: int) -> dict[str, float]:
    from arhn.engines.openai import Settings, open_engine

    engine = await open_engine(Settings(urls=(url,), concurrency=concurrency))

    async def ask(i: int) -> None:
        assert (await engine.complete(request(i))).first

    try:
        return await measured(ask, count, None)
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


CLIENTS = {"arhn": with_arhn, "openai": with_openai, "sequential": with_openai}


def child(name: str, url: str, concurrency: int, count: int) -> None:
    print(json.dumps(asyncio.run(CLIENTS[name](url, concurrency, count))))


def run(name: str, url: str, concurrency: int, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.serving", "--child", name, url, str(concurrency), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, concurrency: int, count: int, latency: float, found: dict[str, float]) -> dict[str, Any]:
    rate, ideal = count / found["seconds"], concurrency / latency
    return {
        "name": f"{name}, {concurrency}",
        "requests a second": rate,
        "of the ideal": rate / ideal,
        "CPU a request, ms": 1000 * found["cpu"] / count,
        "requests": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=20.0, help="that each row would take at the ideal rate")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--json", type=Path, default=Path("bench/out/serving.json"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child[0], a.child[1], int(a.child[2]), int(a.child[3]))
        return
    command = [sys.executable, "-m", "tests.serving", "--latency", str(a.latency)]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for name in a.clients:
                for concurrency in [1] if name == "sequential" else a.concurrency:
                    count = round(a.seconds * concurrency / a.latency)
                    rows.append(row(name, concurrency, count, a.latency, run(name, url, concurrency, count)))
        finally:
            server.terminate()
    output.show_lines(f"Asking a server that answers after {a.latency:g} s", rows)
    output.write(a.json, "serving", {"latency": a.latency, "seconds": a.seconds}, rows)


if __name__ == "__main__":
    main()
