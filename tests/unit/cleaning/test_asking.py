"""Asking about less where a prompt doesn't fit."""

import asyncio
from collections.abc import Sequence

import pytest

from arhn.cleaning.asking import Asker, Fitted
from arhn.cleaning.stats import Failure, Stats
from arhn.engines import Completion, Message, Request, RequestFailed
from arhn.engines.fake import FakeEngine, Script
from arhn.store import MemoryStore

TOO_LONG = Completion(text="", finish="context", prompt_tokens=999)


def questions(shown: str) -> list[Request]:
    return [Request(messages=(Message("user", f"{kind} {shown}"),), max_tokens=1) for kind in ("a", "b")]


def room_for(length: int) -> Script:
    def script(request: Request) -> Completion | str:
        text = request.messages[-1].content
        # Only one of the two questions is too long, which is enough.
        return TOO_LONG if text.startswith("b") and len(text) > length + 2 else text.upper()

    return script


def fitted(
    engine: FakeEngine, shown: str, *, answers: Sequence[Completion | None] | None = None, stats: Stats | None = None
) -> Fitted[str]:
    asker = Asker(engine, MemoryStore(), stats or Stats())
    less = lambda text, refused: text[:-1] if len(text) > 1 and refused.prompt_tokens == 999 else None  # noqa: E731
    return asyncio.run(asker.ask_fitting("rank", shown, questions, less, answers=answers))


@pytest.mark.parametrize(("room", "shown"), [(9, "abcd"), (4, "abcd"), (3, "abc"), (1, "a")])
def test_less_is_shown_until_it_fits(room: int, shown: str) -> None:
    engine, stats = FakeEngine(room_for(room)), Stats()
    found = fitted(engine, "abcd", stats=stats)
    assert (found.shown, found.fits) == (shown, True)
    assert [a.text if a else None for a in found.answers] == [f"A {shown.upper()}", f"B {shown.upper()}"]
    tried = ["abcd"[:n] for n in range(4, len(shown) - 1, -1)]
    assert [r.messages[-1].content for r in engine.asked] == [f"{kind} {text}" for text in tried for kind in "ab"]
    assert stats.of("rank").too_long == len(tried) - 1


def test_what_never_fits_says_so() -> None:
    found = fitted(FakeEngine(room_for(0)), "abc")
    assert (found.shown, found.fits) == ("a", False)
    assert [a.finish if a else None for a in found.answers] == ["stop", "context"]


def test_what_was_asked_already_is_not_asked_again() -> None:
    engine = FakeEngine(room_for(2))
    found = fitted(engine, "abc", answers=[Completion(text="A ABC"), TOO_LONG])
    assert (found.shown, found.fits) == ("ab", True)
    assert len(engine.asked) == 2
    assert fitted(engine, "abc", answers=[Completion(text="x"), None]).shown == "abc"


def test_a_request_that_failed_is_no_reason_to_show_less() -> None:
    def script(_: Request) -> str:
        raise RequestFailed("gone")

    failures: list[Failure] = []
    asker = Asker(FakeEngine(script), MemoryStore(), Stats(), failures.append)
    found = asyncio.run(asker.ask_fitting("rank", "abc", questions, lambda text, _: text[:-1], doc_id="d"))
    assert (found.shown, found.answers, found.fits) == ("abc", [None, None], True)
    assert [f.doc_id for f in failures] == ["d", "d"]
