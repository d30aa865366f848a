"""The `openai` engine against a local server: what it finds out, what it survives, what it refuses."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from arhn import clean_groups, cli, formats
from arhn.cleaning.config import CleanConfig
from arhn.engines import Completion, Message, Request, RequestFailed
from arhn.engines.fake import FakeEngine
from arhn.engines.openai.budget import Budget
from arhn.engines.openai.engine import OpenAIEngine, connect
from arhn.engines.openai.settings import Settings, Timeouts
from arhn.errors import (
    ArhnError,
    BudgetSpent,
    ContextTooShort,
    EngineError,
    KeyRefused,
    OtherApi,
    ServerGone,
    TooManyFailures,
    UnknownModel,
    UsageError,
)
from arhn.types import CleanedGroup
from tests.conftest import answer_by_marks, kind_of, many, put_in, shown, until
from tests.served import Faulty, Served, hasten
from tests.serving import Asked, Reply, Server, chat, failed

QUICK = Timeouts(connect=10.0, answer=10.0, total=30.0, patience=10.0)
#: For servers that don't answer.
SHORT = QUICK.model_copy(update={"answer": 0.4})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


def opened(*urls: str, **settings: Any) -> OpenAIEngine:
    budget = settings.pop("budget", None)
    return connect(Settings(**{"urls": urls, "timeouts": QUICK, **settings}), budget)


def ask(engine: OpenAIEngine, *texts: str, max_tokens: int = 9) -> list[Completion | BaseException]:
    async def all_of_them() -> list[Completion | BaseException]:
        requests = [Request(messages=(Message("user", text),), max_tokens=max_tokens) for text in texts]
        return await asyncio.gather(*map(engine.complete, requests), return_exceptions=True)

    return asyncio.run(all_of_them())


def echo(request: Request) -> str:
    return request.messages[-1].content.upper()


# --- What it finds out ----------------------------------------------------------------------------


def test_a_server_with_everything() -> None:
    with Server(Served()) as server:
        engine = opened(server.url)
    features = engine.features
    assert (features.way, features.top, features.continues, features.thinks) == ("structured_outputs", 20, True, False)
    assert features.kinds == {"SpanOf", "OneOf", "Permutation", "Matching"}
    assert engine.capabilities.logprobs
    assert engine.capabilities.constraints
    assert (engine.capabilities.context, engine.capabilities.concurrency) == (4096, 64)
    assert engine.model.startswith("m openai-1 constraints=structured_outputs(")
    assert "constraints by structured_outputs" in engine.described


def test_a_server_that_ignores_constraints_is_noticed() -> None:
    with Server(Served(constraints=False, owner="someone", continues=False)) as server:
        engine = opened(server.url, model="m")
    assert engine.features.way is None
    assert not engine.features.continues
    assert not engine.capabilities.constraints
    assert "no constraints" in engine.described


def test_log_probabilities_as_many_as_there_are() -> None:
    for top, expected in ((40, 40), (20, 20), (8, 5), (0, 0)):
        with Server(Served(top=top)) as server:
            engine = opened(server.url)
        assert engine.features.top == expected
        assert engine.capabilities.logprobs == bool(expected)


def test_a_model_that_thinks_is_kept_from_it_or_given_room() -> None:
    with Server(Served(thinks="unless switched off")) as server:
        engine = opened(server.url)
        assert (engine.features.quiet, engine.features.thinks) == ("template", False)
    with Server(Served(thinks="always", script=echo)) as server:
        engine = opened(server.url, thinking_tokens=300)
        assert (engine.features.thinks, engine.capabilities.logprobs) == (True, False)
        assert ask(engine, "hello", max_tokens=7) == [
            Completion(text="HELLO", prompt_tokens=0, cached_tokens=40, completion_tokens=0)
        ]
        assert server.asked[-1].body["max_tokens"] == 307


def test_fields_that_a_hosted_model_does_not_take() -> None:
    refuses = (
        "temperature",
        "seed",
        "max_tokens",
        "chat_template_kwargs",
        "structured_outputs",
        "continue_final_message",
    )
    with Server(Served(owner="hosted", refuses=refuses, listed={}, script=echo)) as server:
        engine = opened(server.url)
        assert ask(engine, "x")[0] == Completion(text="X", cached_tokens=40)
    features = engine.features
    assert (features.temperature, features.seed, features.limit) == (False, False, "max_completion_tokens")
    assert (features.way, features.quiet, features.continues) == (None, "", False)
    assert engine.capabilities.context == 4096


def test_probes_survive_a_server_with_faults() -> None:
    served = Served()
    with Server(Faulty(served, share=0.2)) as server:
        assert opened(server.url, timeouts=SHORT).features == probed(served)


def probed(served: Served) -> Any:
    with Server(served) as server:
        return opened(server.url).features


# --- What it refuses, quickly ---------------------------------------------------------------------


def refused(error: type[ArhnError], handler: Callable[[Asked], Reply], *says: str, **settings: Any) -> str:
    with Server(handler) as server, pytest.raises(error) as raised:
        opened(server.url, **settings)
    for words in says:
        assert words in str(raised.value)
    return str(raised.value)


def test_no_server_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerGone, match="no server there"):
        opened(f"http://127.0.0.1:{port}")
    with pytest.raises(ServerGone, match="no server there"):
        opened("http://nowhere.invalid:8000")


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arhn.engines.openai.listing.LOOK_SECONDS", 0.1)
    refused(ServerGone, lambda _: Reply(fate="stalled"), "no answer within 0.1 seconds")


def test_a_server_that_lists_its_models_and_answers_nothing() -> None:
    def handler(asked: Asked) -> Reply:
        return Served()(asked) if asked.method == "GET" else Reply(fate="stalled")

    refused(ServerGone, handler, "doesn't answer a simple question", timeouts=SHORT)


def test_a_model_that_is_not_there() -> None:
    refused(UnknownModel, Served(names=("a", "b")), "'c'", "It has: a, b", model="c")
    refused(UnknownModel, Served(names=("a", "b")), "which model?", "It has: a, b")
    refused(UnknownModel, Served(owner="hosted"), "doesn't have the model 'c'", model="c")


def test_ollama_tags_the_latest() -> None:
    with Server(Served(names=("q:latest", "q"), owner="library")) as server:
        assert opened(server.url, model="q").model.startswith("q openai")


SECRET = "sk-very-secret-123"


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:

    refused(KeyRefused, Served(key=SECRET), "it wants an API key", "engine.api_key_env")
    monkeypatch.setenv("SOME_KEY", "sk-another")
    said = refused(KeyRefused, Served(key=SECRET), "refused the API key of SOME_KEY", api_key_env="SOME_KEY")
    assert "sk-another" not in said
    monkeypatch.setenv("SOME_KEY", SECRET)
    with Server(Served(key=SECRET)) as server:
        engine = opened(server.url, api_key_env="SOME_KEY")
    assert SECRET not in repr(engine.report()) + engine.model + engine.described


def test_a_context_that_holds_no_question() -> None:
    refused(ContextTooShort, Served(listed={"max_model_len": 512}), "512 tokens of context")
    refused(ContextTooShort, Served(), "300 tokens", context=300)


def test_the_smaller_context_counts(caplog: pytest.LogCaptureFixture) -> None:
    with Server(Served()) as server:
        assert opened(server.url, context=2048).capabilities.context == 2048
        assert opened(server.url, context=9000).capabilities.context == 4096
    assert "longer passages are cut" in caplog.text


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<!doctype html><title>Sign in</title>"),
        Reply(status=404, body={"detail": "Not Found"}),
        Reply(status=301, headers={"location": "https://elsewhere"}),
        Reply(body={"ok": True}),
        Reply(body=b"[1, 2", headers={"content-type": "text/plain"}),
    ],
    ids=["page", "404", "moved", "json", "text"],
)
@pytest.mark.parametrize("model", ["", "m"])
def test_another_api(reply: Reply, model: str) -> None:
    says = ("web page",) if b"html" in bytes(reply.raw) else ()
    with Server(lambda _: reply) as server, pytest.raises(EngineError) as raised:
        opened(server.url, model=model)
    assert type(raised.value) in (OtherApi, UnknownModel, ServerGone)
    for words in (*says, server.url):
        assert words in str(raised.value)


def test_servers_that_answer_differently() -> None:
    with Server(Served()) as one, Server(Served(constraints=False)) as other, pytest.raises(EngineError) as raised:
        opened(one.url, other.url)
    assert "don't answer in the same way" in str(raised.value)


# --- What it survives -----------------------------------------------------------------------------


def test_context_refused_and_broken_requests() -> None:
    def script(request: Request) -> Completion | str:
        return Completion(text="", finish="refused") if "rude" in request.messages[-1].content else echo(request)

    with Server(Served(script=script, context=100)) as server:
        engine = opened(server.url, attempts=2)
        long, rude, fine = ask(engine, "x" * 500, "rude", "fine")
    assert isinstance(long, Completion)
    assert (long.finish, long.prompt_tokens) == ("context", 500)
    assert isinstance(rude, Completion)
    assert rude.finish == "refused"
    assert isinstance(fine, Completion)
    assert fine.text == "FINE"


def test_a_request_that_fails_for_good_says_why_and_how_often() -> None:
    served = Served(script=echo)

    def handler(asked: Asked) -> Reply:
        return failed(500, "poison") if "poison" in str(asked.body) else served(asked)

    with Server(handler) as server:
        engine = opened(server.url, attempts=3)
        poison, fine = ask(engine, "poison", "fine")
    assert isinstance(fine, Completion)
    assert str(poison) == "500: poison"
    assert getattr(poison, "attempts", 0) == 3
    assert engine.report()["servers"][server.url]["broken"] == 3


def test_retry_after_is_honoured_by_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    served, times = Served(script=echo), []

    def handler(asked: Asked) -> Reply:
        if "zebra" not in str(asked.body):
            return served(asked)
        times.append(asyncio.get_running_loop().time())
        return failed(429, "slow down", retry_after="0.5") if len(times) == 1 else served(asked)

    with Server(handler) as server:
        engine = opened(server.url, concurrency=1)
        assert all(isinstance(answer, Completion) for answer in ask(engine, "zebra 1", "zebra 2", "zebra 3"))
    assert times[1] - times[0] >= 0.5


def test_the_proxy_that_the_environment_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    served, paths = Served(script=echo), []

    def handler(asked: Asked) -> Reply:
        paths.append(asked.path)
        return served(replace(asked, path=asked.path.removeprefix("http://models.invalid:81")))

    with Server(handler) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        engine = opened("http://models.invalid:81/v1")
        [answer] = ask(engine, "zebra")
    assert isinstance(answer, Completion)
    assert answer.text == "ZEBRA"
    assert set(paths) == {"http://models.invalid:81/v1/models", "http://models.invalid:81/v1/chat/completions"}


def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda _: failed(407, "not you")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1").replace("//", "//user:hunter2@"))
        with pytest.raises(ServerGone, match="the proxy answered 407") as refused:
            opened("https://models.invalid/v1")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("proxy", ["socks5://h:1", "http://user:hunter2@proxy:99999", "user:hunter2@[bad", "http://"])
def test_what_is_no_http_proxy_is_refused(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(UsageError, match="variable https_proxy: expected the URL of an HTTP proxy") as refused:
        opened("https://models.invalid/v1")
    assert "hunter2" not in str(refused.value)


def test_a_server_that_repeats_the_key_where_it_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser quotes the line that it couldn't read."""
    monkeypatch.setenv("KEY", "sk-SECRET123456")
    served = Served(script=echo)

    def handler(asked: Asked) -> Reply:
        if "zebra" in str(asked.body):
            return Reply(headers={"authorization\x01": asked.headers["authorization"]})
        return served(asked)

    with Server(handler) as server:
        engine = opened(server.url, api_key_env="KEY", attempts=2)
        [error] = ask(engine, "zebra")
    assert isinstance(error, RequestFailed)
    assert "header" in str(error)
    assert "SECRET" not in str(error)


