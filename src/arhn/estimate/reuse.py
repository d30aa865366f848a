"""How much of a prompt an engine has computed before. Pure, but for waiting for a slot.

A prompt is a sequence of tokens, or of characters where there is no tokenizer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Protocol

from arhn.engines import Request

Prompt = Sequence[Any]


class Reuse(Protocol):
    """Finds how much of each prompt was computed before; asked in the order of the requests."""

    async def cached(self, request: Request, prompt: Prompt) -> int:
        """How much of a request's `prompt` isn't computed again, in its own elements."""
        ...


class Slots(Protocol):
    """How llama.cpp's slots are handed out (engines/slots.py)."""

    async def acquire(self, request: Request) -> int:
        """A free slot for a request, waiting for one."""
        ...

    def release(self, slot: int) -> None:
        """Give a slot back."""
        ...


class SlotReuse:
    """llama.cpp: a slot holds its last prompt, and what the next one begins with likewise isn't computed again."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._held: dict[int, Prompt] = {}

    async def cached(self, request: Request, prompt: Prompt) -> int:
        """Elements at the beginning of the prompt that its slot holds."""
        slot = await self._slots.acquire(request)
        try:
            found = _same(self._held.get(slot, ()), prompt)
            self._held[slot] = prompt
            # An engine takes its time; the others queue up meanwhile.
            await asyncio.sleep(0)
        finally:
            self._slots.release(slot)
        return found


class Sharing(Protocol):
    """An engine that computes what prompts of a kind share once."""

    def count_shared(self, request: Request) -> int:
        """Tokens of that at the beginning of a request's prompt."""
        ...


class PrefixReuse:
    """CTranslate2: what prompts of a kind share is computed with the first of them, and held."""

    def __init__(self, engine: Sharing) -> None:
        self._engine = engine
        self._seen: set[tuple[Any, ...]] = set()

    async def cached(self, request: Request, prompt: Prompt) -> int:
        """Elements of the shared beginning, where it was computed before."""
        shared = tuple(prompt[: self._engine.count_shared(request)])
        known = shared in self._seen
        self._seen.add(shared)
        return len(shared) if known else 0


class BlockReuse:
    """vLLM's automatic prefix caching: whole blocks, found by everything up to their end; none is ever evicted.

    Args:
        block: elements of a block; 16 tokens unless vLLM is configured otherwise.
    """

    def __init__(self, block: int = 16) -> None:
        self._block = block
        self._seen: set[int] = set()

    async def cached(self, request: Request, prompt: Prompt) -> int:  # noqa: ARG002 - blocks are found by content
        """Elements of the whole blocks at the beginning of the prompt that were computed before."""
        ends = range(self._block, len(prompt) + 1, self._block)
        state, states = 0, []
        for end in ends:
            state = hash((state, tuple(prompt[end - self._block : end])))
            states.append(state)
        known = len(list(takewhile(self._seen.__contains__, states)))
        self._seen.update(states)
        # At least one token is computed, and with it its block.
        return min(known * self._block, (len(prompt) - 1) // self._block * self._block)


def _same(held: Prompt, prompt: Prompt) -> int:
    """Elements with which both begin; one at least is computed."""
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(held, prompt, strict=False))))
    return max(0, min(same, len(prompt) - 1))
