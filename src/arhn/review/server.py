"""The local page of a review. It listens on this machine only, and answers nobody who doesn't know its token.

A page of somebody else could send requests here from the reviewer's browser. So the token is a part of every address,
the Host must name this machine (a forged one means that a name of theirs was pointed here), the Origin must be this
page, and requests that change something are JSON.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from arhn.errors import ArhnError, UsageError
from arhn.files.atomic import AtomicFile
from arhn.review.findings import list_lines, list_tables
from arhn.review.session import Session
from arhn.texts.foreign import make_line, make_visible

HOST = "127.0.0.1"
_NAMES = frozenset(("127.0.0.1", "localhost", "::1"))
#: Bytes of a request: an answer with its note, or a guideline.
_LARGEST = 256 * 1024
_LONGEST_NAME, _LONGEST_NOTE, _LONGEST_GUIDELINE = 60, 2000, 50_000
_PAGES = {
    "": ("index.html", "text/html"),
    "review.css": ("review.css", "text/css"),
    "review.js": ("review.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def make_app(session: Session, token: str, guideline: Path) -> web.Application:
    """The page and what it calls, below `/TOKEN/`.

    Args:
        guideline: the team's own guideline; ours is shown where there is none.
    """
    page = _Page(session, guideline)
    app = web.Application(client_max_size=_LARGEST, middlewares=[_guard(token)])
    app.router.add_get("/{token}/{name:[a-z.]*}", page.send_file)
    app.router.add_post("/{token}/api/{what:[a-z]+}", page.reply)
    return app


def _guard(token: str) -> Any:
    """Refuses what doesn't come from this machine's own page, and sends the headers of a strict policy."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _require_trusted(request, token)
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        response.headers.update(_HEADERS)
        return response

    return check


def _require_trusted(request: web.Request, token: str) -> None:
    if _find_name(f"//{request.headers.get('Host', '')}") not in _NAMES:
        raise web.HTTPForbidden(reason="Host is not this machine")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.headers['Host']}":
        raise web.HTTPForbidden(reason="Origin is another page")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden(reason="the request comes from another page")
    given = request.match_info.get("token", "")
    if not secrets.compare_digest(given.encode(errors="replace"), token.encode()):
        raise web.HTTPForbidden(reason="the token in the address is missing or wrong")
    if request.method == "POST" and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="expected application/json")


def _find_name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


class _Page:
    def __init__(self, session: Session, guideline: Path) -> None:
        self._session = session
        self._guideline = guideline

    async def send_file(self, request: web.Request) -> web.StreamResponse:
        found = _PAGES.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        name, kind = found
        return web.Response(body=_read(name), content_type=kind, charset="utf-8")

    async def reply(self, request: web.Request) -> web.StreamResponse:
        try:
            given = await _read_request(request)
            reply = {
                "next": self._next,
                "answer": self._answer,
                "adjudicate": self._adjudicate,
                "undo": self._undo,
                "results": self._results,
                "guideline": self._handle_guideline,
            }.get(request.match_info["what"])
            if reply is None:
                raise web.HTTPNotFound
            return web.json_response(reply(given))
        except UsageError as error:
            return web.json_response({"error": make_visible(str(error))}, status=400)
        except ArhnError as error:
            return web.json_response({"error": make_visible(str(error))}, status=500)

    def _next(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._describe(given, self._session.find_next(_read_reviewer(given), _read_mode(given)))

    def _answer(self, given: dict[str, Any]) -> dict[str, Any]:
        reviewer, note = _read_reviewer(given), _read_text(given, "note", _LONGEST_NOTE)
        hinted = given.get("hinted") is True
        said = self._session.answer(reviewer, _read_number(given), str(given.get("answer")), note, hinted)
        return {**self._describe(given, self._session.find_next(reviewer)), "said": said}

    def _adjudicate(self, given: dict[str, Any]) -> dict[str, Any]:
        reviewer, note = _read_reviewer(given), _read_text(given, "note", _LONGEST_NOTE)
        said = self._session.adjudicate(reviewer, _read_number(given), str(given.get("answer")), note)
        return {**self._describe(given, self._session.find_next(reviewer, "adjudicate")), "said": said}

    def _undo(self, given: dict[str, Any]) -> dict[str, Any]:
        reviewer, mode = _read_reviewer(given), _read_mode(given)
        number = self._session.undo(reviewer, mode)
        if number is None:
            return {**self._describe(given, self._session.find_next(reviewer, mode)), "said": "Nothing to undo."}
        return {**self._describe(given, number), "said": "Taken back: answer it again."}

    def _describe(self, given: dict[str, Any], number: int | None) -> dict[str, Any]:
        reviewer, mode = _read_reviewer(given), _read_mode(given)
        return {"item": self._session.describe(number, mode), "progress": self._session.count(reviewer)}

    def _results(self, _: dict[str, Any]) -> dict[str, Any]:
        outcome = self._session.find_outcome()
        return {"tables": list(list_tables(outcome)), "lines": list(list_lines(outcome))}

    def _handle_guideline(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("text") is not None:
            text = _read_text(given, "text", _LONGEST_GUIDELINE)
            with AtomicFile(self._guideline, overwrite=True) as file:
                file.write(text.encode(errors="backslashreplace"))
        try:
            text = self._guideline.read_text("utf-8", errors="backslashreplace")
        except OSError:
            text = _read("guideline.md").decode()
        return {"text": text, "shown": make_visible(text)}


async def _read_request(request: web.Request) -> dict[str, Any]:
    try:
        given = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise UsageError("expected JSON") from error
    if not isinstance(given, dict):
        raise UsageError("expected a JSON object")
    return given


def _read_reviewer(given: dict[str, Any]) -> str:
    name = make_line(given.get("reviewer") or "")
    if not 0 < len(name) <= _LONGEST_NAME:
        raise UsageError(f"reviewer: expected a name of 1 to {_LONGEST_NAME} characters")
    return name


def _read_mode(given: dict[str, Any]) -> str:
    return "adjudicate" if given.get("mode") == "adjudicate" else "answer"


def _read_number(given: dict[str, Any]) -> int:
    number = given.get("number")
    if type(number) is not int:
        raise UsageError("number: expected a whole number")
    return number


def _read_text(given: dict[str, Any], name: str, longest: int) -> str:
    text = given.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > longest:
        raise UsageError(f"{name}: expected a text of at most {longest:,} characters")
    return text.encode(errors="replace").decode()


def _read(name: str) -> bytes:
    return files("arhn.review").joinpath("page", name).read_bytes()
