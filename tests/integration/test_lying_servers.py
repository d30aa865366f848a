"""Servers that answer what no server should: no label changes, nothing ends with a traceback, and it is said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from arhn import cli, formats
from arhn.engines import Completion, Message, Request, RequestFailed
from arhn.engines.openai.engine import OpenAIEngine, connect
from arhn.engines.openai.settings import Settings, Timeouts
from arhn.errors import ArhnError, EngineError, TooManyFailures
from tests.conftest import many, put_in
from tests.served import Served, hasten
from tests.serving import Asked, Reply, Server, chat, failed

QUICK = Timeouts(connect=5.0, answer=1.0, total=10.0, patience=5.0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


def ask(engine: OpenAIEngine, text: str) -> Completion | BaseException:
    async def one() -> Any:
        request = Request(messages=(Message("user", text),), max_tokens=9, alternatives=5)
        return (await asyncio.gather(engine.complete(request), return_exceptions=True))[0]

    return asyncio.run(one())  # type: ignore[no-any-return]


def with_first(logprob: str) -> bytes:
    """An answer with this log-probability, written as it stands."""
    answer = orjson.dumps(chat("Yes", first={"Yes": -0.5, "No": -0.75}))
    return answer.replace(b"-0.75", logprob.encode())


JSON = {"content-type": "application/json"}
LIES: dict[str, Reply] = {
    "garbage": Reply(body=bytes(range(256)) * 40, headers=JSON),
    "nothing": Reply(body=b"", headers=JSON),
    "half a JSON": Reply(body=b'{"choices": [{"message": {"con', headers=JSON),
    "deep": Reply(body=b'{"choices":' * 1000 + b"1" + b"}" * 1000, headers=JSON),
    "deeper": Reply(body=b"[" * 10**6, headers=JSON),
    "NaN": Reply(body=with_first("NaN"), headers=JSON),
    "positive": Reply(body=with_first("3.5"), headers=JSON),
    "huge": Reply(body=with_first("1e308"), headers=JSON),
    "digits": Reply(body=with_first("9" * 5000), headers=JSON),
    "a page": Reply(body=b"<!doctype html><p>Please log in</p>"),
    "a page as JSON": Reply(body=b"<html>Please log in</html>", headers=JSON),
    "chunks": Reply(body=b"zz\r\nno chunk\r\n", headers={**JSON, "transfer-encoding": "chunked"}),
    "closing": replace(Reply(body=chat("Yes")), fate="half"),
    "moved": Reply(status=302, headers={"location": "file:///etc/passwd"}),
    "teapot": Reply(status=418, body=b"\xff\xfe" * 1000),
    "a wrong length": Reply(body=b"", headers={"content-length": "-5"}),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_in_the_middle_is_a_failed_request(name: str) -> None:
    served = Served(script=lambda _: "fine")

    def handler(asked: Asked) -> Reply:
        return LIES[name] if "zebra" in str(asked.body) else served(asked)

    with Server(handler) as server:
        engine = connect(Settings(urls=(server.url,), timeouts=QUICK, attempts=2))
        lie, fine = ask(engine, "zebra"), ask(engine, "horse")
    assert isinstance(lie, RequestFailed), lie
    assert len(str(lie)) < 400
    assert isinstance(fine, Completion)


def _lie(name: str, _: Asked) -> Reply:
    return LIES[name]


def test_log_probabilities_that_can_not_be_are_not_asked_for() -> None:
    for name in ("positive", "huge"):
        with Server(partial(_lie, name)) as server:
            assert not connect(Settings(urls=(server.url,), timeouts=QUICK, model="m")).capabilities.logprobs


@pytest.mark.parametrize("name", sorted(LIES.keys() - {"positive", "huge"}))
def test_a_server_of_nothing_but_lies_is_refused(name: str) -> None:
    with Server(lambda _: LIES[name]) as server, pytest.raises(EngineError) as refused:
        connect(Settings(urls=(server.url,), timeouts=QUICK, model="m"))
    assert "Traceback" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_one_refused_prompt_is_a_failed_request(status: int) -> None:
    served = Served(script=lambda _: "fine")

    def handler(asked: Asked) -> Reply:
        return failed(status, "flagged") if "zebra" in str(asked.body) else served(asked)

    with Server(handler) as server:
        engine = connect(Settings(urls=(server.url,), timeouts=QUICK))
        # Also where it is the first that is asked.
        refused, fine = ask(engine, "zebra"), ask(engine, "horse")
        again = ask(engine, "zebra")
    assert isinstance(refused, RequestFailed)
    assert isinstance(fine, Completion)
    assert isinstance(again, RequestFailed)


def test_a_key_that_is_refused_from_now_on_ends_the_run() -> None:
    served, revoked = Served(script=lambda _: "fine"), False

    def handler(asked: Asked) -> Reply:
        return failed(401, "revoked") if revoked else served(asked)

    with Server(handler) as server:
        engine = connect(Settings(urls=(server.url,), timeouts=QUICK, attempts=2))
        assert isinstance(ask(engine, "horse"), Completion)
        revoked = True
        assert isinstance(ask(engine, "zebra"), EngineError)


@contextmanager
def endless() -> Iterator[str]:
    """A server whose answer to anything never ends."""
    loop = asyncio.new_event_loop()

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b" " * 65536)
                await writer.drain()
        except ConnectionError:
            pass

    server = loop.run_until_complete(asyncio.start_server(send, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def test_a_body_without_end_is_cut_off() -> None:
    with endless() as url, pytest.raises(ArhnError, match=r"MiB|within"):
        connect(Settings(urls=(url,), timeouts=QUICK, model="m"))


def cleaned(folder: Path, script: Callable[[Request], Completion | str], *more: str) -> tuple[int, int]:
    """The exit code of a run, and how many questions were asked."""
    with formats.GroupWriter(folder / "in.jsonl", "tevatron", overwrite=True) as writer:
        for group in many(6):
            writer.write(group)
    with Server(Served(script=script)) as server:
        words = ("clean", str(folder / "in.jsonl"), "-o", str(folder / "out.jsonl"), "--overwrite")
        engine = ("--engine", "openai", "--url", server.url, "--calibration", "none")
        code = cli.main([*words, *engine, *more])
        return code, sum("capital of France" not in str(a.body) for a in server.asked)


def test_answers_that_can_not_be_read_are_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(_: Request) -> Completion:
        return Completion(text="\x1b[31mH\u00e4?", first={"\x1b[31mH": -0.1, "x": -3.0})

    code, asked = cleaned(tmp_path, script)
    said = capsys.readouterr()
    assert code == TooManyFailures.exit_code, said.err
    assert "can't be read" in said.err
    assert r"\x1b[31mH" in said.err
    assert "\x1b" not in said.out + said.err
    assert (tmp_path / "out.jsonl").read_bytes()
    summary = orjson.loads((tmp_path / "out.summary.json").read_bytes())
    assert summary["unreadable"]["answers"] > 0
    assert set(summary["negatives"]["action"]) == {"keep"}
    # Another server is asked again; so is the same one after --forget.
    assert cleaned(tmp_path, script)[1] >= asked - 5
    store = str(tmp_path / "out.responses.sqlite")
    assert cli.main(["store", store, "--forget", "unreadable"]) == 0
    assert "unreadable answers deleted" in capsys.readouterr().out
    assert cleaned(tmp_path, script, *put_in("max_failures=1"))[0] == 0
