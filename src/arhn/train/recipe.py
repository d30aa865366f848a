"""Recipes: all settings of a training run, as data. The recipes that come with arhn are `recipes/*.toml`.

This module imports nothing heavy, because evaluation reads prompts from recipes too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from arhn.errors import RecipeError

Kind = Literal["retriever", "reranker"]
Loss = Literal["contrastive", "bce", "lce", "lambda"]

#: Keys that change a run's speed, its log and its checkpoints, but not what it learns. A run may be resumed with other
#: values (although `mini_batch` changes the order in which dropout draws random numbers).
INCIDENTAL = frozenset(
    {"name", "description", "mini_batch", "gradient_checkpointing", "attention", "save_steps", "log_steps", "workers"}
)

_SUFFIX = ".toml"


class Lora(BaseModel):
    """Low-rank adapters, trained instead of the weights and merged into them at the end (Hu, arXiv 2106.09685)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    #: Names of the layers that get adapters; by default peft's choice for the architecture.
    targets: tuple[str, ...] | None = None


class Recipe(BaseModel):
    """How a model is trained. Unknown keys are an error; docs/training.md explains each key.

    One optimiser step takes a `batch` of queries. `contrast` of them, over all devices, are contrasted with each
    other's passages; if that is fewer than `batch`, gradients are accumulated. With `mini_batch`, that many texts are
    embedded at once and gradients are cached (GradCache, arXiv 2101.06983), so that memory doesn't grow with
    `contrast`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    #: The name of the recipe, which is its file's; not a key in the file.
    name: str = ""
    description: str = ""
    kind: Kind = "retriever"

    #: The model to start from: a folder or a name on the hub, with its commit.
    model: str
    revision: str | None = None
    #: `static`: a mean of token embeddings, initialised with those of `model` (retrievers only).
    architecture: Literal["transformer", "static"] = "transformer"
    #: How token vectors become one vector; a sentence-transformers model has its own pooling.
    pooling: Literal["mean", "cls", "last"] | None = None
    #: Tokens after which a text is cut, by default the model's own limit. For rerankers, query and passage together.
    max_length: Annotated[int, Field(ge=8)] | None = None
    #: Texts put before each query and passage, and saved with the model; by default the model's own.
    query_prompt: str | None = None
    document_prompt: str | None = None
    #: The type of the weights: by default float32, or under adapters the type they are stored in.
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    #: The implementation of attention; by default the library's choice.
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    lora: Lora | None = None

    #: `rotate`: one positive of a query in each epoch, in turn. `all`: up to `max_positives` of them at once.
    positives: Literal["rotate", "all"] = "rotate"
    max_positives: int = Field(default=8, ge=1)
    #: Hard negatives of a query in each epoch: in turn if there are more, and just these if there are fewer.
    negatives: int = Field(default=7, ge=0)
    #: Groups with fewer hard negatives are left out.
    min_negatives: int = Field(default=1, ge=0)

    loss: Loss = "contrastive"
    #: Cosines are divided by this (loss `contrastive`).
    temperature: float = Field(default=0.05, gt=0)

    epochs: int = Field(default=1, ge=1)
    batch: int = Field(ge=1)
    contrast: Annotated[int, Field(ge=1)] | None = None
    mini_batch: Annotated[int, Field(ge=1)] | None = None
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    #: The share of all steps in which the learning rate rises.
    warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    #: The precision of the arithmetic; `bf16` and `fp16` need a GPU.
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    gradient_checkpointing: bool = False
    seed: int = Field(default=42, ge=0, lt=2**32)

    #: Steps between checkpoints (by default an epoch) and between logged losses.
    save_steps: Annotated[int, Field(ge=1)] | None = None
    log_steps: int = Field(default=10, ge=1)
    #: Processes that prepare batches, besides the main process.
    workers: int = Field(default=0, ge=0)

    @property
    def contrasted(self) -> int:
        """The number of queries in one loss, over all devices."""
        return min(self.contrast or self.batch, self.batch)

    @property
    def accumulation(self) -> int:
        """The number of losses in one optimiser step."""
        return self.batch // self.contrasted

    @property
    def learning_settings(self) -> dict[str, Any]:
        """The settings that the trained weights depend on."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in INCIDENTAL}

    @model_validator(mode="after")
    def _require_fitting_settings(self) -> Self:
        if self.batch % self.contrasted:
            raise ValueError(f"batch ({self.batch}) isn't a multiple of contrast ({self.contrast})")
        if (self.kind == "retriever") != (self.loss == "contrastive"):
            raise ValueError(f"loss {self.loss!r} isn't one for a {self.kind}: {_LOSSES[self.kind]}")
        if self.kind == "retriever" and self.contrasted < 2 and not self.min_negatives:
            raise ValueError("one query a loss, without hard negatives, has nothing to be contrasted with")
        if self.architecture == "static":
            self._require_fitting_static()
        if self.kind == "reranker":
            self._require_fitting_reranker()
        return self

    def _require_fitting_reranker(self) -> None:
        given = {"pooling": self.pooling, "query_prompt": self.query_prompt, "document_prompt": self.document_prompt}
        if names := [name for name, value in given.items() if value]:
            raise ValueError(f"{', '.join(names)}: not for rerankers, which read query and passage together")

    def _require_fitting_static(self) -> None:
        given = {"mini_batch": self.mini_batch, "lora": self.lora, "max_length": self.max_length}
        if names := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{', '.join(names)}: not with architecture 'static'")
        if self.kind != "retriever":
            raise ValueError("architecture 'static' is for retrievers")