def test_no_more_at_once_than_allowed() -> None:
    served = Served(script=echo)
    with Server(lambda asked: replace(served(asked), delay=0.005)) as server:
        engine = opened(server.url, concurrency=5)
        ask(engine, *map(str, range(100)))
        assert server.most_open == 5


def test_all_servers_are_used_and_a_dead_one_is_left_out_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    served = Served(script=echo)

    def slowly(asked: Asked) -> Reply:
        return replace(served(asked), delay=0.02)

    with Server(slowly) as one, Server(slowly) as other:
        engine = opened(one.url, other.url, concurrency=4)

        async def scenario() -> None:
            requests = [Request(messages=(Message("user", f"n{i}"),), max_tokens=9) for i in range(240)]
            first = asyncio.gather(*map(engine.complete, requests[:120]))
            await asyncio.to_thread(until, lambda: len(other.asked) > 10)
            await asyncio.to_thread(other.stop)
            assert [a.text for a in await first] == [f"N{i}" for i in range(120)]
            await asyncio.to_thread(other.start)
            await asyncio.to_thread(until, lambda: f"{other.url} is back" in caplog.text)
            before = len(other.asked)
            assert [a.text for a in await asyncio.gather(*map(engine.complete, requests[120:]))][-1] == "N239"
            assert len(other.asked) > before + 10
            await engine.aclose()

        asyncio.run(scenario())
        counts = engine.report()["servers"]
    assert counts[one.url]["answered"] + counts[other.url]["answered"] == 240
    assert min(c["answered"] for c in counts.values()) > 10


