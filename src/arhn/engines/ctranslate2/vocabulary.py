"""Text to tokens and back, and requests to prompts, as a GGUF file's header says.

Of llama.cpp's ways to split text before byte pairs are merged, this knows Qwen2's (`qwen2`), and like llama.cpp it
leaves Unicode as it is. Tokens of control are read in the model's own template only: a passage that holds "<|im_end|>"
stays plain text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import tokenizers
from jinja2.sandbox import ImmutableSandboxedEnvironment

from arhn.engines.protocol import Message, Request, split_lead
from arhn.errors import EngineError

Tokens = tuple[int, ...]
#: Stands for the user's message while the model's chat template is applied.
_CONTENT = "ARHN-CONTENT-5d0c9b7e"
#: Kinds of token in a GGUF file. Control tokens are read in templates only, a user's own everywhere.
_CONTROL, _OWN = 3, 4
#: How text is split before pairs are merged, by its name in a GGUF file; as llama.cpp has it (src/llama-vocab.cpp).
_SPLITS = {
    "qwen2": r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
#: Names of tokens that end an answer, beside the one that the file names; as llama.cpp has them.
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>")


class Vocabulary:
    """A model's tokens.

    Args:
        metadata: the keys and values of a GGUF header.

    Raises:
        EngineError: its text is split in a way that isn't known here, or there is no chat template.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        kind, split = metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]
        if kind != "gpt2" or split not in _SPLITS:
            raise EngineError(
                f"This model's text is split by {kind!r}/{split!r}; the engine ctranslate2 knows "
                f"{', '.join(_SPLITS)}. Use --engine llamacpp for this model."
            )
        self.texts: list[str] = metadata["tokenizer.ggml.tokens"]
        kinds = metadata["tokenizer.ggml.token_type"]
        own = [token for token, kind in zip(self.texts, kinds, strict=True) if kind == _OWN]
        control = [token for token, kind in zip(self.texts, kinds, strict=True) if kind == _CONTROL]
        self._plain = _make_tokenizer(metadata, _SPLITS[split], own=own, control=())
        self._controlled = _make_tokenizer(metadata, _SPLITS[split], own=own, control=control)
        named = {token: number for number, token in enumerate(self.texts)}
        self.ends = frozenset({metadata["tokenizer.ggml.eos_token_id"], *(named[e] for e in _ENDS if e in control)})
        begin = metadata.get("tokenizer.ggml.bos_token_id")
        self._begin: Tokens = (begin,) if metadata.get("tokenizer.ggml.add_bos_token") and begin is not None else ()
        self._template = _compile_template(metadata, self.texts)
        self._frame = lru_cache(maxsize=64)(self._make_frame)

    def count(self, text: str) -> int:
        """How many tokens `text` is, on its own."""
        return len(self._plain.encode(text).ids)

    def read(self, tokens: Sequence[int]) -> str:
        """The text of an answer; tokens of control are none."""
        return str(self._controlled.decode(list(tokens), skip_special_tokens=True))

    def read_each(self, tokens: Sequence[int]) -> list[str]:
        """The text of each token, on its own."""
        return list(self._controlled.decode_batch([[token] for token in tokens], skip_special_tokens=False))

    def describe(self) -> str:
        """The tokenizer in the format of the library `tokenizers`, as JSON."""
        return str(self._controlled.to_str())

    def make_prompt(self, request: Request) -> tuple[Tokens, Tokens]:
        """A request's prompt in two parts: what it shares with others of its kind, and the rest."""
        before, after = self._frame(request.prefix)
        lead, _ = split_lead(request.constraint)
        return before, (*self._plain.encode(request.messages[-1].content).ids, *after, *self._plain.encode(lead).ids)

    def _make_frame(self, prefix: tuple[Message, ...]) -> tuple[Tokens, Tokens]:
        """The tokens before and after the user's message."""
        messages = [{"role": m.role, "content": m.content} for m in (*prefix, Message("user", _CONTENT))]
        before, _, after = self._template(messages).partition(_CONTENT)
        return (*self._begin, *self._controlled.encode(before).ids), tuple(self._controlled.encode(after).ids)


def _make_tokenizer(metadata: Mapping[str, Any], split: str, *, own: Sequence[str], control: Sequence[str]) -> Any:
    numbers = {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [tuple(pair.split(" ", 1)) for pair in metadata["tokenizer.ggml.merges"]]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(numbers, merges))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(split), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in own])
    made.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in control])
    return made


def _compile_template(metadata: Mapping[str, Any], texts: Sequence[str]) -> Any:
    """The model's chat template: a function from messages to text that ends where the answer begins."""
    source = metadata.get("tokenizer.chat_template")
    if not source:
        raise EngineError("This model's file holds no chat template. Use an instruction-tuned model.")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    template = environment.from_string(source)
    begin, end = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    names = {"bos_token": "" if begin is None else texts[begin], "eos_token": "" if end is None else texts[end]}

    # Reasoning models would think before they answer; templates that don't know the switch ignore it.
    def apply(messages: Sequence[Mapping[str, str]]) -> str:
        return str(template.render(messages=messages, add_generation_prompt=True, enable_thinking=False, **names))

    return apply


def _refuse(message: str) -> None:
    raise EngineError(f"This model's chat template refuses the messages: {message}")


__all__ = ["Tokens", "Vocabulary"]
