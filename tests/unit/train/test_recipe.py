"""Recipes: those that come with arhn, and what is said about those that don't fit."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import RecipeError
from arhn.train import recipe
from arhn.train.recipe import INCIDENTAL, Recipe, list_recipes, load, parse

NAMES = list_recipes()


def test_all_that_are_promised_are_there() -> None:
    promised = {
        "e5-base",
        "lg-anna",
        "qwen3-embedding",
        "modernbert",
        "tiny",
        "tiny-static",
        "reranker",
        "reranker-tiny",
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_and_says_what_it_is(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert found.description


def test_e5_base_is_the_papers() -> None:
    found = load("e5-base")
    assert found.model == "intfloat/e5-base-unsupervised"
    assert (found.query_prompt, found.document_prompt) == ("query: ", "passage: ")
    assert (found.pooling, found.temperature, found.max_length) == ("mean", 0.01, 350)
    assert (found.positives, found.negatives, found.learning_rate) == ("rotate", 7, 2e-5)
    assert (found.epochs, found.batch, found.accumulation) == (5, 2048, 4)


def test_settings_replace_what_the_recipe_says() -> None:
    found = load("tiny", ["epochs=7", "learning_rate=1e-3", "query_prompt=find: ", "lora.r=4", 'model="a/b"'])
    assert (found.epochs, found.learning_rate, found.query_prompt, found.model) == (7, 1e-3, "find:", "a/b")
    assert found.lora is not None
    assert (found.lora.r, found.lora.alpha) == (4, 32)
    assert load("tiny", ['query_prompt="find: "']).query_prompt == "find: "
    assert load("e5-base", ["mini_batch=none"]).mini_batch is None
    assert load("lg-anna", ["lora.r=8"]).lora == load("lg-anna").lora.model_copy(update={"r": 8})  # type: ignore[union-attr]


def test_a_smaller_batch_needs_no_other_contrast() -> None:
    found = load("e5-base", ["batch=64"])
    assert (found.contrasted, found.accumulation) == (64, 1)


def test_a_file_is_a_recipe_called_as_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('model = "m"\nbatch = 4\nlearning_rate = 1e-4\n', encoding="utf-8")
    assert load(str(path)) == load(path)
    assert load(path).name == "mine"
    assert load(path).epochs == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["learning_rat=1"], "unknown key 'learning_rat'. Did you mean learning_rate? Keys: description, kind,"),
        (["nonsense=none"], "unknown key 'nonsense'."),
        (["lora.rank=1"], "unknown key 'lora.rank'. Keys of lora: r, alpha, dropout, targets"),
        (["epochs=0"], "epochs is 0: input should be greater than or equal to 1"),
        (["epochs=many"], "epochs is 'many':"),
        (["epochs"], "setting 'epochs': expected KEY=VALUE"),
        (["=3"], "expected KEY=VALUE"),
        (["epochs.x=3"], "epochs of recipe 'tiny' isn't a table"),
        (["batch=10", "contrast=4"], "batch (10) isn't a multiple of contrast (4)"),
        (["loss=bce"], "loss 'bce' isn't one for a retriever: contrastive"),
        (["kind=reranker"], "loss 'contrastive' isn't one for a reranker: bce, lce or lambda"),
        (["batch=1", "min_negatives=0"], "has nothing to be contrasted with"),
        (["architecture=static"], "max_length: not with architecture 'static'"),
        (["lora.r=none"], "recipe 'tiny' has no lora. Leave it out"),
        (["kind=reranker", "loss=lce", "query_prompt=Q: "], "query_prompt: not for rerankers"),
        (["kind=oven"], "kind is 'oven': input should be 'retriever' or 'reranker'"),
        (["model=none"], "model is missing"),
        (["name=x"], "unknown key 'name'"),
    ],
)
def test_what_does_not_fit_is_said(settings: list[str], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("tiny", settings)
    assert str(caught.value).startswith(("recipe 'tiny': ", "setting '"))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given_name", "says"),
    [
        ("e5base", "there is no such recipe. Did you mean e5-base? Recipes: e5-base,"),
        ("nowhere.toml", "can't be read (No such file"),
        ("some/where", "can't be read"),
    ],
)
def test_an_unknown_recipe_is_named_with_those_there_are(given_name: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(given_name)
    assert says in str(caught.value)
    assert "Recipes: e5-base" in str(caught.value)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("model = ", encoding="utf-8")
    with pytest.raises(RecipeError, match="not TOML"):
        load(path)


def test_an_unknown_key_in_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('model = "m"\nbatch = 4\nlearning_rate = 1e-4\ntempreature = 1\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"unknown key 'tempreature'\. Did you mean temperature"):
        load(path)


def test_every_key_is_lasting_or_incidental() -> None:
    assert Recipe.model_fields.keys() >= INCIDENTAL
    assert set(load("tiny").learning_settings) == Recipe.model_fields.keys() - INCIDENTAL


@given(st.one_of(st.integers(0, 2**31), st.floats(1e-6, 1.0), st.booleans()))
def test_values_are_read_as_toml(value: float) -> None:
    written = str(value).lower() if isinstance(value, bool) else repr(value)
    assert recipe._parse_value(written) == value
    assert type(recipe._parse_value(written)) is type(value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_any_text_is_a_value_or_a_recipe_error(text: str) -> None:
    try:
        expected = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        expected = text.strip()
    try:
        found = parse({"model": "m", "batch": 4, "learning_rate": 1.0}, "r", [f"query_prompt={text}"])
    except RecipeError:
        assert not isinstance(expected, str)
    else:
        assert found.query_prompt == expected or (text.strip().casefold() == "none" and found.query_prompt is None)
