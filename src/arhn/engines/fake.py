"""A scripted engine for tests and benches: answers come from a function, at once or after a delay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from arhn.engines.protocol import Capabilities, Completion, Request

Script = Callable[[Request], Completion | str]


class FakeEngine:
    """Answers with `script(request)`; a plain string becomes a finished `Completion`.

    `asked` holds every request in the order it was answered. What `script` raises is raised to the caller,
    so engine failures can be scripted too. `delay` is in seconds.
    """

    def __init__(self, script: Script, *, model: str = "fake", delay: float = 0.0, keep: bool = True) -> None:
        self.model = model
        self.capabilities = Capabilities(constraints=True, logprobs=True, concurrency=64, context=4096)
        self.asked: list[Request] = []
        self._script = script
        self._delay = delay
        self._keep = keep

    async def complete(self, request: Request) -> Completion:
        """What the script answers."""
        if self._delay:
            await asyncio.sleep(self._delay)
        answer = self._script(request)
        if self._keep:
            self.asked.append(request)
        return Completion(text=answer) if isinstance(answer, str) else answer

    async def aclose(self) -> None:
        """Nothing is open."""
