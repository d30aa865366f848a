"""Bytes to a server and back: HTTP/1.1 with connections kept open, at little cost.

One connection, one transport. A pool of many connections would look through all of them for every request, which at
64 of them takes fifteen times as long as the request itself (LOG.md, 2026-11-23).
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from arhn._version import __version__
from arhn.engines.http.settings import Key, Timeouts

#: An answer of more bytes than this isn't one.
MOST_BYTES = 16 * 2**20


class Unreachable(Exception):
    """No connection: nothing was sent."""


class Dropped(Exception):
    """The connection ended before the answer did."""


class TooSlow(Exception):
    """No whole answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: httpx.Headers
    body: bytes


class Wire:
    """The connections to one server, for one event loop."""

    def __init__(self, base: httpx.URL, key: Key | None, timeouts: Timeouts) -> None:
        self._base = base
        self._timeouts = timeouts
        # Made once: to put a URL together takes longer than to write a request.
        self._chat = self._url("/chat/completions")
        self._headers = _headers(base, key)
        self._extensions = {"timeout": {"connect": timeouts.connect, "read": None, "write": None, "pool": None}}
        self._proxy = _proxy(base)
        # One for all connections: each would make one of its own, needed or not.
        self._ssl = httpx.create_ssl_context(verify=base.scheme == "https")
        self._free: list[httpx.AsyncHTTPTransport] = []
        self._all: list[httpx.AsyncHTTPTransport] = []

    async def get(self, path: str, *, seconds: float) -> Reply:
        """Raises as `ask` does."""
        return await self._send("GET", self._url(path), b"", seconds)

    async def ask(self, body: bytes) -> Reply:
        """Send a question, which is JSON, and wait for the answer.

        Raises:
            Unreachable, Dropped, TooSlow
        """
        return await self._send("POST", self._chat, body, self._timeouts.answer)

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=self._base.path.rstrip("/") + path)

    async def aclose(self) -> None:
        for transport in self._all:
            await transport.aclose()
        self._all.clear()
        self._free.clear()

    async def _send(self, method: str, url: httpx.URL, body: bytes, seconds: float) -> Reply:
        request = httpx.Request(method, url, headers=self._headers, content=body, extensions=self._extensions)
        # The one used last is the one that the server has had the least time to close.
        transport = self._free.pop() if self._free else self._transport()
        try:
            async with asyncio.timeout(seconds):
                return await _exchange(transport, request)
        except TimeoutError:
            raise TooSlow(f"no answer within {seconds:g} seconds") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise Unreachable(_said(error) or "no connection in time") from None
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise Dropped(_said(error) or "the connection was closed") from None
        finally:
            self._free.append(transport)

    def _transport(self) -> httpx.AsyncHTTPTransport:
        transport = httpx.AsyncHTTPTransport(
            verify=self._ssl,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0),
            proxy=self._proxy,
            trust_env=False,
        )
        self._all.append(transport)
        return transport


async def _exchange(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> Reply:
    response = await transport.handle_async_request(request)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise httpx.ReadError(f"an answer of more than {MOST_BYTES >> 20} MiB")
    finally:
        await response.aclose()
    return Reply(response.status_code, response.headers, b"".join(parts))


def _headers(base: httpx.URL, key: Key | None) -> httpx.Headers:
    headers = key.headers if key else httpx.Headers()
    common: Mapping[str, str] = {
        "Host": base.netloc.decode("ascii"),
        "User-Agent": f"arhn/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
    headers.update(common)
    return headers


def _proxy(base: httpx.URL) -> str | None:
    """The proxy that the environment names for this server."""
    if urllib.request.proxy_bypass(base.netloc.decode("ascii")) or base.host in ("localhost", "127.0.0.1", "::1"):
        return None
    return urllib.request.getproxies().get(base.scheme)


def _said(error: Exception) -> str:
    return str(error).strip()


__all__ = ["Dropped", "Reply", "TooSlow", "Unreachable", "Wire"]
