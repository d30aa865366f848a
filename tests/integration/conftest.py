"""The real small model that several files ask: loaded once, and what all prompts share is computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from arhn import weights
from arhn.engines import Completion, Engine, Request
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.errors import ModelError
from tests.conftest import passage

FERRY = passage("ferry", "The Kettle Bridge was opened in 1931. It replaced a ferry that had run since the 1780s.")
PAINT = passage("paint", "The Kettle Bridge was painted green. Its lamps were lit by hand until the war.")
QUERY = "What did the Kettle Bridge replace?"


@pytest.fixture(scope="session")
def starter() -> Path:
    try:
        return weights.resolve("qwen2.5-coder-0.5b")
    except ModelError as error:
        pytest.fail(f"the starter model is needed: {error}")


@pytest.fixture(scope="package")
def llama(starter: Path) -> Iterator[LlamaCppEngine]:
    """Its slots keep what was computed last, so tests that ask the same kind of question stand together."""
    engine = LlamaCppEngine(starter, model=weights.identity(starter), slots=2, context=1024)
    yield engine
    asyncio.run(engine.aclose())


def ask(engine: Engine, *requests: Request) -> list[Completion]:
    """All at once."""

    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.complete(r) for r in requests)))

    return asyncio.run(all_of_them())