def test_one_of_several_servers_may_come_later(caplog: pytest.LogCaptureFixture) -> None:
    served = Served(script=echo)
    with Server(served) as one, Server(served) as other:
        other.stop()
        engine = opened(one.url, other.url)
        assert "no server there" in caplog.text
        assert all(isinstance(a, Completion) for a in ask(engine, *map(str, range(20))))


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    with Server(Served(script=echo)) as server:
        engine = opened(server.url, timeouts=QUICK.model_copy(update={"patience": 0.2}))
        server.stop()
        answers = ask(engine, "a", "b")
        assert all(isinstance(answer, ServerGone) for answer in answers)
        assert "run the same command" in str(answers[0])
        server.start()
        assert isinstance(ask(engine, "a")[0], Completion)


def test_an_engine_that_answers_nothing_ends_the_run() -> None:
    served = Served(script=echo)

    def handler(asked: Asked) -> Reply:
        return failed(400, "no") if "zebra" in str(asked.body) else served(asked)

    with Server(handler) as server:
        engine = opened(server.url)
        answers = ask(engine, *(f"zebra {i}" for i in range(60)))
    assert any(isinstance(answer, EngineError) and "in a row" in str(answer) for answer in answers)


def test_a_budget_stops_when_what_is_in_flight_has_come() -> None:
    served = Served(script=lambda r: Completion(text="x", prompt_tokens=10, completion_tokens=5))
    with Server(lambda asked: replace(served(asked), delay=0.01)) as server:
        for budget in (Budget(calls=40), Budget(tokens=4000)):
            engine = opened(server.url, concurrency=8, budget=budget)
            answers = ask(engine, *(f"word {i}" for i in range(300)))
            done = [a for a in answers if isinstance(a, Completion)]
            assert 0 < len(done) < 300
            assert all(isinstance(a, Completion | BudgetSpent) for a in answers)
            assert len(done) == budget.used_calls
            assert budget.prompt + budget.completion == 15 * len(done) <= 4000
            assert budget.calls is None or len(done) == budget.calls


