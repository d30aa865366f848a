"""How a loaded model's tokenizer cuts, ends and fills up texts."""

from __future__ import annotations

from typing import Any

from arhn.errors import RecipeError
from arhn.libraries import library
from arhn.retrieval.embedder import find_max_tokens
from arhn.train.recipe import Recipe


def require_length(model: Any, recipe: Recipe) -> None:
    """Raises RecipeError: `max_length` is more than the model holds."""
    held = find_max_tokens(model)
    if held is not None and recipe.max_length is not None and recipe.max_length > held:
        raise RecipeError(
            f"max_length is {recipe.max_length}, but model {recipe.model!r} holds {held} tokens. Take "
            f"--set max_length={held}, or another model"
        )


def pad(model: Any) -> None:
    """Decoders often have no token to fill up with. Any will do, for it is masked."""
    tokenizer = model.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        model.transformers_model.config.pad_token_id = tokenizer.pad_token_id


def end(tokenizer: Any) -> None:
    """Texts end with the token for it, whose vector the last token's is then. Decoders' tokenizers leave it out; RLHN's
    script for decoders adds it too (`--append_eos_token`)."""
    last, bare = tokenizer.eos_token, tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    if last is None or ids[-len(bare) :] != bare:
        return
    first = tokenizer.convert_ids_to_tokens(ids[: -len(bare)])
    # One template for both ends: a second one, behind the tokenizer's own, would do nothing.
    tokenizer.backend_tokenizer.post_processor = library("tokenizers.processors", "train").TemplateProcessing(
        single=[*first, "$A", last],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in {*first, last}],
    )
