"""CTranslate2 with a tiny random model: conversion, log-probabilities, constraints, repetition, broken files."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ctranslate2")
pytest.importorskip("gguf")
pytest.importorskip("llguidance")

import numpy as np

from arhn import weights
from arhn.engines import Completion, Constraint, Matching, Message, OneOf, Permutation, Request, SpanOf
from arhn.engines.ctranslate2.conversion import find_converted, read_record
from arhn.engines.ctranslate2.engine import CTranslate2Engine
from arhn.engines.ctranslate2.gguf_file import GgufFile
from arhn.engines.ctranslate2.rotation import Rotation
from arhn.engines.ctranslate2.settings import Settings
from arhn.engines.ctranslate2.vocabulary import Vocabulary
from arhn.engines.probes import CONSTRAINTS, satisfies
from arhn.errors import DiskFull, EngineError, ModelCorrupt, OutputNotWritable
from tests.unit.engines.ctranslate2 import tiny

TEXT = "He said “No—never” in  1999. It cost €5 (five). Naïve café; rock'n'roll 日本語。"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def engine(model: Path, cache: Path) -> Iterator[CTranslate2Engine]:
    made = CTranslate2Engine(find_converted(model, cache_dir=cache), model="tiny", context=512, threads=2)
    yield made
    asyncio.run(made.aclose())


def ask(engine: CTranslate2Engine, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.complete(r) for r in requests)))

    return asyncio.run(all_of_them())


def about(
    text: str,
    constraint: Constraint | None = None,
    *,
    max_tokens: int = 40,
    alternatives: int = 0,
    temperature: float = 0.0,
    seed: int = 0,
) -> Request:
    return Request(
        messages=(Message("system", "Judge."), Message("user", text)),
        max_tokens=max_tokens,
        constraint=constraint,
        alternatives=alternatives,
        temperature=temperature,
        seed=seed,
    )


@pytest.mark.parametrize("size", [1, 7, 24, 64, 896])
def test_rotations_are_orthogonal_and_the_same_everywhere(size: int) -> None:
    rotation = Rotation(size)
    matrix = rotation.turn(np.eye(size, dtype=np.float32))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-5)
    rows = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
    np.testing.assert_allclose(rotation.turn(rows), rows @ matrix, atol=1e-4)
    np.testing.assert_allclose(rotation.turn_outputs(rows.T), matrix.T @ rows.T, atol=1e-4)


def test_a_header_is_read_as_the_library_reads_it(model: Path) -> None:
    import gguf

    ours, theirs = GgufFile(model), gguf.GGUFReader(str(model))
    for key, value in ours.metadata.items():
        assert value == theirs.fields[key].contents()
    assert ours.tensors == {tensor.name for tensor in theirs.tensors}
    for name, weight in tiny.tensors().items():
        np.testing.assert_array_equal(ours.tensor(name), weight)


def test_log_probabilities_are_the_models(engine: CTranslate2Engine) -> None:
    request = about("the hen", max_tokens=1, alternatives=40)
    [completion] = ask(engine, request)
    expected = tiny.forward(tiny.tensors(), list(engine.tokens(request)))
    assert completion.finish == "length"
    assert len(completion.first) > 15  # bytes that are no text alone are one of them
    assert list(completion.first.values()) == sorted(completion.first.values(), reverse=True)
    assert measure_error(engine, completion, expected) < 0.15


def measure_error(engine: CTranslate2Engine, completion: Completion, expected: Any) -> float:
    """How far log-probabilities are off: the root of the mean square."""
    texts = engine._vocabulary.read_each(range(len(expected)))
    off = [completion.first[t] - p for t, p in zip(texts, expected, strict=True) if t in completion.first and t != "�"]
    return math.sqrt(float(np.mean(np.square(off))))


def test_a_channel_that_is_larger_than_the_others_does_little_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the rotation is for: rounded without it, the other channels of the hidden state are nearly nothing."""
    path = tiny.write(tmp_path / "outlier.gguf", outlier=300.0)
    request = about("the hen", max_tokens=1, alternatives=40)
    errors = []
    for rotated in (True, False):
        if not rotated:
            monkeypatch.setattr(Rotation, "turn", lambda _, rows: rows)
        engine = CTranslate2Engine(find_converted(path, cache_dir=tmp_path / str(rotated)), model="m", threads=1)
        [completion] = ask(engine, request)
        asyncio.run(engine.aclose())
        expected = tiny.forward(tiny.tensors(outlier=300.0), list(engine.tokens(request)))
        errors.append(measure_error(engine, completion, expected))
    assert errors[0] < errors[1] / 3


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: type(c).__name__)
def test_what_the_model_would_never_write(engine: CTranslate2Engine, constraint: Constraint) -> None:
    [completion] = ask(engine, about("the hen", constraint, max_tokens=80))
    assert completion.finish == "stop"
    assert satisfies(constraint, completion.text)


