"""`arhn.train.json`, in the folder of a trained model: what was trained on what, and how. Written last: where it is,
the model is whole. docs/training.md lists its fields; fields are added, never renamed or removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arhn.errors import BadJson, FileMissing
from arhn.files.atomic import AtomicFile

NAME = "arhn.train.json"
SCHEMA = 1


class Source(BaseModel):
    """A file of groups or decisions. `sha256` is the file's own; None for what is no single file."""

    path: str | None = None
    sha256: str | None = None


class Data(BaseModel):
    """What was trained on. `content_sha256` is over everything that training takes from the groups, decisions
    included, whatever file and format they come in."""

    groups: Source
    decisions: Source | None = None
    content_sha256: str
    read: int
    used: int
    no_negatives: int
    contradicted_negatives: int
    rejected_rows: int = 0
    positives: int
    negatives: int
    filtered_passages: int
    #: Groups by the data set that they name, and how many name none.
    sets: dict[str, int]
    unnamed: int


class Renewal(BaseModel):
    """What mining and cleaning did in a refresh, counted; passages each once for each query.

    `new` of the `mined` negatives weren't negatives of their query just before. `asked` LLM calls were made, and
    `reused` answers known already (`requests` that had none `failed`).
    """

    retrievers: list[str]
    mined: int
    new: int
    relabelled: int
    filtered: int
    requests: int
    asked: int
    reused: int
    failed: int
    seconds: float


class Refresh(BaseModel):
    """Groups that took the place of the first ones, from the epoch `epoch` (the first is 0) on.

    `renewal` is None where they weren't made by `arhn.train.refresh.negatives`.
    """

    epoch: int
    groups: Source
    content_sha256: str
    used: int
    renewal: Renewal | None = None


class Logged(BaseModel):
    """One point of the loss curve: a mean over the steps since the point before."""

    step: int
    loss: float
    learning_rate: float


class Manifest(BaseModel):
    """The record of a training run."""

    model_config = ConfigDict(protected_namespaces=())

    # Called `schema` in the file, as in other records; pydantic has a method of that name.
    version: int = Field(default=SCHEMA, alias="schema")
    recipe: str
    #: Every setting, those that were changed included; and the changes alone.
    settings: dict[str, Any]
    changed: list[str]
    model: str
    data: Data
    refreshes: list[Refresh] = []
    steps: int
    epochs: int
    steps_per_epoch: int
    losses: list[Logged]
    device: str
    devices: int
    #: Of the process that finished the run, loading and saving included.
    seconds: float
    #: The step that the finishing process went on from; None where it did all of them.
    resumed_from: int | None = None
    versions: dict[str, str]

    @property
    def sets(self) -> list[str]:
        """The data sets that the training data names."""
        return list(self.data.sets)

    def write(self, folder: Path) -> None:
        """Put it into the folder of the model."""
        with AtomicFile(folder / NAME, overwrite=True) as file:
            content = self.model_dump(mode="json", by_alias=True)
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read(folder: str | Path) -> Manifest:
    """The manifest of a trained model.

    Raises:
        FileMissing: the folder holds none: no model of 'arhn train', or one that isn't finished.
        BadJson: what it holds is something else.
    """
    path = Path(folder) / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FileMissing(
            f"can't be read: {error.strerror}; it is there once 'arhn train' is done", path=str(path)
        ) from (error)
    except (ValidationError, ValueError) as error:
        raise BadJson("isn't the record of a training run", path=str(path)) from error


_RETRIEVER = """
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/of/this/folder")
queries = model.encode_query(["..."])        # prompt: {query!r}
passages = model.encode_document(["..."])    # prompt: {document!r}; a title stands on a line of its own before the text
scores = model.similarity(queries, passages)
```
"""
_RERANKER = """
```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/of/this/folder")
scores = model.predict([("query", "passage"), ...])
```
"""


def card(record: Manifest) -> str:
    """The text, in Markdown. Prompts that the recipe leaves to the base model aren't known here and shown as such."""
    settings = record.settings
    prompts = {name: settings[f"{name}_prompt"] for name in ("query", "document")}
    shown = {name: "the base model's own" if prompt is None else prompt for name, prompt in prompts.items()}
    use = _RERANKER if settings["kind"] == "reranker" else _RETRIEVER.format(**shown)
    sets = ", ".join(f"{name} ({count:,})" for name, count in record.data.sets.items()) or "not named"
    tags = "cross-encoder" if settings["kind"] == "reranker" else "sentence-similarity"
    return f"""---
library_name: sentence-transformers
tags: [sentence-transformers, {tags}, arhn]
---
# {record.model}, trained by arhn

A {settings["kind"]} made by `arhn train --recipe {record.recipe}` from {record.model}: {record.data.used:,} groups,
{record.epochs} epochs, {record.steps:,} steps, seed {settings["seed"]}. Data sets: {sets}.
`{NAME}` holds every setting.
{use}"""
