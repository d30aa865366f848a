"""The special tokens of a model's tokenizer: the one that pads texts, and the one that ends them."""

from __future__ import annotations

from typing import Any

from arhn.libraries import library


def set_pad_token(model: Any) -> None:
    """Give a SentenceTransformer or CrossEncoder a padding token if it has none, as decoders often don't.

    Any token will do, because padding is masked.
    """
    tokenizer = model.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        model.transformers_model.config.pad_token_id = tokenizer.pad_token_id


def append_end_token(tokenizer: Any) -> None:
    """Make a tokenizer end every text with its end token, whose vector last-token pooling then takes.

    Decoders' tokenizers leave that token out; RLHN's training script for decoders adds it too (`--append_eos_token`).
    """
    last, bare = tokenizer.eos_token, tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    if last is None or ids[-len(bare) :] != bare:
        return
    first = tokenizer.convert_ids_to_tokens(ids[: -len(bare)])
    # One template for both ends: a second one after the tokenizer's own would have no effect.
    tokenizer.backend_tokenizer.post_processor = library("tokenizers.processors", "train").TemplateProcessing(
        single=[*first, "$A", last],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in {*first, last}],
    )
