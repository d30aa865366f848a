"""Recipes: everything that decides what a training run does, as data. Those that come with arhn are `recipes/*.toml`.

Nothing heavy is imported here: evaluation reads prompts from recipes too.
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

#: Keys that change how fast a run is, what it says and what it leaves behind, but not what it learns. A run may be
#: resumed with others (up to the random numbers of dropout, which `mini_batch` deals out differently).
INCIDENTAL = frozenset(
    {"name", "description", "mini_batch", "gradient_checkpointing", "attention", "save_steps", "log_steps", "workers"}
)

_SUFFIX = ".toml"


class Lora(BaseModel):
    """Low-rank adapters instead of whole weights (Hu et al., arXiv 2106.09685); merged into the weights at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    #: Names of the layers that get adapters; peft's own choice for the architecture, unless given.
    targets: tuple[str, ...] | None = None


class Recipe(BaseModel):
    """How a model is trained. Unknown keys are refused; docs/training.md explains each.

    A `batch` of queries makes one optimiser step. `contrast` of them see each other's passages (over all devices);
    where that is fewer, gradients are accumulated. With `mini_batch`, that many texts are embedded at once and
    gradients are cached (GradCache, arXiv 2101.06983), so that memory doesn't grow with `contrast`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    #: Name of the recipe, its file's; not a key of the file.
    name: str = ""
    description: str = ""
    kind: Kind = "retriever"

    #: The model to start from: a folder or a name on the hub, with its commit.
    model: str
    revision: str | None = None
    #: `static`: a mean of token embeddings, which start as those of `model` (retrievers only).
    architecture: Literal["transformer", "static"] = "transformer"
    #: How token vectors become one; where `model` is one of sentence-transformers, its own.
    pooling: Literal["mean", "cls", "last"] | None = None
    #: Tokens at which a text is cut; the model's own number, unless given. For rerankers, query and passage together.
    max_length: Annotated[int, Field(ge=8)] | None = None
    #: What stands before a query and a passage, and is saved with the model; the model's own, unless given.
    query_prompt: str | None = None
    document_prompt: str | None = None
    #: How weights are held: float32 unless given, under adapters as they are stored. Which implementation of attention
    #: is used: the library's choice unless given.
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    lora: Lora | None = None

    #: `rotate`: one positive of a query an epoch, in turn. `all`: up to `max_positives` of them at once.
    positives: Literal["rotate", "all"] = "rotate"
    max_positives: int = Field(default=8, ge=1)
    #: Hard negatives of a query an epoch, in turn where there are more; never filled up where there are fewer.
    negatives: int = Field(default=7, ge=0)
    #: Groups with fewer are left out.
    min_negatives: int = Field(default=1, ge=0)

    loss: Loss = "contrastive"
    #: Cosines are divided by it (`contrastive`).
    temperature: float = Field(default=0.05, gt=0)

    epochs: int = Field(default=1, ge=1)
    batch: int = Field(ge=1)
    contrast: Annotated[int, Field(ge=1)] | None = None
    mini_batch: Annotated[int, Field(ge=1)] | None = None
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    #: Share of all steps in which the learning rate rises.
    warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    #: Of the arithmetic; `bf16` and `fp16` need a GPU.
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    gradient_checkpointing: bool = False
    seed: int = Field(default=42, ge=0, lt=2**32)

    #: Steps between checkpoints (an epoch, unless given) and between logged losses; processes that make batches.
    save_steps: Annotated[int, Field(ge=1)] | None = None
    log_steps: int = Field(default=10, ge=1)
    workers: int = Field(default=0, ge=0)

    @property
    def contrasted(self) -> int:
        """Queries in one loss, over all devices."""
        return min(self.contrast or self.batch, self.batch)

    @property
    def accumulation(self) -> int:
        """Losses in one optimiser step."""
        return self.batch // self.contrasted

    @property
    def lasting(self) -> dict[str, Any]:
        """The settings that what is learned hangs on."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in INCIDENTAL}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch % self.contrasted:
            raise ValueError(f"batch ({self.batch}) isn't a multiple of contrast ({self.contrast})")
        if (self.kind == "retriever") != (self.loss == "contrastive"):
            raise ValueError(f"loss {self.loss!r} isn't one for a {self.kind}: {_LOSSES[self.kind]}")
        if self.kind == "retriever" and self.contrasted < 2 and not self.min_negatives:
            raise ValueError("a query alone, without hard negatives, has nothing to be contrasted with")
        if self.architecture == "static":
            self._fits_static()
        if self.kind == "reranker":
            self._fits_reranker()
        return self

    def _fits_reranker(self) -> None:
        given = {"pooling": self.pooling, "query_prompt": self.query_prompt, "document_prompt": self.document_prompt}
        if names := [name for name, value in given.items() if value]:
            raise ValueError(f"{', '.join(names)}: not for rerankers, which read query and passage together")

    def _fits_static(self) -> None:
        given = {"mini_batch": self.mini_batch, "lora": self.lora, "max_length": self.max_length}
        if names := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{', '.join(names)}: not with architecture 'static'")
        if self.kind != "retriever":
            raise ValueError("architecture 'static' is for retrievers")


_LOSSES = {"retriever": "contrastive", "reranker": "bce, lce or lambda"}


def names() -> list[str]:
    """The recipes that come with arhn."""
    folder = files("arhn.train").joinpath("recipes")
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def load(name_or_path: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """A recipe by name, or from the path of a TOML file.

    Args:
        settings: `key=value` each, which replace what the recipe says; `lora.r=8` for a key of a table, and
            `key=none` for no value. Values are read as TOML, and as text where they aren't any.

    Raises:
        RecipeError: no such recipe or file, not TOML, an unknown key, or a value that a key can't have.
    """
    name, content = _content(name_or_path)
    return parse(content, name, settings)


def parse(content: Mapping[str, Any], name: str, settings: Iterable[str] = ()) -> Recipe:
    """A recipe from its keys and values. Raises RecipeError as `load` does."""
    table = {**content}
    for setting in settings:
        _set(table, setting, name)
    if "name" in table:
        raise RecipeError(f"recipe {name!r}: unknown key 'name': a recipe is called as its file is. {_allowed()}")
    try:
        return Recipe.model_validate({**table, "name": name})
    except ValidationError as error:
        raise RecipeError(f"recipe {name!r}: {_explained(error)}") from None


def _content(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    given = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or given.endswith(_SUFFIX) or "/" in given
    try:
        if is_path:
            text = Path(given).read_text("utf-8")
        elif given in names():
            text = files("arhn.train").joinpath("recipes").joinpath(given + _SUFFIX).read_text("utf-8")
        else:
            raise RecipeError(f"recipe {given!r}: there is none of that name.{_near(given, names())} {_HOW}")
        return Path(given).name.removesuffix(_SUFFIX), tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"recipe {given}: can't be read ({error.strerror or error}). {_HOW}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {given}: not TOML ({error}). Correct the file") from error


def _set(table: dict[str, Any], setting: str, name: str) -> None:
    key, equals, value = setting.partition("=")
    *tables, last = [part.strip() for part in key.split(".")]
    if not equals or not last or not all(tables):
        raise RecipeError(f"setting {setting!r}: expected KEY=VALUE, such as epochs=3. {_allowed()}")
    if value.strip().casefold() == "none" and tables and not isinstance(table.get(tables[0]), dict):
        raise RecipeError(f"setting {setting!r}: recipe {name!r} has no {tables[0]}. Leave it out")
    inner = table
    for part in tables:
        found = inner.get(part)
        if found is not None and not isinstance(found, dict):
            raise RecipeError(f"setting {setting!r}: {part} of recipe {name!r} is no table")
        inner[part] = inner = {**(found or {})}
    if value.strip().casefold() == "none":
        inner.pop(last, None)
        if not tables and last not in Recipe.model_fields:
            raise RecipeError(f"recipe {name!r}: unknown key {last!r}.{_near(last, _keys())} {_allowed()}")
        return
    inner[last] = _value(value)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _explained(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        near = _near(where.rsplit(".", 1)[-1], _keys() if "." not in where else list(Lora.model_fields))
        return f"unknown key {where!r}.{near} {_allowed('lora' if where.startswith('lora.') else '')}"
    if found["type"] == "missing":
        return f"{where} is missing. {_allowed()}"
    if found["type"] == "value_error":
        return f"{found['ctx']['error']}. Change one of them, with --set KEY=VALUE or in the file"
    message = found["msg"][0].lower() + found["msg"][1:]
    return f"{where} is {found['input']!r}: {message}. Change it, with --set {where}=VALUE or in the file"


def _keys() -> list[str]:
    return [key for key in Recipe.model_fields if key != "name"]


def _allowed(table: str = "") -> str:
    keys = list(Lora.model_fields) if table else _keys()
    return f"Keys{' of lora' if table else ''}: {', '.join(keys)}"


def _near(given: str, known: list[str]) -> str:
    close = get_close_matches(given.casefold(), known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


_HOW = f"Recipes: {', '.join(names())}; or give the path of a .toml file"
