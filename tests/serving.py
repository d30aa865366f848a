"""An OpenAI-compatible server on 127.0.0.1 for tests and benches: it answers by a function, and breaks on demand.

python -m tests.serving --latency 0.2      answers "Yes" to everything and prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import orjson

from arhn.engines import Completion

Json = dict[str, Any]
#: What is done with a reply: sent, cut in half, dropped (nothing sent), or never sent.
Fate = Literal["sent", "half", "dropped", "stalled"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server sends. `delay` is in seconds."""

    status: int = 200
    body: bytes | Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    fate: Fate = "sent"

    @property
    def raw(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)
        kind = "application/json" if not isinstance(self.body, bytes) else "text/html"
        headers = {"content-type": kind, **self.headers, "content-length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} X\r\n{lines}\r\n".encode() + body


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


Handler = Callable[[Asked], Reply]


class Server:
    """Serves on a thread of its own while the `with` block lasts; `stop` and `start` play a restart."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self.open = self.most_open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        self._run(self._start())

    def stop(self) -> None:
        """Go away at once: connections are lost, new ones refused."""
        self._run(self._stop())

    def later(self, seconds: float, what: Callable[[], Any]) -> None:
        """Do something on the server's own thread after a while."""
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, what)

    def restart(self, away: float) -> None:
        """Go away and come back; to be called on the server's own thread."""

        async def there_and_back() -> None:
            await self._stop()
            await asyncio.sleep(away)
            await self._start()

        self._task = self._loop.create_task(there_and_back())

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(10)

    async def _start(self) -> None:
        self._server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is None:
            return
        # asyncio leaves a connection open that it is just accepting while its server is closed: let it finish.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(10):
            await asyncio.sleep(0.001)
            for connection in list(self._connections):
                connection.abort()
        self._server.close()
        self._server = None


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._server._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self._read = rest[size:]
        method, path, _ = line.split(" ")
        asked = Asked(method, path, headers, orjson.loads(rest[:size]) if size else {})
        server = self._server
        server.asked.append(asked)
        server.open += 1
        server.most_open = max(server.most_open, server.open)
        reply = server.handler(asked)
        asyncio.get_running_loop().call_later(reply.delay, self._send, reply)

    def _send(self, reply: Reply) -> None:
        self._server.open -= 1
        transport = self._transport
        if transport is None or transport.is_closing() or reply.fate == "stalled":
            return
        if reply.fate == "sent":
            transport.write(reply.raw)
            return
        if reply.fate == "half":
            transport.write(reply.raw[: -(len(reply.raw) // 3)])
        transport.close()


def chat(
    text: str | None,
    *,
    finish: str | None = "stop",
    first: Mapping[str, float] | None = None,
    prompt_tokens: int = 100,
    completion_tokens: int = 5,
    **message: Any,
) -> Json:
    """The JSON of a chat completion; of `first`, the first token's alternatives are known."""
    choice: Json = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
        "logprobs": None,
    }
    if first:
        top = _top(first)
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 40},
    }
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def _top(alternatives: Mapping[str, float]) -> list[Json]:
    return [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in alternatives.items()]


def completed(completion: Completion) -> Json:
    """The JSON of a completion of our own."""
    finish = "content_filter" if completion.finish == "refused" else completion.finish
    first = dict(sorted(completion.first.items(), key=lambda pair: -pair[1]))
    return chat(
        completion.text,
        finish=finish,
        first=first,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )


def failed(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    """An error as these servers send it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, body={"error": {"message": message, "code": code}}, headers=named)


def models(*names: str, owner: str = "vllm", **fields: Any) -> Reply:
    """The list of models."""
    rows = [{"id": name, "object": "model", "owned_by": owner, **fields} for name in names]
    return Reply(body={"object": "list", "data": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    a = parser.parse_args()
    first = {"Yes": -0.2, "No": -1.9, **{f"t{i}": -3.0 - i for i in range(18)}}
    raw = Reply(body=chat("Yes", finish="length", first=first)).raw
    listed = models("m", max_model_len=4096)

    class Fast(_Connection):
        def data_received(self, data: bytes) -> None:
            self._read += data
            head, end, rest = self._read.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if end else 0
            if not end or len(rest) < size:
                return
            self._read = rest[size:]
            assert self._transport is not None
            answer = listed.raw if head.startswith(b"GET") else raw
            asyncio.get_running_loop().call_later(a.latency, self._transport.write, answer)

    async def serve() -> None:
        holder = Server(lambda _: listed)
        server = await asyncio.get_running_loop().create_server(lambda: Fast(holder), "127.0.0.1", 0, backlog=1024)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
