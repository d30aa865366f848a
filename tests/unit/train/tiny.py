"""Models with random weights, made in a second, and groups about the words they know."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arhn.types import Group, Passage

WORDS = [f"w{i}" for i in range(60)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", *WORDS]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 192,
    "vocab_size": len(VOCABULARY),
}


def language_model(folder: Path, architecture: str = "Bert") -> Path:
    """A plain transformer and its tokenizer, without modules.json."""
    import torch
    import transformers

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    library: Any = transformers  # whose names are found on first use
    library.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    more = {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0} if architecture == "Mistral" else {}
    config = getattr(transformers, f"{architecture}Config")(**SIZES, **more)
    getattr(transformers, f"{architecture}Model")(config).save_pretrained(folder)
    return folder


def retriever(folder: Path) -> Path:
    """A model of sentence-transformers, mean pooling."""
    import sentence_transformers

    raw = language_model(folder.with_name(f"{folder.name}-raw"))
    sentence_transformers.SentenceTransformer(str(raw), device="cpu").save(str(folder))
    return folder


def groups(count: int, *, positives: int = 1, negatives: int = 3, seed: int = 0, name: str = "q") -> list[Group]:
    """Groups whose passages are all different."""
    rng = random.Random(seed)

    def text(length: int) -> str:
        return " ".join(rng.choices(WORDS, k=length))

    def passages(kind: str, query: int, number: int) -> tuple[Passage, ...]:
        return tuple(Passage(doc_id=f"{kind}{query}-{i}-{seed}", text=text(rng.randint(4, 12))) for i in range(number))

    return [
        Group(
            query_id=f"{name}{i}",
            query=f"{WORDS[i % 60]} {WORDS[i // 60]} {text(3)}",
            positives=passages("p", i, positives),
            negatives=passages("n", i, negatives),
            extra={"subset": "nq" if i % 2 else "fever"},
        )
        for i in range(count)
    ]


def texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]