def test_what_is_open_is_closed_with_its_loop() -> None:
    with Server(Served(script=echo)) as server:
        engine = opened(server.url)
        for _ in range(2):
            assert isinstance(ask(engine, "a")[0], Completion)
        asyncio.run(engine.aclose())


# --- Cleaning -------------------------------------------------------------------------------------

GROUPS = 30
#: The LLM's own word decides: nothing is learnt from the first groups.
UNCALIBRATED = CleanConfig(calibrations=("none",))


def expected() -> list[CleanedGroup]:
    engine = FakeEngine(answer_by_marks)
    return list(clean_groups(many(GROUPS), engine, config=UNCALIBRATED))


@pytest.fixture(scope="module")
def unharmed() -> list[CleanedGroup]:
    return expected()


def test_wrong_ids_change_no_label() -> None:
    """A ranking of candidates that there aren't, verdicts on something else, snippets from elsewhere."""

    def script(request: Request) -> Completion | str:
        match kind_of(request):
            case "rank":
                return "7 > 99 > 1"
            case "snippet":
                return 'Yes, the answer is "words of another passage"'
        return answer_by_marks(request)

    with Server(Served(script=script)) as server:
        groups = list(clean_groups(many(6), opened(server.url), config=UNCALIBRATED))
    assert {d.action for g in groups for d in g.decisions} == {"keep"}


