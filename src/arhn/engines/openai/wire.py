"""Bytes to a server and back: HTTP/1.1 with connections kept open, at little cost.

By aiohttp, which parses in C: httpx takes over three times as long for a request, and at 256 of them at once it, not
the server, would set the pace (docs/log, 2026-11-23).
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import httpx
import yarl

from arhn import __version__
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.engines.openai.settings import Key, Timeouts

#: An answer of more bytes than this isn't one.
MOST_BYTES = 16 * 2**20
#: Seconds that a connection may be idle: less than the five after which vLLM and others close it.
KEEP_ALIVE = 4.0
#: Characters of an error's message that are shown.
LONGEST_MESSAGE = 300


class Unreachable(Exception):
    """No connection: nothing was sent."""


class Dropped(Exception):
    """The connection ended before the answer did."""


class TooSlow(Exception):
    """No whole answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered. `headers` are found by name in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """The connections to one server; to be made in the event loop that uses it."""

    def __init__(self, base: httpx.URL, key: Key | None, timeouts: Timeouts) -> None:
        self._base = base
        self._timeouts = timeouts
        # Made once: to put a URL together takes longer than to write a request.
        self._chat = self._url("/chat/completions")
        self._key = key
        self._proxy = _proxy(base)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # how many there are at once is for others to decide
                keepalive_timeout=KEEP_ALIVE,
                ssl=httpx.create_ssl_context() if base.scheme == "https" else True,
            ),
            headers=_headers(key),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
        )

    async def get(self, path: str, *, seconds: float) -> Reply:
        """Raises as `ask` does."""
        return await self._send("GET", self._url(path), None, seconds)

    async def ask(self, body: bytes) -> Reply:
        """Send a question, which is JSON, and wait for the answer.

        Raises:
            Unreachable, Dropped, TooSlow
        """
        return await self._send("POST", self._chat, body, self._timeouts.answer)

    def _url(self, path: str) -> yarl.URL:
        return yarl.URL(str(self._base.copy_with(path=self._base.path.rstrip("/") + path)), encoded=True)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _send(self, method: str, url: yarl.URL, body: bytes | None, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(method, url, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise Unreachable(self._describe_error(error) or "no connection in time") from None
        except TimeoutError:
            raise TooSlow(f"no answer within {seconds:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Dropped(self._describe_error(error) or "the connection was closed") from None

    def _describe_error(self, error: Exception) -> str:
        """What went wrong: without the URL, for a proxy's may hold a password, and without the key."""
        match error:
            case aiohttp.ClientHttpProxyError():
                text = f"the proxy answered {error.status} {error.message}"
            case aiohttp.ClientResponseError():
                text = error.message
            case aiohttp.InvalidURL():
                text = "not a URL"
            case _:
                text = str(error)
        text = " ".join(text.split())
        return (self._key.redact(text) if self._key else text)[:LONGEST_MESSAGE]

    async def _exchange(self, method: str, url: yarl.URL, body: bytes | None) -> Reply:
        parts: list[bytes] = []
        size = 0
        asked = self._session.request(method, url, data=body, allow_redirects=False, proxy=self._proxy)
        async with asked as response:
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    response.close()
                    raise aiohttp.ClientPayloadError(f"an answer of more than {MOST_BYTES >> 20} MiB")
            whole = b"".join(parts)
            return Reply(response.status, response.headers, self._key.redact_body(whole) if self._key else whole)


def _headers(key: Key | None) -> dict[str, str]:
    common = {
        "User-Agent": f"arhn/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
    return {**common, **(key.headers if key else {})}


def _proxy(base: httpx.URL) -> yarl.URL | None:
    """The proxy that the environment names for this server.

    Raises:
        UsageError: it isn't an HTTP proxy. Its address, which may hold a password, isn't shown.
    """
    if urllib.request.proxy_bypass(base.netloc.decode("ascii")) or base.host in ("localhost", "127.0.0.1", "::1"):
        return None
    named = urllib.request.getproxies().get(base.scheme)
    if not named:
        return None
    try:
        url = yarl.URL(named if "://" in named else f"http://{named}")
        fits = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(
            f"the environment variable {base.scheme}_proxy: expected the URL of an HTTP proxy, such as "
            "http://proxy:3128. Correct it, or unset it"
        )
    return url


__all__ = ["Dropped", "Reply", "TooSlow", "Unreachable", "Wire"]