@pytest.mark.parametrize("seed", range(3))
def test_snippets_are_verbatim_whatever_the_text(engine: CTranslate2Engine, seed: int) -> None:
    shown = " ".join(TEXT.split())
    constraint = SpanOf(shown, lead='Yes: "', close='"')
    [greedy, sampled] = ask(
        engine,
        about(f"What? {seed}", constraint, max_tokens=200),
        about("What?", constraint, max_tokens=200, temperature=1.0, seed=seed),
    )
    for completion in (greedy, sampled):
        assert completion.finish == "stop"
        assert completion.text.removeprefix('Yes: "').removesuffix('"') in shown


def test_the_answer_is_that_of_choosing_each_token_under_the_grammar(engine: CTranslate2Engine) -> None:
    """Token by token, each the likeliest that keeps the answer one of the choices: without the speculation."""
    choices = ("the hen", "then in", "in the pen", "her inn")
    [completion] = ask(engine, about("Which?", OneOf(choices)))
    prompt = list(engine.tokens(about("Which?")))
    texts = engine._vocabulary.read_each(range(len(engine._vocabulary.texts)))
    written = ""
    while written not in choices:
        expected = tiny.forward(tiny.tensors(), prompt)
        fitting = [i for i, t in enumerate(texts) if t and any(c.startswith(written + t) for c in choices)]
        best = max(fitting, key=lambda i: expected[i])
        prompt.append(best)
        written += texts[best]
    assert completion.text == written


def test_equal_requests_agree_to_the_byte_whatever_runs_beside_them(model: Path, cache: Path) -> None:
    requests = [about(f"the hen {i}" * (1 + i % 3), max_tokens=6, alternatives=40) for i in range(12)]
    answers = []
    for threads, order in ((1, requests), (3, requests), (2, requests[::-1])):
        engine = CTranslate2Engine(find_converted(model, cache_dir=cache), model="m", threads=threads)
        found = dict(zip(order, ask(engine, *order), strict=True))
        answers.append([(found[r].text, list(found[r].first.items())) for r in requests])
        asyncio.run(engine.aclose())
    assert answers[0] == answers[1] == answers[2]


def test_samples_differ_by_seed_and_repeat_with_it(engine: CTranslate2Engine) -> None:
    requests = [about("the hen", max_tokens=8, temperature=1.0, seed=seed) for seed in range(4)]
    first, again = ask(engine, *requests), ask(engine, *requests)
    assert [c.text for c in first] == [c.text for c in again]
    assert len({c.text for c in first}) == 4


def test_control_tokens_in_passages_stay_text(engine: CTranslate2Engine) -> None:
    inside = engine.tokens(about("<|im_end|>"))
    assert len(inside) == len(engine.tokens(about(""))) + len("<|im_end|>")


def test_what_does_not_fit_is_refused_not_cut(engine: CTranslate2Engine) -> None:
    [completion] = ask(engine, about("hen " * 400))
    assert completion.finish == "context"
    assert completion.prompt_tokens > 512


def test_what_prompts_share_is_computed_once_and_few_of_them_are_kept(engine: CTranslate2Engine) -> None:
    other = Request(messages=(Message("system", "Other."), Message("user", "a")), max_tokens=1)
    first, second = ask(engine, other)[0], ask(engine, other)[0]
    assert first.cached_tokens == 0
    assert 0 < second.cached_tokens < second.prompt_tokens
    many = [Request(messages=(Message("system", f"{i}"), Message("user", "a")), max_tokens=1) for i in range(40)]
    ask(engine, *many)
    assert len(engine._kept) <= 32


def test_a_conversion_is_made_once_and_again_where_it_is_damaged(model: Path, tmp_path: Path) -> None:
    folder = find_converted(model, cache_dir=tmp_path)
    sha256 = weights.identity(model, cache_dir=tmp_path).rpartition(":")[2]
    assert folder.name == f"{sha256}.int8-1"
    stamp = (folder / "model.bin").stat().st_mtime_ns
    assert find_converted(model, cache_dir=tmp_path) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == stamp
    whole = (folder / "model.bin").read_bytes()
    for damage in (whole[:1000], b""):
        (folder / "model.bin").write_bytes(damage)
        assert find_converted(model, cache_dir=tmp_path) == folder
        assert (folder / "model.bin").read_bytes() == whole
    (folder / "arhn.json").write_text("{")
    assert (find_converted(model, cache_dir=tmp_path) / "model.bin").read_bytes() == whole
    assert [p.name for p in folder.parent.iterdir() if ".part-" in p.name] == []


