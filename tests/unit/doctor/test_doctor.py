"""`arhn doctor`: what is there, what isn't, and no secrets."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from arhn import weights
from arhn.cli import main
from arhn.doctor import checks
from arhn.doctor.checks import Check, examine, list_extras
from arhn.weights.cache import place
from tests.served import Served
from tests.serving import Server

Usage = namedtuple("Usage", "free")
SECRET = "hf_geheim123"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://user:{SECRET}@127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**11))


def find(area: str, found: Iterator[Check] | None = None) -> dict[str, Check]:
    return {check.name: check for check in found or examine() if check.area == area}


def test_everything_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert {each["area"] for each in found} == {"python", "libraries", "extras", "gpu", "cache", "hub", "models"}
    assert SECRET not in out
    assert "HF_TOKEN is set" in out
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "hub: reachable" in shown
    assert SECRET not in shown


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"hub", "train", "vllm", "ray"} <= list_extras().keys()
    assert "dev" not in list_extras()
    real = checks._find_version
    monkeypatch.setattr(checks, "_find_version", lambda name: None if name == "datasets" else real(name))
    found = find("extras")
    assert found["hub"].state == "absent"
    assert found["hub"].mend == "pip install 'arhn[hub]'"
    assert "datasets" in found["train"].found


def test_a_library_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(name: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(checks, "import_module", fail)
    assert main(["doctor"]) == 53
    said = capsys.readouterr()
    assert "xllamacpp" in said.err
    assert "libgomp" in said.out
    assert "--force-reinstall" in said.out


def test_cache_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6))
    assert find("cache")["free disk"].state == "broken"
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "file"))
    assert find("cache")["folder"].state == "broken"
    assert "ARHN_CACHE" in find("cache")["folder"].mend


def test_model_files_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"GGUF and more"
    starter = replace(weights.MODELS[weights.STARTER], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(weights, "MODELS", {starter.name: starter})
    [name] = [name for name in find("models") if name.startswith(starter.name)]
    assert find("models")[name].state == "absent"
    path = place(starter, tmp_path / "cache")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert find("models")[name].state == "ok"
    path.write_bytes(b"GGUF and MORE")
    assert find("models")[name].state == "broken"
    assert str(path) in find("models")[name].mend


def test_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "head", lambda *_, **__: httpx.Response(200))
    found = find("hub")["reachable"]
    assert (found.state, SECRET in found.found) == ("ok", False)


def test_a_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_SECONDS", 0.5)
    assert main(["doctor", "--url", "http://127.0.0.1:9/v1", "--json"]) == 53
    [probe] = [each for each in json.loads(capsys.readouterr().out) if each["area"] == "server"]
    assert probe["state"] == "broken"
    with Server(Served()) as server:
        found = find("server", examine(server.url))["probe"]
    assert found.state == "ok"
    assert "context" in found.found
    monkeypatch.delenv("NO_KEY", raising=False)
    assert "NO_KEY isn't set" in find("server", examine("http://127.0.0.1:9/v1", "NO_KEY"))["probe"].found