def test_without_constraints_and_log_probabilities(unharmed: list[CleanedGroup]) -> None:
    """Whole answers in free text, checked against the passage."""

    def script(request: Request) -> Completion | str:
        text = shown(request)
        if "Passage: " not in text:
            return "Order: 1 > 2"
        found = re.search(r"ANSWER\d*", text)
        return f'Yes, the answer is "{found[0]}"' if found else "No."

    with Server(Served(script=script, constraints=False, top=0, continues=False)) as server:
        engine = opened(server.url)
        groups = list(clean_groups(many(6), engine, config=CleanConfig(fullness=False, calibrations=("none",))))
    statuses = [[e.status for e in g.extractions] for g in groups]
    assert statuses == [[e.status for e in g.extractions] for g in unharmed[:6]]


# --- The command line -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    with formats.GroupWriter("train.jsonl", "tevatron") as writer:
        for group in many(GROUPS):
            writer.write(group)
    yield tmp_path
    logging.getLogger("arhn").setLevel(logging.NOTSET)


def command(server: Server, *more: str) -> tuple[str, ...]:
    word = () if "--method" in more else ("--calibration", "none")
    return ("clean", "train.jsonl", "-o", "out.jsonl", "--engine", "openai", "--url", server.url, *word, *more)


def test_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    with Server(Served(key=SECRET)) as server:
        code = cli.main(
            command(
                server, *put_in("engine.api_key_env=SOME_KEY", "budget.prompt_price=1", "budget.completion_price=2")
            )
        )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert cli.main(["inspect", "out.jsonl", "--query-id", "q1"]) == 0
    summary = orjson.loads(Path("out.summary.json").read_bytes())
    serving = summary["serving"]["model"]
    assert serving["constraints"]["way"] == "structured_outputs"
    assert serving["spent"]["money"] > 0
    assert serving["servers"] == {server.url: {"answered": summary_asked(summary)}}
    assert summary["files"]["failures"] is None
    assert not Path("out.failures.jsonl").exists()
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert SECRET.encode() not in written
    assert SECRET not in said.out + said.err


def summary_asked(summary: dict[str, Any]) -> int:
    return sum(stage["asked"] for stage in summary["llm"].values())


def test_failures_file_and_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served, poisoned = Served(), True

    def handler(asked: Asked) -> Reply:
        if poisoned and "passage 3 of group 3 holds" in str(asked.body["messages"][-1:] if asked.body else ""):
            return failed(500, "poison")
        return served(asked)

    with Server(handler) as server:
        code = cli.main(command(server, *put_in("engine.attempts=2", "max_failures=0.0001")))
        said = capsys.readouterr()
        assert code == TooManyFailures.exit_code, said.err
        assert "requests got no answer" in said.err
        rows = [orjson.loads(line) for line in Path("out.failures.jsonl").read_bytes().splitlines()]
        assert {row["query_id"] for row in rows} == {"q3"}
        assert "q3-n3" in {row["doc_id"] for row in rows}
        assert rows[0].items() >= {"reason": "500: poison", "attempts": 2}.items()
        assert len(Path("out.jsonl").read_bytes().splitlines()) == GROUPS
        # Few enough, where more are allowed; nothing but the failed ones is asked again.
        asked = len(server.asked)
        assert cli.main(command(server, "--overwrite", *put_in("engine.attempts=1", "max_failures=0.5"))) == 0
        poisoned = False
        assert cli.main(command(server, "--overwrite")) == 0
        assert not Path("out.failures.jsonl").exists()
        assert len([a for a in server.asked[asked:] if "group" in str(a.body)]) < 20
    summary = orjson.loads(Path("out.summary.json").read_bytes())
    assert 0 < summary_asked(summary) < 20


