"""Models trained on the groups of an arm, and their evaluation.

A line of JSON is recorded for each model, so that a second run trains nothing again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from arhn.evaluate.job import evaluate
from arhn.evaluate.results import Results
from arhn.evaluate.retrievers import DenseRetriever
from arhn.evaluate.sources import Source, find_sources
from arhn.train import base_model, filtered_passages
from arhn.train.job import train
from arhn.train.preparation import Training, prepare
from arhn.train.recipe import Recipe, load
from bench.arms import Arm

#: Passages for each query in a run: enough for recall@100, and a tenth of the default.
DEPTH = 100
LEDGER = "models.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One model: its results, and the groups, positives and negatives that it was trained on."""

    results: Results
    counts: Mapping[str, int]

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Trained:
        return cls(results=Results.model_validate(line["results"], strict=False), counts=line["counts"])


@dataclass(kw_only=True)
class Lab:
    """Trains and evaluates models under equal conditions. `folders` are BEIR folders, the first of the data's domain.

    A model is identified by all that its training depends on: recipe, settings, seed, groups and what was filtered from
    them. Arms with the same groups share a model.
    """

    recipe: str
    settings: Sequence[str]
    model: str
    folders: Sequence[str]
    work: Path
    threads: int | None
    known: dict[str, Trained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.known = {line["key"]: Trained.read(line) for line in _read_lines(self.work / LEDGER)}

    @cached_property
    def sources(self) -> list[Source]:
        return find_sources(folders=self.folders)

    @cached_property
    def data(self) -> list[str]:
        """Hashes of the data sets."""
        opened = (source.check() for source in self.sources)
        return [found.data for found in opened if found is not None]

    @property
    def names(self) -> list[str]:
        """Of the data sets."""
        return [source.name for source in self.sources]

    def start(self) -> Trained:
        """The model that training begins with."""
        recipe = self._recipe
        settings = {key: value for key, value in recipe.learning_settings.items() if key != "seed"}
        key = self._key({"start": settings})
        if key not in self.known:
            with tempfile.TemporaryDirectory(dir=self.work) as folder, base_model.silence_libraries():
                place = Path(folder) / "model"
                base_model.load(recipe).save_pretrained(str(place), create_model_card=False)
                self._record(key, self._evaluate("start", place), {})
        return self.known[key]

    def train_arm(self, arm: Arm, seed: int) -> Trained:
        """The model of an arm and a seed."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            training = self._training(arm, seed, Path(folder))
            prepared = prepare(training)
            key = self._key(prepared.identity)
            if key not in self.known:
                started = time.monotonic()
                record = train(training, prepared=prepared)
                results = self._evaluate(f"{arm.name}-seed{seed}", Path(training.output))
                data = record.data
                self._record(
                    key, results, {"groups": data.used, "positives": data.positives, "negatives": data.negatives}
                )
                print(f"{arm.name}, seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        return self.known[key]

    @property
    def _recipe(self) -> Recipe:
        return load(self.recipe, self.settings).model_copy(update={"model": self.model, "revision": None})

    def _training(self, arm: Arm, seed: int, folder: Path) -> Training:
        decisions = folder / "decisions.jsonl"
        if arm.filtered:
            filtered_passages.write_decisions(decisions, arm.filtered)
        return Training(
            groups=arm.groups,
            recipe=self.recipe,
            output=folder / "model",
            settings=(*self.settings, f"seed={seed}", "save_steps=1000000"),
            model=self.model,
            decisions=decisions if arm.filtered else None,
            device="cpu",
            threads=self.threads,
        )

    def _evaluate(self, name: str, model: Path) -> Results:
        retriever = DenseRetriever(str(model), name=name, device="cpu", threads=self.threads)
        return evaluate(retriever, self.sources, model.parent / "results", depth=DEPTH)

    def _key(self, identity: Mapping[str, Any]) -> str:
        content = json.dumps([identity, self.data, DEPTH], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()

    def _record(self, key: str, results: Results, counts: Mapping[str, int]) -> None:
        line = {"key": key, "counts": dict(counts), "results": results.model_dump(mode="json")}
        with (self.work / LEDGER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.known[key] = Trained(results=results, counts=counts)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """What a ledger holds; a last line that a killed run left unfinished is cut off."""
    if not path.exists():
        return []
    whole = path.read_text("utf-8").rpartition("\n")[0]
    path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]
