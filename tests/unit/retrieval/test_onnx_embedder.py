"""Embeddings without PyTorch, by a tiny model made here; the named one where it is in the cache."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from arhn import weights
from arhn.errors import (
    DeviceMissing,
    IncompatibleVersions,
    MissingDependency,
    ModelCorrupt,
    ModelUnavailable,
    UsageError,
)
from arhn.retrieval.onnx_embedder import OnnxEmbedder
from arhn.retrieval.similarity import Similarity
from arhn.weights import EMBEDDING_MODELS
from tests.conftest import passage
from tests.unit.retrieval.tiny_onnx import make_file, make_graph, make_model, make_tokenizer, put

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

GRAPH, TOKENIZER = make_graph(), make_tokenizer()
TINY = make_model(GRAPH, TOKENIZER)
NAMED = "all-minilm-l6-v2-int8"


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weights, "EMBEDDING_MODELS", {"tiny": TINY})


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[Path, Path]:
    """The tiny model's files, in the cache."""
    return put(TINY, tmp_path / "cache", GRAPH, TOKENIZER)


def vectors(*texts: str) -> list[list[float]]:
    return [[round(float(x), 6) for x in vector] for vector in OnnxEmbedder(TINY).encode_documents(texts)]


# --- Vectors --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("files")
def test_a_vector_is_the_mean_over_tokens_at_unit_length() -> None:
    half = round(math.sqrt(0.5), 6)
    assert vectors("east", "east north", "east east north") == [
        [1.0, 0.0],
        [half, half],
        [round(2 / math.sqrt(5), 6), round(1 / math.sqrt(5), 6)],
    ]


@pytest.mark.usefixtures("files")
def test_texts_are_cut_at_the_tables_length_and_never_padded() -> None:
    # Six tokens, of which two are special; the tokenizer's own file says four, and would pad to them.
    assert vectors("east east east east north") == vectors("east")
    assert vectors("east east east north") != vectors("east")


@pytest.mark.usefixtures("files")
def test_a_text_without_a_known_word_has_a_zero_vector() -> None:
    assert vectors("", "unknown", "east west") == [[0.0, 0.0]] * 3


@pytest.mark.usefixtures("files")
def test_no_texts_give_no_vectors() -> None:
    assert OnnxEmbedder(TINY).encode_queries([]).shape == (0, 0)


@pytest.mark.usefixtures("files")
def test_vectors_are_float32_and_the_same_with_any_threads_and_neighbours() -> None:
    texts = ["east", "north west", "east north", "west"] * 5
    alone = [OnnxEmbedder(TINY).encode_queries([text])[0].tolist() for text in texts]
    for threads in (1, 3):
        together = OnnxEmbedder(TINY, threads=threads).encode_queries(texts)
        assert together.dtype == "float32"
        assert together.tolist() == alone


@pytest.mark.usefixtures("files")
def test_similarity_takes_the_name() -> None:
    found = Similarity("tiny").scores("east", [passage(text, text) for text in ("east", "north", "west", "")])
    assert found == (1.0, 0.0, -1.0, 0.0)
    assert Similarity("tiny").identity == OnnxEmbedder(TINY).identity


@pytest.mark.usefixtures("files")
def test_a_graph_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(ModelCorrupt, match="aren't numbers"):
        vectors("broken")


# --- The name beside scores -----------------------------------------------------------------------


def test_the_identity_follows_contents_and_use_and_fetches_nothing() -> None:
    identity = OnnxEmbedder(TINY).identity
    assert identity.startswith("tiny@sha256:")
    others = (
        replace(TINY, max_length=7),
        replace(TINY, graph=make_file("model.onnx", GRAPH + b"x")),
        replace(TINY, tokenizer=make_file("tokenizer.json", TOKENIZER + b" ")),
    )
    assert len({identity, *(OnnxEmbedder(other).identity for other in others)}) == 4
    assert OnnxEmbedder(replace(TINY, licence="other")).identity == identity


def test_the_identity_of_the_named_model_stays() -> None:
    # Calibrations hold it: it may change only where embeddings do.
    assert OnnxEmbedder(EMBEDDING_MODELS[NAMED]).identity == f"{NAMED}@sha256:047c67fdc7ad1500"


# --- What can go wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnxruntime", "tokenizers"])
def test_without_a_library_the_command_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=rf"{name} is needed .* pip install 'arhn\[onnx\]'"):
        Similarity("tiny")


def test_no_heavy_library_is_imported_for_the_identity_and_no_torch_for_scores() -> None:
    code = "import sys; from arhn.retrieval.similarity import Similarity; "
    code += f"Similarity({NAMED!r}).identity; "
    code += "print([name for name in ('onnxruntime', 'tokenizers', 'torch', 'numpy') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_another_device_is_refused(device: str) -> None:
    with pytest.raises(DeviceMissing, match=f"{device}.*runs on the CPU only"):
        Similarity("tiny", device=device)


@pytest.mark.usefixtures("files")
def test_the_cpu_may_be_named() -> None:
    assert Similarity("tiny", device="cpu").scores("east", [passage("d", "east")]) == (1.0,)


@pytest.mark.parametrize("setting", ["threads", "batch_size"])
def test_numbers_below_one_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=f"{setting}: expected at least 1, found 0"):
        Similarity("tiny", **{setting: 0})  # type: ignore[arg-type]


def test_offline_without_the_files_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model\.onnx of tiny can't be fetched") as caught:
        vectors("east")
    assert "HF_HUB_OFFLINE is set" in str(caught.value)
    assert f"to {tmp_path}" in str(caught.value)
    assert "give the path" not in str(caught.value)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_is_not_used(files: tuple[Path, Path], which: int, damage: str) -> None:
    content = files[which].read_bytes()
    files[which].write_bytes(content[:-10] if damage == "cut" else b"?" + content[1:])
    with pytest.raises(ModelCorrupt, match=r"the cached file was damaged: expected .* SHA-256"):
        vectors("east")
    assert not files[which].exists()


@pytest.mark.parametrize("broken", ["graph", "tokenizer"])
def test_what_the_libraries_cannot_load_says_how_to_update_them(broken: str, tmp_path: Path) -> None:
    contents = {"graph": GRAPH, "tokenizer": TOKENIZER, broken: b"\x08\x08not a model of any kind"}
    model = make_model(**contents)
    put(model, tmp_path / "cache", **contents)
    with pytest.raises(IncompatibleVersions, match="pip install -U onnxruntime tokenizers"):
        OnnxEmbedder(model).encode_queries(["east"])
