"""An embedding model of a few hundred bytes, made here without the package onnx: a table of word vectors."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from arhn.weights import EmbeddingModel, ModelFile, cache

#: By their place, which is the token's number.
VECTORS: Mapping[str, tuple[float, float]] = {
    "[PAD]": (100.0, 100.0),
    "[UNK]": (0.0, 0.0),
    "[CLS]": (0.0, 0.0),
    "[SEP]": (0.0, 0.0),
    "east": (1.0, 0.0),
    "north": (0.0, 1.0),
    "west": (-1.0, 0.0),
    "broken": (float("nan"), 0.0),
}
MAX_LENGTH = 6
INT64, FLOAT = 7, 1


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message: a number, or a text, bytes or message with its length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _value(name: str, kind: int, shape: Sequence[str]) -> bytes:
    dims = b"".join(_field(1, _field(2, dim)) for dim in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def make_graph() -> bytes:
    """A model in ONNX format (field numbers of onnx.proto3): each token's vector is its row of the table."""
    flat = [number for vector in VECTORS.values() for number in vector]
    table = _field(1, len(VECTORS)) + _field(1, 2) + _field(2, FLOAT) + _field(8, "table")
    table += _field(9, struct.pack(f"<{len(flat)}f", *flat))
    node = _field(1, "table") + _field(1, "input_ids") + _field(2, "tokens") + _field(4, "Gather")
    graph = _field(1, node) + _field(2, "tiny") + _field(5, table)
    graph += b"".join(_field(11, _value(name, INT64, ("b", "s"))) for name in ("input_ids", "attention_mask"))
    graph += _field(12, _value("tokens", FLOAT, ("b", "s", "d")))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


def make_tokenizer() -> bytes:
    """A tokenizer that pads and cuts to lengths of its own, as the publisher's does."""
    numbers = {word: number for number, word in enumerate(VECTORS)}
    special = {name: {"id": name, "ids": [numbers[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {
                "strategy": {"Fixed": 4},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": special,
            },
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": numbers, "unk_token": "[UNK]"},
        }
    ).encode()


def make_file(name: str, content: bytes) -> ModelFile:
    """A table entry for a file of the hub."""
    return ModelFile(
        name=f"{name} of tiny",
        repo="org/tiny",
        revision="0" * 40,
        file=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="CC0-1.0",
        mirror=None,
        description="",
    )


def make_model(graph: bytes, tokenizer: bytes) -> EmbeddingModel:
    """A table entry for an embedding model."""
    return EmbeddingModel(
        name="tiny",
        graph=make_file("model.onnx", graph),
        tokenizer=make_file("tokenizer.json", tokenizer),
        max_length=MAX_LENGTH,
        licence="CC0-1.0",
        description="",
    )


def put(model: EmbeddingModel, root: Path, graph: bytes, tokenizer: bytes) -> tuple[Path, Path]:
    """Put the files of a model where the cache looks for them."""
    paths = cache.place(model.graph, root), cache.place(model.tokenizer, root)
    for path, content in zip(paths, (graph, tokenizer), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths
