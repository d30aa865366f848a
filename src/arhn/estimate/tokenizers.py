"""Which tokenizer counts the prompts of an engine, and what of them it has computed before."""

from __future__ import annotations

from contextlib import ExitStack, closing

from arhn.engines import Engine
from arhn.engines.settings import EngineSettings
from arhn.estimate.estimate import Counting
from arhn.estimate.reuse import BlockReuse, PrefixReuse, SlotReuse
from arhn.estimate.tokens import CHARACTERS, Characters, Gguf, Served, Tokenizer

#: Tokens that vLLM keeps or drops together.
BLOCK = 16
_SLOTS = "what a prompt begins with like the one before it in its slot (llama.cpp)"
_PREFIXES = "what all prompts of a kind begin with (CTranslate2)"


def choose_counting(
    settings: EngineSettings, engine: Engine | None, characters: float | None, stack: ExitStack
) -> Counting:
    """How an engine's requests are counted.

    Args:
        settings: say which way (`EngineSettings.counted`).
        engine: the engine, as far as it could be opened.
        characters: characters of a token, in place of the server's tokenizer.
        stack: closes what is opened.
    """
    if settings.counted == "slots":
        from arhn.engines.llamacpp import LlamaCppEngine

        assert isinstance(engine, LlamaCppEngine)  # nosec B101 - narrows a type
        return Counting(tokenizer=Gguf(engine), reuse=lambda: SlotReuse(engine.unused_slots()), described=_SLOTS)
    if settings.counted == "prefixes":
        from arhn.engines.ctranslate2.engine import CTranslate2Engine

        assert isinstance(engine, CTranslate2Engine)
        return Counting(tokenizer=Gguf(engine), reuse=lambda: PrefixReuse(engine), described=_PREFIXES)
    served = _connect(settings, engine, stack) if characters is None and not settings.missing else None
    tokenizer = served or Characters(characters or CHARACTERS)
    return Counting(
        tokenizer=tokenizer,
        reuse=lambda: BlockReuse(round(BLOCK * tokenizer.per)),
        described=f"blocks of {BLOCK} tokens, never evicted (vLLM's automatic prefix caching)",
    )


def _connect(settings: EngineSettings, engine: Engine | None, stack: ExitStack) -> Tokenizer | None:
    """The server's own tokenizer; None where it doesn't have one."""
    if settings.counted != "server":
        return None
    from arhn.engines.openai.engine import OpenAIEngine
    from arhn.engines.openai.settings import Settings

    assert isinstance(settings, Settings)  # nosec B101 - narrows a type
    assert isinstance(engine, OpenAIEngine)  # nosec B101 - narrows a type
    served = stack.enter_context(closing(Served(engine, key=settings.key)))
    return served if served.works() else None


__all__ = ["choose_counting"]
