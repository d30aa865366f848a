"""The Hugging Face hub over HTTPS: what a file there is, and its bytes.

Not by `huggingface_hub`, whose `hf_hub_download` (seen in version 2.4) lacks what a pinned file needs:
- A download whose process was killed starts over, since it goes to a file with a random name. Ours goes on.
- It knows of no pinned SHA-256. Ours refuses a hub that names another one before the first byte comes.
- ANSWER_SECONDS after the first look-up it must be the mirror's turn, also behind a firewall that drops packets.
And it would bring hf-xet, httpx2, PyYAML, fsspec and others along with every installation.

`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub
(https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables). The token goes into one
request header and nowhere else; httpx drops it where the hub redirects to another host.
"""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import httpx

from arhn.errors import ModelCorrupt, ModelMissing, ModelUnavailable, UsageError
from arhn.weights.cache import Progress, size_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from arhn.weights.table import ModelFile

logger = logging.getLogger(__name__)

T = TypeVar("T")

PUBLIC = "https://huggingface.co"
CONNECT_SECONDS = 5.0
#: From the first look-up of the host to the answer's headers.
ANSWER_SECONDS = 10.0
#: Without a byte arriving.
STALL_SECONDS = 30.0

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FAILURES = (httpx.HTTPError, httpx.InvalidURL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What the hub reports of a file, None where it doesn't; `commit` is what the revision points to now."""

    sha256: str | None
    size: int | None
    commit: str | None


def file_url(repo: str, revision: str, file: str, *, endpoint: str = PUBLIC) -> str:
    """The address of a file's bytes."""
    return f"{endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(file)}"


def describe(repo: str, revision: str, file: str) -> Remote:
    """Ask the hub what a file is, without its bytes.

    Raises ModelMissing when the hub doesn't have it, ModelUnavailable when the hub is switched off
    (`HF_HUB_OFFLINE`), can't be reached within ANSWER_SECONDS or refuses.
    """
    url = _url(repo, revision, file)
    try:
        response = _within(ANSWER_SECONDS, lambda: _head(url))
    except TimeoutError:
        raise ModelUnavailable(f"{_shown(url)}: no answer within {ANSWER_SECONDS:g} s") from None
    except _FAILURES as error:
        raise ModelUnavailable(_reason(error, url)) from error
    _require_success(response)
    return _remote(response)


def download(model: ModelFile, part: Path, progress: Progress | None = None) -> None:
    """Bring `part` to the full length of `model`, resuming after the bytes it already has.

    After a broken connection it tries again, as long as each try brings new bytes. The content isn't verified
    here. Raises ModelMissing, ModelUnavailable (`part` stays, to go on later), and ModelCorrupt when the hub
    says beforehand that its file is another one.
    """
    if size_of(part) >= model.size:
        return
    if model.repo is None or model.revision is None:
        raise ModelUnavailable("the table names no repository that holds this file")
    _require_same(describe(model.repo, model.revision, model.file), model)
    url = _url(model.repo, model.revision, model.file)
    with _client(follow_redirects=True) as client:
        while (have := size_of(part)) < model.size:
            reason = _resume(client, url, part, model.size, progress)
            if size_of(part) <= have:
                raise ModelUnavailable(reason)


def _url(repo: str, revision: str, file: str) -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelUnavailable("HF_HUB_OFFLINE is set, so it isn't asked")
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or PUBLIC
    return file_url(repo, revision, file, endpoint=endpoint)


def _headers() -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "arhn"}
    if token := os.environ.get("HF_TOKEN", "").strip():
        # Checked here because the HTTP library's own complaint would show the token.
        if not re.fullmatch(r"[!-~]+", token):
            raise UsageError("HF_TOKEN holds characters that no token has: set it again, or unset it.")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _client(*, follow_redirects: bool) -> httpx.Client:
    timeout = httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
    headers = _headers()
    try:
        return httpx.Client(timeout=timeout, headers=headers, follow_redirects=follow_redirects)
    except (ImportError, OSError, ValueError) as error:  # a proxy or certificate setting that can't be used
        raise ModelUnavailable(f"the HTTP client can't start: {error}") from error


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`, or TimeoutError.

    Needed because a connect timeout counts for each of a host's addresses and name look-up has none: behind a
    firewall that drops packets, both together take a minute.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    Thread(target=work, name="arhn-hub", daemon=True).start()
    return future.result(timeout=seconds)


def _head(url: str) -> httpx.Response:
    """The hub's own answer: moves within the hub are followed, the hand-over to its file store isn't."""
    with _client(follow_redirects=False) as client:
        response = client.head(url)
        for _ in range(5):
            onward = response.next_request
            if onward is None or "x-linked-etag" in response.headers or onward.url.netloc != response.url.netloc:
                break
            response = client.send(onward)
        return response


def _remote(response: httpx.Response) -> Remote:
    headers = response.headers
    etag = headers.get("x-linked-etag", headers.get("etag", "")).removeprefix("W/").strip('"').lower()
    # A redirect's own length is not the file's.
    size = headers.get("x-linked-size", "" if response.is_redirect else headers.get("content-length", ""))
    return Remote(
        sha256=etag if _SHA256.fullmatch(etag) else None,
        size=int(size) if size.isdecimal() else None,
        commit=headers.get("x-repo-commit"),
    )


def _require_same(remote: Remote, model: ModelFile) -> None:
    if (remote.sha256 or model.sha256) != model.sha256:
        raise ModelCorrupt(
            f"it offers another file: expected SHA-256 {model.sha256}, found {remote.sha256} "
            "(HF_ENDPOINT may point to a server that holds other content)"
        )


def _resume(client: httpx.Client, url: str, part: Path, size: int, progress: Progress | None) -> str:
    """One try to bring more of the file; returns why it ended, which matters only when nothing came."""
    have = size_of(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with client.stream("GET", url, headers=headers) as response:
            _require_success(response)
            _write(response, part, size, progress)
    except _FAILURES as error:
        return _reason(error, url)
    return f"the answer of {_shown(url)} ended after {size_of(part)} of {size} bytes"


def _write(response: httpx.Response, part: Path, size: int, progress: Progress | None) -> None:
    """Add the answer to `part`, or overwrite it when the server ignored the range that was asked for."""
    with part.open("ab") as out:
        if not _continues(response, out.tell()):
            out.truncate(0)
        done = size_of(part)
        for block in response.iter_bytes():
            out.write(block)
            done += len(block)
            if progress:
                progress(done, size)
            if done > size:  # more than the file has: verification will refuse it
                break


def _continues(response: httpx.Response, offset: int) -> bool:
    sent = response.headers.get("content-range", "")
    return response.status_code == 206 and sent.startswith(f"bytes {offset}-")


def _require_success(response: httpx.Response) -> None:
    status = response.status_code
    if status < 400:
        return
    reason = response.headers.get("x-error-code", response.reason_phrase)
    answer = f"{_shown(str(response.url))} answered {status} {reason}"
    if status == 404:
        raise ModelMissing(f"{answer}: no such repository, revision or file")
    if status in {401, 403}:
        raise ModelUnavailable(f"{answer}: no such repository, or it needs HF_TOKEN with access to it")
    raise ModelUnavailable(answer)


def _reason(error: Exception, url: str) -> str:
    host = "/".join(_shown(url).split("/")[:3])
    return f"{host}: {type(error).__name__}: {error}"


def _shown(url: str) -> str:
    """An address fit for messages: without a password, or the signature that opens a file store."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])