def test_a_spent_budget_is_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served()
    with Server(served) as server:
        assert cli.main(command(server, *put_in("budget.calls=100"))) == BudgetSpent.exit_code
        assert "100 of 100 calls" in capsys.readouterr().err
        assert not Path("out.jsonl").exists()
        assert cli.main(command(server)) == 0
    # Nothing that was paid for is asked again; probes are.
    work = {key: n for key, n in served.answered.items() if n == 1}
    assert len(work) > 300
    assert cli.main(["store", "out.responses.sqlite"]) == 0


HERE = ("--engine", "openai", "--url", "http://h")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--engine", "openai"), "Give it (--url)"),
        (("--url", "http://h"), "engine.urls (--url http://h): belongs to the engine openai, and this is llamacpp"),
        (
            (*HERE, *put_in("engine.slots=2")),
            "engine.slots (--set engine.slots=2): belongs to the engine llamacpp, and this",
        ),
        (("--engine", "openai", "--url", "h:1"), "expected an http or https URL"),
        ((*HERE, *put_in("triage=0.9", "small_model.urls=['http://h']")), "small_model.model"),
        (
            (*HERE, *put_in("budget.calls=much")),
            "budget.calls (--set budget.calls=much): found 'much', allowed: a whole",
        ),
        ((*HERE, *put_in("budget=much")), "budget (--set budget=much): found 'much', allowed: a table"),
        ((*HERE, *put_in("budget.money=3")), "needs prices"),
        ((*HERE, *put_in("engine.api_key_env=NO_SUCH_KEY")), "NO_SUCH_KEY"),
        (put_in("max_failures=2"), "max_failures (--set max_failures=2): found 2, allowed: a number from 0 to 1"),
        ((*HERE, *put_in("engine.body=[]")), "engine.body (--set engine.body=[]): found [], allowed: a table"),
    ],
)
def test_flags(flags: tuple[str, ...], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["clean", "train.jsonl", "-o", "out.jsonl", *flags])
    assert code in (2, KeyRefused.exit_code)
    assert says in capsys.readouterr().err
    assert not Path("out.jsonl").exists()


def test_two_models_on_two_servers(folder: Path) -> None:
    with Server(Served(names=("judge",))) as judge, Server(Served(names=("cheap",))) as cheap:
        flags = ("--method", "rlhn", "--model", "judge", "--small-model", "cheap")
        limits = put_in(f"small_model.urls=['{cheap.url}']", "budget.calls=10_000")
        assert cli.main(command(judge, *flags, *limits)) == 0
    summary = orjson.loads(Path("out.summary.json").read_bytes())
    assert summary["serving"].keys() == {"model", "flagger"}
    assert summary["llm"].keys() == {"flag", "judge"}


def test_a_web_page_in_the_middle_of_a_run_is_asked_again() -> None:
    served, pages = Served(script=echo), iter([True])

    def handler(asked: Asked) -> Reply:
        if "zebra" in str(asked.body) and next(pages, False):
            return Reply(body=b"<html>login</html>")
        return served(asked)

    with Server(handler) as server:
        assert isinstance(ask(opened(server.url), "zebra")[0], Completion)


def test_chat_helpers_are_themselves_sound() -> None:
    assert chat("x")["choices"][0]["message"]["content"] == "x"