_LOSSES = {"retriever": "contrastive", "reranker": "bce, lce or lambda"}


def list_recipes() -> list[str]:
    """The names of the recipes that come with arhn."""
    folder = files("arhn.train").joinpath("recipes")
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def load(name_or_path: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """Load a recipe by its name, or from the path of a TOML file.

    Args:
        settings: changes to the recipe, `key=value` each: `lora.r=8` for a key in a table, `key=none` to remove a
            value. Values are parsed as TOML, or taken as text if they aren't TOML.

    Raises:
        RecipeError: there is no such recipe or file, it isn't TOML, or a key or its value isn't allowed.
    """
    name, content = _read_recipe(name_or_path)
    return parse(content, name, settings)


def parse(content: Mapping[str, Any], name: str, settings: Iterable[str] = ()) -> Recipe:
    """Make a recipe from its keys and values, and change `settings`. Raises RecipeError as `load` does."""
    table = {**content}
    for setting in settings:
        _set(table, setting, name)
    if "name" in table:
        raise RecipeError(f"recipe {name!r}: unknown key 'name': a recipe has the name of its file. {_list_keys()}")
    try:
        return Recipe.model_validate({**table, "name": name})
    except ValidationError as error:
        raise RecipeError(f"recipe {name!r}: {_explain(error)}") from None


def _read_recipe(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    given = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or given.endswith(_SUFFIX) or "/" in given
    try:
        if is_path:
            text = Path(given).read_text("utf-8")
        elif given in list_recipes():
            text = files("arhn.train").joinpath("recipes").joinpath(given + _SUFFIX).read_text("utf-8")
        else:
            raise RecipeError(f"recipe {given!r}: there is no such recipe.{_suggest(given, list_recipes())} {_HOW}")
        return Path(given).name.removesuffix(_SUFFIX), tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"recipe {given}: can't be read ({error.strerror or error}). {_HOW}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {given}: not TOML ({error}). Correct the file") from error


def _set(table: dict[str, Any], setting: str, name: str) -> None:
    key, equals, value = setting.partition("=")
    *tables, last = [part.strip() for part in key.split(".")]
    if not equals or not last or not all(tables):
        raise RecipeError(f"setting {setting!r}: expected KEY=VALUE, such as epochs=3. {_list_keys()}")
    if value.strip().casefold() == "none" and tables and not isinstance(table.get(tables[0]), dict):
        raise RecipeError(f"setting {setting!r}: recipe {name!r} has no {tables[0]}. Leave it out")
    inner = table
    for part in tables:
        found = inner.get(part)
        if found is not None and not isinstance(found, dict):
            raise RecipeError(f"setting {setting!r}: {part} of recipe {name!r} isn't a table")
        inner[part] = inner = {**(found or {})}
    if value.strip().casefold() == "none":
        inner.pop(last, None)
        if not tables and last not in Recipe.model_fields:
            raise RecipeError(f"recipe {name!r}: unknown key {last!r}.{_suggest(last, _recipe_keys())} {_list_keys()}")
        return
    inner[last] = _parse_value(value)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _explain(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        near = _suggest(where.rsplit(".", 1)[-1], _recipe_keys() if "." not in where else list(Lora.model_fields))
        return f"unknown key {where!r}.{near} {_list_keys('lora' if where.startswith('lora.') else '')}"
    if found["type"] == "missing":
        return f"{where} is missing. {_list_keys()}"
    if found["type"] == "value_error":
        return f"{found['ctx']['error']}. Change one of them, with --set KEY=VALUE or in the file"
    message = found["msg"][0].lower() + found["msg"][1:]
    return f"{where} is {found['input']!r}: {message}. Change it, with --set {where}=VALUE or in the file"


def _recipe_keys() -> list[str]:
    return [key for key in Recipe.model_fields if key != "name"]


def _list_keys(table: str = "") -> str:
    keys = list(Lora.model_fields) if table else _recipe_keys()
    return f"Keys{' of lora' if table else ''}: {', '.join(keys)}"


def _suggest(given: str, known: list[str]) -> str:
    close = get_close_matches(given.casefold(), known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


_HOW = f"Recipes: {', '.join(list_recipes())}; or give the path of a .toml file"
