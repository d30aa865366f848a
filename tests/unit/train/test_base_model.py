"""Models as a recipe wants them: how weights are held, how texts end and are filled up, how long they may be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import RecipeError
from arhn.train import base_model, recipe
from tests.unit.train import tiny

torch = pytest.importorskip("torch")
library = pytest.importorskip("sentence_transformers")
transformers: Any = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = ["<s>", "</s>", "<unk>", *tiny.WORDS]


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    """A plain decoder as the hub has them: weights in bfloat16, no token to fill up with, none at the end."""
    folder = tiny.language_model(tmp_path / "decoder", "Mistral")
    transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    for path in (*folder.glob("tokenizer*"), folder / "vocab.txt"):
        path.unlink()
    tokenizers: Any = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def loaded(folder: Path, *settings: str, name: str = "tiny") -> Any:
    return base_model.load(recipe.load(name, [f"model={str(folder)!r}", *settings]))


def types(model: Any, *, trained: bool) -> set[Any]:
    return {parameter.dtype for parameter in model.parameters() if parameter.requires_grad == trained}


def test_weights_that_are_trained_are_held_in_full_however_they_are_stored(decoder: Path) -> None:
    assert types(loaded(decoder, "pooling=last"), trained=True) == {torch.float32}
    assert types(loaded(decoder, "pooling=last", "dtype=bfloat16"), trained=True) == {torch.bfloat16}


def test_adapters_are_held_in_full_on_weights_as_they_are_stored(decoder: Path) -> None:
    pytest.importorskip("peft")
    model = loaded(decoder, "pooling=last", "lora.r=2")
    assert types(model, trained=True) == {torch.float32}
    assert types(model, trained=False) == {torch.bfloat16}
    model.encode(["w1 w2"])
    base_model.merge_adapters(model)
    assert types(model, trained=False) == {torch.bfloat16}


def test_a_last_token_is_the_one_that_ends_texts_and_stays_it(decoder: Path, tmp_path: Path) -> None:
    model = loaded(decoder, "pooling=last")
    model.max_seq_length = 4
    model.save(str(tmp_path / "saved"))
    for each in (model, library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")):
        found = each.tokenizer(["w1", "w1 w2 w3 w4 w5"], truncation=True, max_length=4)["input_ids"]
        shown = [[WORDS[i] for i in ids] for ids in found]
        assert shown == [["<s>", "w1", "</s>"], ["<s>", "w1", "w2", "</s>"]]


def test_a_mean_has_no_need_of_a_token_that_ends_texts(decoder: Path) -> None:
    assert loaded(decoder, "pooling=mean").tokenizer("w1")["input_ids"] == [0, WORDS.index("w1")]


def test_texts_that_end_with_a_token_of_their_own_are_left_as_they_are(tmp_path: Path) -> None:
    folder = tiny.language_model(tmp_path / "decoder", "Mistral")  # BERT's tokenizer: [SEP]
    before = transformers.AutoTokenizer.from_pretrained(folder)("w1 w2")["input_ids"]
    assert loaded(folder, "pooling=last").tokenizer("w1 w2")["input_ids"] == before


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_fills_a_batch_up_changes_no_vector(decoder: Path, side: str) -> None:
    model = loaded(decoder, "pooling=last")
    model.tokenizer.padding_side = side
    alone, beside = model.encode(["w1 w2"]), model.encode(["w1 w2", "w3 w4 w5 w6 w7 w8 w9"])
    assert torch.allclose(torch.tensor(alone[0]), torch.tensor(beside[0]), atol=1e-5)


def test_a_cross_encoder_of_a_decoder_can_be_filled_up_too(decoder: Path) -> None:
    model = loaded(decoder, name="reranker-tiny")
    assert len(model.predict([("w1", "w2 w3"), ("w1", "w2")])) == 2


@pytest.mark.parametrize(("architecture", "held"), [("Bert", 192), ("Roberta", 190)])
def test_a_length_that_a_model_can_not_hold(tmp_path: Path, architecture: str, held: int) -> None:
    folder = tiny.language_model(tmp_path / "model", architecture)
    model = loaded(folder, "pooling=mean", f"max_length={held}")
    model.encode(["w1 " * 200])
    with pytest.raises(RecipeError, match=f"holds {held} tokens. Take --set max_length={held}"):
        loaded(folder, "pooling=mean", f"max_length={held + 1}")


def test_rotary_positions_have_no_end(decoder: Path) -> None:
    loaded(decoder, "pooling=last", "max_length=200").encode(["w1 " * 300])


def test_a_static_model_is_one_for_the_other_recipes_too(retriever: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(retriever, tmp_path / "copy"))
    base_model.load(recipe.load("tiny-static", [f"model={str(folder)!r}"])).save(str(tmp_path / "static"))
    assert loaded(tmp_path / "static", "max_length=none").encode(["w1"]).shape == (1, 32)
