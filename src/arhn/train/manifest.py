"""The manifest of a training run: `arhn.train.json` in the model's folder records what was trained on what, and how.

It is written last, so a folder that has it holds a complete model. docs/training.md lists its fields; fields may be
added, but are never renamed or removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arhn.errors import BadJson, FileMissing, describe_count
from arhn.files.atomic import AtomicFile

NAME = "arhn.train.json"
SCHEMA = 1


class InputFile(BaseModel):
    """Groups or decisions that were read. `sha256` is the file's hash; both are None for groups from memory."""

    path: str | None = None
    sha256: str | None = None


class Data(BaseModel):
    """The training data.

    `content_sha256` is a hash over all that training uses of groups and decisions; it is equal for equal content in any
    file and format. The counts are those of `arhn.train.groups.GroupCounts`.
    """

    groups: InputFile
    decisions: InputFile | None = None
    content_sha256: str
    read: int
    used: int
    no_negatives: int
    contradicted_negatives: int
    rejected_rows: int = 0
    positives: int
    negatives: int
    filtered_passages: int
    #: Groups by the data set they name, and the number of those that name none.
    sets: dict[str, int]
    unnamed: int


class RefreshCounts(BaseModel):
    """Counts of one refresh: its mining and cleaning. A passage counts once for each query.

    Of the `mined` negatives, `new` weren't negatives of their query just before. Of the `requests` to the LLM, `asked`
    were sent, `reused` were answered from the store, and `failed` got no answer.
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
    """Groups that replaced the previous ones from epoch `epoch` (from 0) on.

    `renewal` holds the counts of the refresh, None where other code than `arhn.train.refresh.negatives` made the
    groups.
    """

    epoch: int
    groups: InputFile
    content_sha256: str
    used: int
    renewal: RefreshCounts | None = None


class LossPoint(BaseModel):
    """One point of the loss curve: the mean loss over the steps since the previous point."""

    step: int
    loss: float
    learning_rate: float


class Manifest(BaseModel):
    """The record of a training run."""

    model_config = ConfigDict(protected_namespaces=())

    # Called `schema` in the file, as in other records, but pydantic has a method of that name.
    version: int = Field(default=SCHEMA, alias="schema")
    recipe: str
    #: All settings of the recipe after changes, and the changes alone.
    settings: dict[str, Any]
    changed: list[str]
    model: str
    data: Data
    refreshes: list[Refresh] = []
    steps: int
    epochs: int
    steps_per_epoch: int
    losses: list[LossPoint]
    device: str
    devices: int
    #: How long the process ran that finished the run, including loading and saving.
    seconds: float
    #: The step from which that process resumed the run; None if it did all steps.
    resumed_from: int | None = None
    versions: dict[str, str]

    @property
    def sets(self) -> list[str]:
        """The names of the data sets in the training data."""
        return list(self.data.sets)

    def write(self, folder: Path) -> None:
        """Write the manifest to the folder of the model, replacing an earlier one.

        Raises:
            OutputNotWritable, DiskFull: the file can't be written.
        """
        with AtomicFile(folder / NAME, overwrite=True) as file:
            content = self.model_dump(mode="json", by_alias=True)
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read(folder: str | Path) -> Manifest:
    """Read the manifest in a model's folder.

    Raises:
        FileMissing: there is none, because `arhn train` didn't make the model or hasn't finished it.
        BadJson: the file can't be parsed.
    """
    path = Path(folder) / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FileMissing(
            f"can't be read: {error.strerror}; 'arhn train' writes it when it is done", path=str(path)
        ) from error
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


def render_card(record: Manifest) -> str:
    """The model card of a trained model, in Markdown.

    Prompts that the recipe leaves to the base model aren't known here; the card says so.
    """
    settings = record.settings
    prompts = {name: settings[f"{name}_prompt"] for name in ("query", "document")}
    shown = {name: "the base model's own" if prompt is None else prompt for name, prompt in prompts.items()}
    use = _RERANKER if settings["kind"] == "reranker" else _RETRIEVER.format(**shown)
    sets = ", ".join(f"{name} ({count:,})" for name, count in record.data.sets.items()) or "not named"
    tags = "cross-encoder" if settings["kind"] == "reranker" else "sentence-similarity"
    counts = {"group": record.data.used, "epoch": record.epochs, "step": record.steps}
    size = ", ".join(describe_count(number, noun) for noun, number in counts.items())
    return f"""---
library_name: sentence-transformers
tags: [sentence-transformers, {tags}, arhn]
---
# {record.model}, trained by arhn

A {settings["kind"]} made by `arhn train --recipe {record.recipe}` from {record.model}: {size}, seed {settings["seed"]}.
Data sets: {sets}.
`{NAME}` holds every setting.
{use}"""
