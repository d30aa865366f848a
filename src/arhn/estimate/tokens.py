"""What a request's prompt is in tokens, without computing anything from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from arhn.engines import Request, RequestFailed
from arhn.engines.protocol import split_lead
from arhn.estimate.reuse import Prompt

if TYPE_CHECKING:
    from arhn.engines.openai.engine import OpenAIEngine
    from arhn.engines.openai.settings import Key

#: Characters of a token where no tokenizer is at hand: arhn's prompts with English passages take 4.4 with Qwen2.5's.
CHARACTERS = 4.4
#: What a chat template puts around each message.
_TEMPLATE = "<|im_start|>{role}\n{content}<|im_end|>\n"

#: Of a request to a server: what makes the prompt.
_OF_PROMPTS = ("messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")


class Tokenizer(Protocol):
    """`per`: elements of a prompt in a token; 1 where they are tokens. `name`: for people."""

    name: str
    per: float

    async def prompt(self, request: Request) -> Prompt:
        """The prompt of a request, as a sequence of tokens or characters."""
        ...

    async def length(self, text: str) -> float:
        """Tokens of an answer."""
        ...


class Once:
    """A tokenizer that isn't asked the same prompt twice."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.name = tokenizer.name
        self.per = tokenizer.per
        self._tokenizer = tokenizer
        self._prompts: dict[Request, Prompt] = {}

    async def prompt(self, request: Request) -> Prompt:
        """The prompt of a request."""
        if request not in self._prompts:
            self._prompts[request] = await self._tokenizer.prompt(request)
        return self._prompts[request]

    async def length(self, text: str) -> float:
        """Tokens of an answer."""
        return await self._tokenizer.length(text)


class Characters:
    """No tokenizer: so many characters a token."""

    def __init__(self, per: float = CHARACTERS) -> None:
        self.per = per
        self.name = f"{per:g} characters a token"

    async def prompt(self, request: Request) -> Prompt:
        """The prompt of a request."""
        return (
            "".join(_TEMPLATE.format(role=m.role, content=m.content) for m in request.messages)
            + split_lead(request.constraint)[0]
        )

    async def length(self, text: str) -> float:
        """Tokens of an answer."""
        return len(text) / self.per


class Tokenizing(Protocol):
    """An engine in this process, as far as tokens go."""

    def tokens(self, request: Request) -> Prompt:
        """A request's prompt as it would be computed."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens a text is."""
        ...


class Gguf:
    """The tokenizer and chat template of a GGUF file."""

    per = 1.0
    name = "the model's own tokenizer"

    def __init__(self, engine: Tokenizing) -> None:
        self._engine = engine

    async def prompt(self, request: Request) -> Prompt:
        """The prompt of a request."""
        return self._engine.tokens(request)

    async def length(self, text: str) -> float:
        """Tokens of an answer."""
        return self._engine.count_tokens(text)


class Served:
    """A server's tokenizer, at `/tokenize` beside its `/v1`, as vLLM has it. Asked one prompt at a time.

    Args:
        engine: the first of its servers is asked; nothing is computed there.
    """

    per = 1.0
    name = "the server's tokenizer"

    def __init__(self, engine: OpenAIEngine, *, key: Key | None) -> None:
        import httpx

        from arhn.engines.openai.features import Encoder

        base = engine.servers[0].base
        self._url = base.copy_with(path=base.path.removesuffix("/").removesuffix("/v1") + "/tokenize")
        self._model = engine.served_model
        self._encoder = Encoder(self._model, engine.features, thinking_tokens=0, extra={})
        self._client = httpx.Client(headers=key.headers if key else None)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def works(self) -> bool:
        """Whether the server has such a thing."""
        try:
            return bool(self._tokens({"prompt": "one two"}))
        except RequestFailed:
            return False

    async def prompt(self, request: Request) -> Prompt:
        """The prompt of a request."""
        body = orjson.loads(self._encoder.encode(request).body)
        return self._tokens({name: body[name] for name in _OF_PROMPTS if name in body})

    async def length(self, text: str) -> float:
        """Tokens of an answer."""
        return len(self._tokens({"prompt": text, "add_special_tokens": False}))

    def _tokens(self, body: Mapping[str, Any]) -> Sequence[int]:
        import httpx

        try:
            answer = self._client.post(self._url, json={"model": self._model, **body})
            answer.raise_for_status()
            return tuple(answer.json()["tokens"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise RequestFailed(f"{self._url}: {error}") from error
