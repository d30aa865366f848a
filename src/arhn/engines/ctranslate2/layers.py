"""The weights of a Qwen2 model in CTranslate2's layout, rounded to 8 bits row by row.

The layout is that of CTranslate2's own converter (`Qwen2Loader`); what is rotated, and why, is in rotation.py. The
hidden state is rotated everywhere, each head's values by a rotation of their own; norms have no weights left, since
these are a part of the layers behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ctranslate2 import specs

from arhn.engines.ctranslate2.gguf_file import Floats, GgufFile
from arhn.engines.ctranslate2.rotation import Rotation
from arhn.errors import EngineError

ARCHITECTURE = "qwen2"


def make_spec(file: GgufFile) -> Any:
    """CTranslate2's description of the model, its weights in 8 bits, ready to be saved.

    Raises:
        EngineError: another architecture, or something in it that this can't convert.
        ModelCorrupt: a key or a tensor is missing.
    """
    _require_convertible(file)
    values = file.metadata
    heads, shared = values[f"{ARCHITECTURE}.attention.head_count"], values[f"{ARCHITECTURE}.attention.head_count_kv"]
    spec = specs.TransformerDecoderModelSpec.from_config(
        values[f"{ARCHITECTURE}.block_count"],
        heads,
        activation=specs.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=values.get(f"{ARCHITECTURE}.rope.freq_base", 10_000.0),
        num_heads_kv=None if shared == heads else shared,
    )
    _Layers(file, heads, shared).fill(spec.decoder)
    tokens = values["tokenizer.ggml.tokens"]
    spec.register_vocabulary(tokens)
    spec.config.eos_token = tokens[values["tokenizer.ggml.eos_token_id"]]
    spec.config.bos_token = tokens[values.get("tokenizer.ggml.bos_token_id", values["tokenizer.ggml.eos_token_id"])]
    spec.config.unk_token = ""  # nosec B105 - no password
    spec.config.layer_norm_epsilon = values[f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon"]
    spec.validate()
    return spec


def _require_convertible(file: GgufFile) -> None:
    found: Mapping[str, Any] = file.metadata
    architecture = found.get("general.architecture")
    scaling = found.get(f"{ARCHITECTURE}.rope.scaling.type", "none")
    if architecture != ARCHITECTURE or scaling != "none":
        what = f"the architecture {architecture!r}" if architecture != ARCHITECTURE else f"{scaling!r} scaling of RoPE"
        raise EngineError(
            f"{file.path}: this model has {what}; the engine ctranslate2 converts {ARCHITECTURE} models without "
            "scaling (Qwen2, Qwen2.5). Use --engine llamacpp for this one."
        )


class _Layers:
    """Fills CTranslate2's layers from a file."""

    def __init__(self, file: GgufFile, heads: int, shared: int) -> None:
        self._file = file
        size = file.metadata[f"{ARCHITECTURE}.embedding_length"]
        self._hidden = Rotation(size)
        self._head = Rotation(size // heads)
        self._ones = np.ones(size, np.float32)
        self._values = size // heads * shared

    def fill(self, decoder: Any) -> None:
        """All of them."""
        tensor = self._file.tensor
        embeddings = tensor("token_embd.weight")
        # Models whose output is their embedding again hold it once.
        output = tensor("output.weight") if "output.weight" in self._file.tensors else embeddings
        decoder.scale_embeddings = False
        self._put(decoder.embeddings, self._hidden.turn(embeddings))
        decoder.layer_norm.gamma = self._ones
        self._put(decoder.projection, self._behind(output, "output_norm.weight"))
        for number, layer in enumerate(decoder.layer):
            self._fill_attention(layer.self_attention, f"blk.{number}.")
            self._fill_feed_forward(layer.ffn, f"blk.{number}.")

    def _fill_attention(self, attention: Any, at: str) -> None:
        tensor = self._file.tensor
        attention.layer_norm.gamma = self._ones
        query, key, value = (tensor(f"{at}attn_{name}.weight") for name in ("q", "k", "v"))
        biases = [tensor(f"{at}attn_{name}.bias") for name in ("q", "k", "v")]
        inputs = np.concatenate([query, key, self._head.turn_outputs(value)])
        self._put(attention.linear[0], self._behind(inputs, f"{at}attn_norm.weight"))
        attention.linear[0].bias = np.concatenate([*biases[:2], self._head.turn(biases[2])])
        outputs = self._head.turn(tensor(f"{at}attn_output.weight"))
        self._put(attention.linear[1], self._hidden.turn_outputs(outputs))

    def _fill_feed_forward(self, layer: Any, at: str) -> None:
        tensor, norm = self._file.tensor, f"{at}ffn_norm.weight"
        layer.layer_norm.gamma = self._ones
        self._put(layer.linear_0, self._behind(tensor(f"{at}ffn_gate.weight"), norm))
        self._put(layer.linear_0_noact, self._behind(tensor(f"{at}ffn_up.weight"), norm))
        self._put(layer.linear_1, self._hidden.turn_outputs(tensor(f"{at}ffn_down.weight")))

    def _behind(self, weights: Floats, norm: str) -> Floats:
        """Of a layer behind a norm: the norm's weights in it, and what it gets rotated."""
        return self._hidden.turn(weights * self._file.tensor(norm))

    def _put(self, linear: Any, weights: Floats) -> None:
        """Round as CTranslate2's converter does: each row by its largest value."""
        largest = np.abs(weights).max(axis=1)
        largest[largest == 0] = 127
        scale = (127 / largest).astype(np.float32)
        linear.weight = np.rint(weights * scale[:, None]).astype(np.int8)
        linear.weight_scale = scale


__all__ = ["ARCHITECTURE", "make_spec"]