def _convert(model: Path, cache: Path) -> str:
    return str(find_converted(model, cache_dir=cache))


def test_processes_that_want_it_at_once_make_it_once(model: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_convert, [(model, tmp_path)] * 2)
    assert found[0] == found[1]
    assert read_record(Path(found[0]))["tokenizer.ggml.pre"] == "qwen2"


def test_what_a_killed_process_left_is_removed(model: Path, tmp_path: Path) -> None:
    folder = find_converted(model, cache_dir=tmp_path)
    left = folder.with_name(f"{folder.name}.part-x1")
    shutil.copytree(folder, left)
    shutil.rmtree(folder)
    find_converted(model, cache_dir=tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "llama"}, r"the architecture 'llama'.*--engine llamacpp"),
        ({"scaling": "yarn"}, r"'yarn' scaling of RoPE"),
        ({"split": "llama-bpe"}, "llama-bpe.*knows qwen2"),
        ({"template": ""}, "no chat template"),
    ],
)
def test_models_that_it_does_not_know(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = tiny.write(tmp_path / "m.gguf", **changed)
    with pytest.raises(EngineError, match=message):
        CTranslate2Engine(find_converted(path, cache_dir=tmp_path), model="m")


@pytest.mark.parametrize("length", [4, 20, 100, 3000, 20_000, -40])
def test_files_that_end_too_early(model: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(model.read_bytes()[:length])
    with pytest.raises(ModelCorrupt, match=r"short\.gguf"):
        find_converted(path, cache_dir=tmp_path)
    assert not list((tmp_path / "models").glob("*/*.part-*"))


@pytest.mark.parametrize("name", ["blk.1.ffn_down.weight", "output_norm.weight"])
def test_a_tensor_that_is_missing(tmp_path: Path, name: str) -> None:
    path = tiny.write(tmp_path / "m.gguf", change=lambda found: found.pop(name))
    with pytest.raises(ModelCorrupt, match=re.escape(name)):
        find_converted(path, cache_dir=tmp_path)


def test_garbage_behind_the_magic(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + os.urandom(5000))
    with pytest.raises(ModelCorrupt):
        find_converted(path, cache_dir=tmp_path)


def test_a_cache_that_cannot_hold_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(OutputNotWritable, match="ARHN_CACHE"):
        find_converted(model, cache_dir=tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(DiskFull, match="free"):
        find_converted(model, cache_dir=tmp_path / "other")


def test_a_converted_folder_with_the_wrong_bytes(model: Path, tmp_path: Path) -> None:
    folder = find_converted(model, cache_dir=tmp_path)
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(b"\xff" * len(content))
    with pytest.raises(EngineError, match="Remove the folder"):
        CTranslate2Engine(folder, model="m")


def test_text_is_split_as_the_file_says(model: Path) -> None:
    vocabulary = Vocabulary(GgufFile(model).metadata)
    assert vocabulary.count("the the") == 2 + 1  # "th", "e"… are no merges of this vocabulary
    assert vocabulary.read(vocabulary.make_prompt(about(TEXT))[1]).startswith(TEXT)


def test_settings_open_the_engine(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARHN_CACHE", str(cache))
    engine = Settings(model=str(model), threads=1, context=300).open()
    try:
        assert re.fullmatch(r"tiny\.gguf@sha256:[0-9a-f]{16} ctranslate2-1", engine.model)
        assert engine.capabilities.concurrency == 1
        assert engine.capabilities.context == 300
        [completion] = ask(engine, about("x", Matching("[ab]{3}")), about("x", Permutation(3)))[:1]  # type: ignore[arg-type]
        assert re.fullmatch("[ab]{3}", completion.text)
    finally:
        asyncio.run(engine.aclose())


def test_the_record_is_json_that_says_how_long_each_file_is(model: Path, cache: Path) -> None:
    folder = find_converted(model, cache_dir=cache)
    record = json.loads((folder / "arhn.json").read_text("utf-8"))
    assert record["sizes"]["model.bin"] == (folder / "model.bin").stat().st_size
