"""Settings of mining: which passages become negatives, and who finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from arhn.mine.rules import Settings as Rules

#: The retriever that isn't a model.
BM25 = "bm25"
_MOST = 2**31 - 1


class Bm25Settings(BaseModel):
    """BM25. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    k1: StrictFloat = Field(default=1.5, description="Saturation of the term frequency, from 0.")
    b: StrictFloat = Field(default=0.75, description="Share of the length normalisation, 0 to 1.")
    stemmer: str = Field(default="english", description="A language of PyStemmer; none for words as they are.")
    stopwords: str = Field(default="english", description="A language whose stop words are left out; none to keep all.")

    @property
    def options(self) -> dict[str, Any]:
        """What `arhn.retrieval.bm25.Bm25` takes."""
        return {name: None if value == "none" else value for name, value in self.model_dump().items()}


class ModelSettings(BaseModel):
    """How sentence-transformers models retrieve. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    query_prompt: str | None = Field(default=None, description="Text put before queries; the model's own unless given.")
    document_prompt: str | None = Field(
        default=None, description="Text put before passages; the model's own unless given."
    )
    max_length: StrictInt | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="Where texts are cut; where the model does unless given.",
        json_schema_extra={"unit": "tokens"},
    )
    dtype: str | None = Field(
        default=None, description="Type of the weights, such as bfloat16; as they are stored unless given."
    )
    device: str | None = Field(
        default=None, description="As PyTorch names it, such as cpu or cuda:1; the best there is unless given."
    )
    threads: StrictInt | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="CPU threads; PyTorch's choice unless given.",
        json_schema_extra={"unit": "threads"},
    )
    batch_size: StrictInt = Field(
        default=32, ge=1, le=_MOST, description="Texts encoded at once.", json_schema_extra={"unit": "texts"}
    )
    embeddings: Path | None = Field(
        default=None, description="A folder that keeps the embeddings of the corpus for the next time."
    )
    faiss_above: StrictInt = Field(
        default=1_000_000,
        ge=0,
        le=_MOST,
        description="Size of a corpus above which the search is approximate.",
        json_schema_extra={"unit": "passages"},
    )

    @property
    def loading(self) -> dict[str, Any]:
        """What `arhn.retrieval.embedder.Embedder` takes besides the model's name."""
        return self.model_dump(exclude={"embeddings", "faiss_above"})


class MiningSettings(Rules):
    """How negatives are mined. Unknown keys are refused.

    Raises:
        UsageError: the range is empty or holds fewer than `negatives`.
        pydantic.ValidationError: an unknown key, a value out of range, or one of a retriever that isn't used.
    """

    retrievers: tuple[str, ...] = Field(
        default=(BM25,),
        min_length=1,
        description="bm25, or folders or hub names of sentence-transformers models; several take turns.",
    )
    score_by: str | None = Field(
        default=None, description="The retriever whose scores count; the first model unless given, bm25 without one."
    )
    bm25: Bm25Settings = Field(default_factory=Bm25Settings, description="The retriever bm25.")
    models: ModelSettings = Field(default_factory=ModelSettings, description="Retrievers that are models.")

    @property
    def rules(self) -> Rules:
        """Which passages become negatives, for all retrievers."""
        return Rules(**{name: getattr(self, name) for name in Rules.model_fields})

    @property
    def names(self) -> tuple[str, ...]:
        """The retrievers, each once."""
        return tuple(dict.fromkeys(self.retrievers))

    @property
    def scorer(self) -> str:
        """The retriever whose scores count."""
        return self.score_by or next((name for name in self.names if name != BM25), BM25)

    @model_validator(mode="after")
    def _fits_the_retrievers(self) -> Self:
        listed = ", ".join(self.names)
        if self.scorer not in self.names:
            raise PydanticCustomError(
                "no_retriever",
                "score_by: {name} is none of the retrievers {listed}",
                {"name": repr(self.scorer), "listed": listed},
            )
        unused = {"bm25": BM25 not in self.names, "models": {*self.names} == {BM25}}
        for section, useless in unused.items():
            settings: BaseModel = getattr(self, section)
            changed = [
                name for name, field in type(settings).model_fields.items() if getattr(settings, name) != field.default
            ]
            if useless and changed:
                what = "bm25" if section == "bm25" else "a model"
                raise PydanticCustomError(
                    "without_effect",
                    "{key}: does nothing without {what} among the retrievers ({listed})",
                    {"key": f"{section}.{changed[0]}", "what": what, "listed": listed},
                )
        return self


__all__ = ["BM25", "Bm25Settings", "MiningSettings", "ModelSettings"]
