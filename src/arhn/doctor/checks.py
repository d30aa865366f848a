"""What is looked at. Nothing is changed or fetched, and no secret is shown."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from arhn import __version__, weights
from arhn.errors import ArhnError
from arhn.weights.cache import cache_root, digest

#: `absent`: not there, and only needed for some things. `broken`: there is trouble with what everything needs.
State = Literal["ok", "absent", "broken"]
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?[^;]*(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
#: Extras for those who work on arhn.
_FOR_US = ("dev", "docs")
#: Core libraries that come with code for one kind of machine, and may not fit it.
_NATIVE = ("ctranslate2", "llguidance", "onnxruntime", "pyarrow", "tokenizers", "xllamacpp")
_SECONDS = 5.0
#: The starter models and a store of some size.
_LEAST_FREE = 2 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing. `found`: what is there; `mend`: the command or step that changes it, empty where all is well."""

    area: str
    name: str
    state: State
    found: str
    mend: str = ""


def examine(url: str | None = None, api_key_env: str | None = None) -> Iterator[Check]:
    """Look at everything.

    Args:
        url: a server to be asked what it can do; none unless given.
        api_key_env: the environment variable that holds its key.
    """
    yield Check(area="python", name="arhn", state="ok", found=f"{__version__}, Python {platform.python_version()}")
    yield from check_libraries()
    yield from check_extras()
    yield check_gpu()
    yield from check_cache()
    yield check_hub()
    if cache_root().is_dir():
        yield from check_models()
    if url is not None:
        yield check_server(url, api_key_env)


def check_libraries() -> Iterator[Check]:
    """Whether the libraries that everything needs can be imported."""
    for name in _NATIVE:
        mend = f"python -m pip install --force-reinstall {name}"
        try:
            import_module(name)
        except Exception as error:
            yield Check(area="libraries", name=name, state="broken", found=f"can't be imported: {error}", mend=mend)
        else:
            yield Check(area="libraries", name=name, state="ok", found=_find_version(name) or "")


def check_extras() -> Iterator[Check]:
    """Whether the packages of each extra are there."""
    for extra, packages in list_extras().items():
        missing = [package for package in packages if _find_version(package) is None]
        versions = ", ".join(f"{package} {_find_version(package)}" for package in packages if package not in missing)
        if missing:
            mend = f"pip install 'arhn[{extra}]'"
            found = f"not installed: {', '.join(missing)}"
            yield Check(area="extras", name=extra, state="absent", found=found, mend=mend)
        else:
            yield Check(area="extras", name=extra, state="ok", found=versions)


def list_extras() -> dict[str, list[str]]:
    """The packages of each extra that users have, as the installed package says."""
    found: dict[str, list[str]] = defaultdict(list)
    try:
        lines = requires("arhn") or []
    except PackageNotFoundError:
        return {}
    for line in lines:
        requirement = _REQUIREMENT.match(line)
        extra = _EXTRA.search(requirement[2] or "") if requirement else None
        if requirement and extra and extra[1] not in _FOR_US and requirement[1] != "arhn":
            found[extra[1]].append(requirement[1])
    return dict(found)


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_gpu() -> Check:
    """Whether there is an NVIDIA GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(area="gpu", name="nvidia", state="absent", found="no nvidia-smi: models run on the CPU")
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        found = f"nvidia-smi doesn't answer ({type(error).__name__}): models run on the CPU"
        return Check(area="gpu", name="nvidia", state="absent", found=found, mend="nvidia-smi")
    return Check(area="gpu", name="nvidia", state="ok", found="; ".join(shown.stdout.strip().splitlines()))


def check_cache() -> Iterator[Check]:
    """Whether the cache can be written, and how much room there is."""
    root = cache_root()
    mend = "Set ARHN_CACHE to a folder that can be written"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
        free = shutil.disk_usage(root).free
    except OSError as error:
        found = f"{root}: can't be written ({error.strerror})"
        yield Check(area="cache", name="folder", state="broken", found=found, mend=mend)
        return
    yield Check(area="cache", name="folder", state="ok", found=str(root))
    enough = free >= _LEAST_FREE
    yield Check(
        area="cache",
        name="free disk",
        state="ok" if enough else "broken",
        found=f"{free / 1e9:,.1f} GB",
        mend="" if enough else "Free some, or set ARHN_CACHE to a folder on another disk",
    )


def check_hub() -> Check:
    """Whether the Hugging Face hub, or the one that HF_ENDPOINT names, can be reached."""
    import httpx

    from arhn.weights.hub import PUBLIC

    token = ", HF_TOKEN is set" if os.environ.get("HF_TOKEN") else ""
    try:
        address = httpx.URL(os.environ.get("HF_ENDPOINT") or PUBLIC)
        host = address.host or "the address in HF_ENDPOINT"
        answer = httpx.head(address, timeout=_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        found = f"can't be reached ({type(error).__name__}); named models come from the package index then{token}"
        mend = "Check network, proxy and HF_ENDPOINT"
        return Check(area="hub", name="reachable", state="absent", found=found, mend=mend)
    return Check(area="hub", name="reachable", state="ok", found=f"{host} answers {answer.status_code}{token}")


def check_models() -> Iterator[Check]:
    """Whether the named models are there, and have the bytes that they should have."""
    files = [(row.model, f"arhn clean … --model {row.model.name}") for row in weights.listing()]
    for embedding in weights.EMBEDDING_MODELS.values():
        fetch = f"arhn clean … --similarity {embedding.name}"
        files += [(embedding.graph, fetch), (embedding.tokenizer, fetch)]
    for model, fetch in files:
        path = weights.cache.place(model, cache_root())
        name = f"{model.name} ({path.name})"
        if not path.is_file():
            found = f"not fetched, {model.size / 1e6:,.0f} MB"
            yield Check(area="models", name=name, state="absent", found=found, mend=f"{fetch} fetches it")
        elif digest(path) != model.sha256:
            found = f"{path}: has other bytes than the publisher's"
            yield Check(area="models", name=name, state="broken", found=found, mend=f"rm '{path}'")
        else:
            yield Check(area="models", name=name, state="ok", found=f"SHA-256 {model.sha256[:16]}… is right")


def check_server(url: str, api_key_env: str | None) -> Check:
    """What a server can do, by asking it."""
    from pydantic import ValidationError

    from arhn.cleaning.run import close
    from arhn.engines.openai.settings import Settings, Timeouts

    timeouts = Timeouts(connect=_SECONDS, answer=30.0, total=60.0, patience=_SECONDS)
    try:
        engine = Settings(urls=(url,), api_key_env=api_key_env, timeouts=timeouts).open()
    except (ArhnError, ValidationError) as error:
        mend = "Check that the server runs, its URL, and --api-key-env"
        return Check(area="server", name="probe", state="broken", found=str(error), mend=mend)
    described = str(getattr(engine, "described", engine.model))
    close(engine)
    return Check(area="server", name="probe", state="ok", found=described)


__all__ = ["Check", "State", "examine", "list_extras"]
