"""The `vllm` engine over a stand-in for vLLM: what it asks, how it reads answers, and how it fails and ends."""

from __future__ import annotations

import asyncio
import json
import logging.config
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from arhn.cli import main
from arhn.engines import ALTERNATIVES, Completion, Message, OneOf, Permutation, Request, RequestFailed, SpanOf
from arhn.engines.grammars import write_lark
from arhn.engines.protocol import FAILURES_IN_A_ROW
from arhn.engines.vllm import VLLMEngine
from arhn.engines.vllm.settings import Settings
from arhn.errors import ContextTooShort, EngineError, MissingDependency, ModelMissing, ModelUnavailable, UsageError
from arhn.weights.folders import folder_identity
from tests.conftest import put_in, until
from tests.standin_vllm import EngineDeadError, EngineGenerateError, Vllm, Written, install, obedient

ASK = Request(messages=(Message("system", "Be brief."), Message("user", "Who?")), max_tokens=8)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vllm:
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    for name in [n for n in os.environ if n.startswith("VLLM_")]:
        monkeypatch.delenv(name)
    return install(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


class Opened:
    """Engines of a test, closed at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engines: list[VLLMEngine] = []

    def __call__(self, **settings: Any) -> VLLMEngine:
        self.engines.append(VLLMEngine(Settings(**{"model": str(self.folder), **settings})))
        return self.engines[-1]


@pytest.fixture
def opened(vllm: Vllm, folder: Path) -> Iterator[Opened]:
    opened = Opened(folder)
    yield opened
    for engine in opened.engines:
        asyncio.run(engine.aclose())
    assert vllm.shut_down >= len(opened.engines)


def ask(engine: VLLMEngine, request: Request = ASK) -> Completion:
    return asyncio.run(engine.complete(request))


def always(written: Written | Exception, vllm: Vllm) -> None:
    """From now on the model writes this."""
    vllm.script = lambda prompt, sampling: written


def test_what_vllm_is_started_with(vllm: Vllm, opened: Opened, folder: Path) -> None:
    args = {"dtype": "float32", "quantization": "fp8", "pipeline_parallel_size": 2}
    engine = opened(tensor_parallel=4, gpu_memory=0.5, context=2048, concurrency=9, args=args)
    got = vllm.arguments
    assert (got["model"], got["tensor_parallel_size"], got["gpu_memory_utilization"]) == (str(folder), 4, 0.5)
    assert (got["max_model_len"], got["max_num_seqs"]) == (2048, 9)
    assert got["enable_prefix_caching"] is True
    assert got["structured_outputs_config"] == {"backend": "guidance"}
    assert (got["max_logprobs"], got["logprobs_mode"]) == (ALTERNATIVES, "raw_logprobs")
    assert (got["dtype"], got["quantization"], got["pipeline_parallel_size"]) == ("float32", "fp8", 2)
    able = engine.capabilities
    assert (able.constraints, able.logprobs, able.concurrency, able.context) == (True, True, 9, 2048)
    assert engine.report()["tensor_parallel"] == 4
    assert engine.report()["constraints"]["kinds"] == ["Matching", "OneOf", "Permutation", "SpanOf"]


def test_vllms_default_share_of_memory_stays(vllm: Vllm, opened: Opened) -> None:
    opened()
    assert vllm.arguments["gpu_memory_utilization"] == 0.92
    assert vllm.arguments["max_model_len"] == 4096


def test_identity_is_of_what_shapes_answers(vllm: Vllm, opened: Opened, folder: Path) -> None:
    one = opened().model
    assert one.startswith("tiny@sha256:")
    assert one.endswith("dtype=bfloat16 vllm-1 constraints=Matching,OneOf,Permutation,SpanOf quiet=template")
    assert opened(tensor_parallel=2, concurrency=3, args={"max_num_batched_tokens": 512}).model == one
    assert opened(args={"quantization": "fp8"}).model != one
    (folder / "README.md").write_text("what it is")
    assert opened().model == one
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert opened().model != one


def test_a_folders_identity_is_not_of_its_place(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "tiny"
    moved.parent.mkdir()
    cache = str(tmp_path / "hashes")
    known = folder_identity(folder, cache_dir=cache)
    folder.rename(moved)
    assert folder_identity(moved, cache_dir=cache) == known
    (moved / "chat_template.jinja").write_text("{{ messages }}")
    assert folder_identity(moved, cache_dir=cache) != known


def test_an_answer(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    first = (("Nobody", -9.5, 900), (" Anna", -0.5, 1), ("Anna", -1.5, 2), ("Ben", -3.25, 3), ("", -4.0, 41))
    always(Written("Anna.", "stop", first, cached=16), vllm)
    answer = ask(engine, Request(messages=ASK.messages, max_tokens=8, alternatives=40))
    assert (answer.text, answer.finish) == ("Anna.", "stop")
    # What was forced (rank 900) isn't one of the 40; "Anna" with a space and without are one.
    assert answer.first == {"Anna": pytest.approx(-0.18674, abs=1e-5), "Ben": -3.25}
    prompt, sampling = vllm.asked[-1]
    assert prompt == (
        "⟦<|im_start|>⟧system\nBe brief.⟦<|im_end|>⟧\n⟦<|im_start|>⟧user\nWho?⟦<|im_end|>⟧\n⟦<|im_start|>⟧assistant\n"
    )
    assert (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (42, 16, 5)
    assert (sampling.temperature, sampling.seed, sampling.max_tokens, sampling.logprobs) == (0.0, None, 8, 40)
    assert sampling.structured_outputs is None


def test_sampling_is_seeded(vllm: Vllm, opened: Opened) -> None:
    ask(opened(), Request(messages=ASK.messages, max_tokens=8, temperature=1.0, seed=3))
    sampling = vllm.asked[-1][1]
    assert (sampling.temperature, sampling.seed, sampling.logprobs) == (1.0, 3, None)


def test_a_cut_answer_says_so(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    always(Written("Ann", "length"), vllm)
    assert ask(engine).finish == "length"


def test_a_snippets_lead_is_read_not_written(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    always(Written('in May"'), vllm)
    span = SpanOf("It was in May 1931.", lead='Yes: "', close='"')
    answer = ask(engine, Request(messages=ASK.messages, max_tokens=8, constraint=span))
    assert answer.text == 'Yes: "in May"'
    prompt, sampling = vllm.asked[-1]
    assert prompt.endswith('⟦<|im_start|>⟧assistant\nYes: "')
    assert sampling.structured_outputs.grammar == write_lark(SpanOf(span.text, close='"'))


@pytest.mark.parametrize("constraint", [Permutation(3), OneOf(("a", "b")), SpanOf("x y", "No", "Yes: ")])
def test_other_constraints_are_sent_whole(vllm: Vllm, opened: Opened, constraint: Any) -> None:
    ask(opened(), Request(messages=ASK.messages, max_tokens=8, constraint=constraint))
    assert vllm.asked[-1][1].structured_outputs.grammar == write_lark(constraint)


def test_control_tokens_in_a_passage_are_text(vllm: Vllm, opened: Opened) -> None:
    ask(opened(), Request(messages=(Message("user", "a <|im_end|> <think>"),), max_tokens=8))
    assert vllm.asked[-1][0].startswith("⟦<|im_start|>⟧user\na <|im_end|> <think>⟦<|im_end|>⟧")


def test_what_does_not_fit_is_not_asked(vllm: Vllm, opened: Opened) -> None:
    engine = opened(context=1024)
    asked = len(vllm.asked)
    answer = ask(engine, Request(messages=(Message("user", "x" * 1010),), max_tokens=8))
    assert (answer.finish, answer.text) == ("context", "")
    assert answer.prompt_tokens > 1016
    assert len(vllm.asked) == asked


def test_a_model_that_thinks_is_given_a_thought_that_is_over(vllm: Vllm, opened: Opened) -> None:
    def thinker(prompt: str, sampling: Any) -> Written:
        return obedient(prompt, sampling) if prompt.endswith("⟦</think>⟧\n\n") else Written("<think>\nHm", "length")

    vllm.script = thinker
    engine = opened()
    assert engine.model.endswith("quiet=closed")
    assert engine.capabilities.logprobs
    assert ask(engine).text == "Paris."
    assert vllm.asked[-1][0].endswith("assistant\n⟦<think>⟧\n\n⟦</think>⟧\n\n")


def test_a_thought_that_the_template_begins_is_ended(vllm: Vllm, opened: Opened) -> None:
    vllm.thinks_in_template = True
    engine = opened()
    ask(engine)
    assert vllm.asked[-1][0].endswith("assistant\n⟦<think>⟧\n\n⟦</think>⟧\n\n")


def test_thoughts_that_cannot_be_helped_are_left_out(vllm: Vllm, opened: Opened) -> None:
    def thinker(prompt: str, sampling: Any) -> Written:
        grammar = sampling.structured_outputs
        return (
            obedient(prompt, sampling) if grammar else Written("<think>Hm.</think>\n\nAnna", "stop", (("<", -0.1, 1),))
        )

    vllm.script = thinker
    engine = opened(thinking_tokens=100)
    assert not engine.capabilities.logprobs
    answer = ask(engine, Request(messages=ASK.messages, max_tokens=8, alternatives=40))
    assert (answer.text, answer.first) == ("Anna", {})
    assert (vllm.asked[-1][1].max_tokens, vllm.asked[-1][1].logprobs) == (108, None)
    assert engine.report()["thinking"] == "on"


def test_constraints_that_are_not_kept_to_are_not_sent(vllm: Vllm, opened: Opened) -> None:
    def forgetful(prompt: str, sampling: Any) -> Written | Exception:
        grammar = sampling.structured_outputs and sampling.structured_outputs.grammar
        if grammar and "set_bit" in grammar:
            return ValueError("Grammar error: parametric rules are not supported")
        return Written("Paris.") if grammar and "substring_words" in grammar else obedient(prompt, sampling)

    vllm.script = forgetful
    engine = opened()
    assert engine.report()["constraints"]["kinds"] == ["Matching", "OneOf"]
    ask(engine, Request(messages=ASK.messages, max_tokens=8, constraint=Permutation(3)))
    assert vllm.asked[-1][1].structured_outputs is None
    vllm.script = lambda prompt, sampling: Written("Paris.")
    assert not opened().capabilities.constraints


def test_a_failed_request_is_one_request(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    failed = EngineGenerateError()
    failed.__cause__ = ValueError("a token that isn't one")
    always(failed, vllm)
    with pytest.raises(RequestFailed, match="ValueError: a token that isn't one"):
        ask(engine)
    always(Written("", "abort"), vllm)
    with pytest.raises(RequestFailed, match="'abort'"):
        ask(engine)
    always(Written("fine"), vllm)
    assert ask(engine).text == "fine"


def test_failures_in_a_row_end_it(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    always(EngineGenerateError("broken"), vllm)
    for _ in range(FAILURES_IN_A_ROW - 1):
        with pytest.raises(RequestFailed):
            ask(engine)
    with pytest.raises(EngineError, match="32 times in a row"):
        ask(engine)


def test_when_vllm_dies_it_says_why(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    always(EngineDeadError(), vllm)
    with pytest.raises(EngineError, match=r"died.*killed.*Every answer so far is kept"):
        ask(engine)
    vllm.error_log.write_text(
        "12:00:00 vLLM: something\nTraceback\nValueError: of an earlier request\n"
        "12:00:01 vLLM: EngineCore encountered a fatal error.\nTraceback (most recent call last):\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
        "12:00:02 vLLM: AsyncLLM output_handler failed.\nvllm.v1.engine.exceptions.EngineDeadError: EngineCore\n"
    )
    with pytest.raises(EngineError, match=r"OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"):
        ask(engine)


def test_it_outlives_the_loops_of_those_who_ask(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    ask(engine)
    ask(engine)

    async def opened_in_a_loop() -> str:
        other = opened()
        return (await other.complete(ASK)).text

    assert asyncio.run(opened_in_a_loop()) == "Paris."
    assert len(vllm.loops) == 2


async def in_work(engine: VLLMEngine, vllm: Vllm) -> asyncio.Task[Completion]:
    """A request that vLLM has started on."""
    before = len(vllm.asked)
    asked = asyncio.create_task(engine.complete(ASK))
    await asyncio.to_thread(until, lambda: len(vllm.asked) > before)
    return asked


def test_what_is_given_up_is_aborted(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    vllm.hold = True

    async def given_up() -> None:
        (await in_work(engine, vllm)).cancel()

    asyncio.run(given_up())
    asyncio.run(engine.aclose())
    assert vllm.aborted == 1


def test_closing_ends_what_runs(vllm: Vllm, opened: Opened) -> None:
    engine = opened()
    vllm.hold = True

    async def closed_meanwhile() -> None:
        asked = await in_work(engine, vllm)
        await engine.aclose()
        await asked

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(closed_meanwhile())
    with pytest.raises(EngineError, match="closed"):
        ask(engine)


def test_an_answerless_model_is_refused_and_ended(vllm: Vllm, folder: Path) -> None:
    always(EngineGenerateError("no"), vllm)
    with pytest.raises(EngineError, match="can't answer a simple question"):
        VLLMEngine(Settings(model=str(folder)))
    assert vllm.shut_down == 1


def test_the_environment_is_as_before(vllm: Vllm, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    opened()
    assert dict(os.environ) == before
    assert vllm.environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert vllm.environment["VLLM_NO_USAGE_STATS"] == "1"
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    opened()
    assert vllm.environment["VLLM_WORKER_MULTIPROC_METHOD"] == "fork"


def test_nothing_is_logged_to_standard_output(vllm: Vllm, opened: Opened, capfd: pytest.CaptureFixture[str]) -> None:
    opened()
    logging.config.dictConfig(json.loads(Path(vllm.environment["VLLM_LOGGING_CONFIG_PATH"]).read_text()))
    logger = logging.getLogger("vllm")
    try:
        logger.info("noise")
        logger.error("broken")
    finally:
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.rstrip().endswith("vLLM: broken")
    assert "broken" in vllm.error_log.read_text()


def refused(error: type[Exception], **settings: Any) -> str:
    with pytest.raises(error) as raised:
        VLLMEngine(Settings(**settings))
    return str(raised.value)


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ({"enforce_eagerly": True, "dtypes": "x"}, "enforce_eagerly"),
        ({"dtypes": "x"}, "Did you mean dtype?"),
        ({"max_model_len": 4096}, "setting of its own: engine.context"),
        ({"max_logprobs": 5}, "set by arhn"),
        ({"reasoning_parser": "qwen3"}, "set by arhn"),
        ({"_api_process_count": 2}, "no argument '_api_process_count'"),
    ],
)
def test_arguments_that_are_not_the_users(vllm: Vllm, folder: Path, args: dict[str, Any], shown: str) -> None:
    assert shown in refused(UsageError, model=str(folder), args=args)


def test_vllm_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert "pip install 'arhn[vllm]'" in refused(MissingDependency, model=str(folder))


@pytest.mark.parametrize("model", ["/no/such/folder", "./nothing", "~/nothing-here", "a/b/c"])
def test_a_folder_that_is_not_there(vllm: Vllm, model: str) -> None:
    assert "no such folder" in refused(ModelMissing, model=model)


def test_a_gguf_file(vllm: Vllm, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert "--engine llamacpp" in refused(ModelMissing, model=str(file))


class RepositoryNotFoundError(Exception):
    pass


class LocalEntryNotFoundError(Exception):
    pass


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_a_hub_that_does_not_have_it(vllm: Vllm) -> None:
    vllm.fails = caused(OSError("no"), RepositoryNotFoundError("404"))
    assert "no model that vLLM finds" in refused(ModelMissing, model="org/nothing")
    vllm.fails = ValueError("Value error, Invalid repository ID or local directory specified: 'x'.")
    assert "no model that vLLM finds" in refused(ModelMissing, model="x")
    vllm.fails = LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder")
    assert "can't be asked" in refused(ModelUnavailable, model="org/name")


def test_no_device(vllm: Vllm, folder: Path) -> None:
    vllm.fails = RuntimeError("Failed to infer device type, please set the environment variable")
    assert "no GPU" in refused(EngineError, model=str(folder))


def test_out_of_memory(vllm: Vllm, folder: Path) -> None:
    """The reason stands in the log of another process only."""
    vllm.fails = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    vllm.logs = (
        '12:00:00 vLLM: WorkerProc failed to start.\nTraceback (most recent call last):\n  File "x.py", line 1\n'
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
        "12:00:01 vLLM: EngineCore failed to start.\nException: WorkerProc initialization failed\n"
    )
    shown = refused(EngineError, model=str(folder))
    assert "not enough memory (OutOfMemoryError: CUDA out of memory" in shown
    assert "engine.gpu_memory" in shown
    vllm.logs = "12:00:00 vLLM: EngineCore failed to start.\nValueError: Model architectures ['X'] are not supported\n"
    assert "can't start (ValueError: Model architectures ['X']" in refused(EngineError, model=str(folder))


def test_contexts(vllm: Vllm, opened: Opened, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "1000 tokens" in refused(ContextTooShort, model=str(folder), context=1000)
    vllm.derived = 2048
    assert opened().capabilities.context == 2048
    assert "which is used" not in caplog.text
    assert opened(context=8192).capabilities.context == 2048
    assert "engine.context 8192: the model has 2048, which is used" in caplog.text
    vllm.derived = 512
    assert "512 tokens" in refused(ContextTooShort, model=str(folder))


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (put_in("engine.tensor_parallel=2"), "belongs to the engine vllm, and this is llamacpp"),
        (put_in("engine.concurrency=2"), "belongs to the engine openai and vllm, and this is llamacpp"),
        (["--engine", "vllm", "--url", "http://x"], "engine.urls (--url http://x): belongs to the engine openai, and"),
        (["--engine", "vllm"], "which model. Give it (--model)"),
    ],
)
def test_flags(
    vllm: Vllm, tmp_path: Path, flags: Sequence[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tmp_path / "groups.jsonl"
    groups.write_text(
        json.dumps(
            {
                "query_id": "q",
                "query": "who?",
                "positive_passages": [{"docid": "p", "text": "Anna did.", "title": ""}],
                "negative_passages": [{"docid": "n", "text": "Nobody knows.", "title": ""}],
            }
        )
    )
    assert main(["clean", str(groups), "-o", str(tmp_path / "out.jsonl"), *flags]) == UsageError.exit_code
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["gpu_memory=0", "gpu_memory=1.5", "args=[1]"])
def test_values_that_settings_refuse(setting: str) -> None:
    command = ["clean", "x.jsonl", "-o", "y.jsonl", "--engine", "vllm", "--model", "m", *put_in(f"engine.{setting}")]
    assert main(command) == UsageError.exit_code
