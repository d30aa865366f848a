from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.unit.train import tiny


@pytest.fixture(scope="session")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers of 32 dimensions over 68 words."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    folder = tiny.retriever(tmp_path_factory.mktemp("models") / "tiny")
    # Each run collects garbage, and with these libraries loaded that would be half of its time.
    gc.freeze()
    return folder
