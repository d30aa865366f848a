"""An engine that computes nothing: it counts what a real one would be asked, and gives assumed answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from arhn.cleaning.asking import find_current_query
from arhn.engines import Capabilities, Completion, OneOf, Request, RequestFailed
from arhn.estimate.assumptions import Assumed, find_written
from arhn.estimate.reuse import Reuse
from arhn.estimate.tokens import Tokenizer
from arhn.store import MemoryStore, StoredAnswers


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What asking takes: calls and tokens. `computed` is `prompt` without what an engine has computed before."""

    calls: float = 0.0
    prompt: float = 0.0
    computed: float = 0.0
    completion: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)})

    def times(self, factor: float) -> Cost:
        """As many times as much."""
        return Cost(**{f.name: getattr(self, f.name) * factor for f in fields(Cost)})


class CountingEngine:
    """Stands for the engine called `model`.

    `costs` holds what each query has taken so far, by its id; what the store answers never comes here.
    """

    def __init__(
        self, model: str, capabilities: Capabilities, *, tokenizer: Tokenizer, reuse: Reuse, assumed: Assumed
    ) -> None:
        self.model = model
        self.capabilities = capabilities
        self.costs: dict[str, Cost] = {}
        self._tokenizer = tokenizer
        self._reuse = reuse
        self._assumed = assumed

    async def complete(self, request: Request) -> Completion:
        """The assumed answer; what asking for it would take is added to `costs`."""
        prompt = await self._tokenizer.prompt(request)
        per = self._tokenizer.per
        tokens = round(len(prompt) / per)
        if tokens + request.max_tokens > self.capabilities.context:
            return Completion(text="", finish="context", prompt_tokens=tokens)
        cached = round(await self._reuse.cached(request, prompt) / per)
        answer = self._assumed.answer(request)
        cost = Cost(
            calls=1, prompt=tokens, computed=tokens - cached, completion=await self._count_written(answer, request)
        )
        query = find_current_query() or ""
        self.costs[query] = self.costs.get(query, Cost()) + cost
        return Completion(
            text=answer.text,
            finish=answer.finish,
            first=answer.first if request.alternatives and self.capabilities.logprobs else {},
            prompt_tokens=tokens,
            cached_tokens=cached,
            completion_tokens=round(cost.completion),
        )

    async def aclose(self) -> None:
        """Nothing is open."""
        return

    async def _count_written(self, answer: Completion, request: Request) -> float:
        """Tokens of an answer, with the one that ends it."""
        if request.constraint is None:
            return 1
        if isinstance(request.constraint, OneOf):
            return 2
        return await self._tokenizer.length(find_written(answer.text, request)) + 1


class Planned:
    """Stands for a server that isn't there yet: its name, and what it is expected to be able to do."""

    def __init__(self, model: str, capabilities: Capabilities) -> None:
        self.model = model
        self.capabilities = capabilities

    async def complete(self, request: Request) -> Completion:
        """Raises RequestFailed: it can't be asked."""
        raise RequestFailed(f"{self.model}: planned only, it can't be asked {request.messages[-1].content!r}")

    async def aclose(self) -> None:
        """Nothing is open."""
        return


class StartingStore:
    """A store that begins with the answers of earlier runs, and changes none of them."""

    def __init__(self, stored: StoredAnswers | None) -> None:
        self._stored = stored
        self._new = MemoryStore()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The answers among `keys`, by key: new ones first, then those of earlier runs."""
        found = self._new.get_many(keys)
        missing = [key for key in keys if key not in found]
        return {**found, **self._stored.get_many(missing)} if self._stored and missing else found

    def put(self, key: bytes, completion: Completion) -> None:
        """Hold an answer, in memory."""
        self._new.put(key, completion)
