"""How long a text a model can take."""

from __future__ import annotations

from typing import Any


def positions(model: Any) -> int | None:
    """Tokens that a model of sentence-transformers has positions for; None where it has no table of them (rotary
    positions, static embeddings): such a model takes any length."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa and its kin count from behind the index that pads.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - first
    return None
