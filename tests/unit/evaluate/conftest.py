from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.unit.evaluate import invented


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    pass


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has prompts of its own."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("torch").set_num_threads(1)
    folder = invented.static_model(tmp_path_factory.mktemp("models") / "tiny", prompts=invented.PROMPTS)
    gc.freeze()  # with these libraries loaded, each collection would be slow
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR folder."""
    return invented.beir(tmp_path / "words", **invented.parts())
