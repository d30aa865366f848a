"""A Qwen2 model in a GGUF file, of 64 hidden values and random weights: what it writes is nonsense, but exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

LAYERS, HIDDEN, INNER, HEADS, SHARED = 2, 96, 192, 4, 2
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("h e", "Ġ t", "Ġt he", "i n", "e r")
#: What is another model: a key, and its value.
Changed = Mapping[str, Any]


def byte_texts() -> list[str]:
    """The 256 bytes as GPT-2's vocabulary writes them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(hidden))]


def tensors(seed: int = 0, *, outlier: float = 1.0) -> dict[str, Any]:
    """Its weights by name. One hidden channel is `outlier` times as large as the others."""
    random = np.random.default_rng(seed)

    def make(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    size = len(byte_texts()) + len(MERGES) + len(CONTROL)
    found = {
        "token_embd.weight": make(size, HIDDEN) * 5,
        "output.weight": make(size, HIDDEN) * 3,
        "output_norm.weight": 1 + make(HIDDEN) / 2,
    }
    found["token_embd.weight"][:, 5] *= outlier
    head = HIDDEN // HEADS
    for i in range(LAYERS):
        for name, rows in (("q", HIDDEN), ("k", head * SHARED), ("v", head * SHARED)):
            found[f"blk.{i}.attn_{name}.weight"] = make(rows, HIDDEN)
            found[f"blk.{i}.attn_{name}.bias"] = make(rows)
        found[f"blk.{i}.attn_output.weight"] = make(HIDDEN, HIDDEN)
        found[f"blk.{i}.ffn_gate.weight"] = make(INNER, HIDDEN)
        found[f"blk.{i}.ffn_up.weight"] = make(INNER, HIDDEN)
        found[f"blk.{i}.ffn_down.weight"] = make(HIDDEN, INNER)
        for norm in ("attn_norm", "ffn_norm"):
            found[f"blk.{i}.{norm}.weight"] = 1 + make(HIDDEN) / 2
    return found


def write(
    path: Path,
    *,
    seed: int = 0,
    outlier: float = 1.0,
    architecture: str = "qwen2",
    split: str = "qwen2",
    template: str = TEMPLATE,
    scaling: str = "",
    change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Path:
    """Write it. `change`: of the weights."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if scaling:
        writer.add_string(f"{architecture}.rope.scaling.type", scaling)
    merged = [pair.replace(" ", "") for pair in MERGES]
    tokens = [*byte_texts(), *merged, *CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - len(CONTROL)) + [3] * len(CONTROL))
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    weights = tensors(seed, outlier=outlier)
    change(weights)
    for name, weight in weights.items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def forward(weights: Mapping[str, Any], tokens: list[int]) -> Any:
    """Log-probabilities behind the last of `tokens`, in 64 bits; shape (vocabulary,)."""
    x = weights["token_embd.weight"][tokens].astype(np.float64)
    head, length = HIDDEN // HEADS, len(tokens)

    def norm(values: Any, name: str) -> Any:
        return values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-6) * weights[name]

    def turn(values: Any) -> Any:
        angles = np.arange(length)[:, None] * 1_000_000.0 ** (-np.arange(0, head, 2) / head)
        cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
        one, two = values[..., : head // 2], values[..., head // 2 :]
        return np.concatenate([one * cosine - two * sine, two * cosine + one * sine], -1)

    for i in range(LAYERS):
        at = f"blk.{i}."
        z = norm(x, at + "attn_norm.weight")
        query, key, value = (
            (z @ weights[f"{at}attn_{n}.weight"].T + weights[f"{at}attn_{n}.bias"]).reshape(length, -1, head)
            for n in "qkv"
        )
        query, key = turn(query), np.repeat(turn(key), HEADS // SHARED, 1)
        value = np.repeat(value, HEADS // SHARED, 1)
        scores = np.einsum("ihd,jhd->hij", query, key) / np.sqrt(head)
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), value).reshape(length, -1)
        x = x + mixed @ weights[at + "attn_output.weight"].T
        z = norm(x, at + "ffn_norm.weight")
        gate = z @ weights[at + "ffn_gate.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (z @ weights[at + "ffn_up.weight"].T)
        x = x + inner @ weights[at + "ffn_down.weight"].T
    logits = norm(x[-1:], "output_norm.weight")[0] @ weights["output.weight"].T
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())
