"""The README.md of a trained model: what it is and how it is used, from its manifest."""

from __future__ import annotations

from arhn.train.manifest import NAME, Manifest

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
