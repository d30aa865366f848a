"""results.json: the results of an evaluation, with all that is needed to repeat it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from arhn.errors import BadJson, BadRow, DataError, FileMissing, UnknownFormat
from arhn.evaluate.beir import in_domain
from arhn.evaluate.measures import average
from arhn.files.atomic import AtomicFile
from arhn.files.rows import shorten

RESULTS = "results.json"
FORMAT: Final = "arhn.results/1"

#: Packages whose version can change a number.
PACKAGES = ("bm25s", "numpy", "pytrec-eval-terrier", "sentence-transformers", "torch", "transformers")

_ADVICE = "Give a folder that 'arhn evaluate' wrote, or the results.json in it"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecord(_Record):
    """The model that was evaluated.

    `identity` is equal only for equal weights and settings. `training_sets` are the names of the data sets that it was
    trained on, None if unknown. `manifest` is the manifest of its training, if there is one.
    """

    name: str
    kind: Literal["dense", "bm25", "run"]
    identity: str
    prompts: Mapping[Literal["query", "document"], str | None] = {}
    max_length: int | None = None
    recipe: str | None = None
    training_sets: tuple[str, ...] | None = None
    manifest: Mapping[str, Any] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of its training, None if there is no manifest."""
        return self._training_settings.get("seed")

    @property
    def method(self) -> str | None:
        """A text that is equal for models whose training differed only in the seed; None if there is no manifest."""
        if self.manifest is None:
            return None
        settings = {key: value for key, value in self._training_settings.items() if key != "seed"}
        data = self.manifest.get("data", {}).get("content_sha256")
        # What a refresh mined depends on the model, and so on the seed; whether there was a refresh doesn't.
        refreshed = [refresh.get("epoch") for refresh in self.manifest.get("refreshes", [])]
        content = [self.manifest.get("model"), settings, data, refreshed, self.prompts, self.max_length]
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def unnamed(self) -> int:
        """The number of groups it was trained on that name no data set; 0 if there is no manifest."""
        return int((self.manifest or {}).get("data", {}).get("unnamed", 0))

    @property
    def _training_settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = (self.manifest or {}).get("settings", {})
        return settings


class Settings(_Record):
    """How runs were made and measured.

    `depth` is the number of passages for each query, `skip_identical` whether a passage with the query's own id is
    left out.
    """

    depth: int
    skip_identical: bool


class DatasetRecord(_Record):
    """The results on one data set.

    `data` is a SHA-256 over queries, judgements and corpus, equal for equal content in any files; `source` is where it
    came from. `missing` are judged queries that the run lacks, `without_relevant` those without a relevant passage;
    both score 0. `identical_relevant` counts relevant passages that can't be found because they have the query's own
    id. `run` is the name of the run file. `seconds` and `versions` describe the search; they are None and empty where
    an earlier run file was used and no results describe it.
    """

    name: str
    split: str
    source: str
    data: str
    passages: int
    missing: tuple[str, ...]
    without_relevant: tuple[str, ...]
    identical_relevant: int
    run: str
    seconds: float | None
    versions: Mapping[str, str]
    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]

    @property
    def queries(self) -> int:
        """The number of judged queries."""
        return len(next(iter(self.per_query.values())))


class Results(_Record):
    """The results of one model on all data sets."""

    format: Literal["arhn.results/1"] = FORMAT
    model: ModelRecord
    settings: Settings
    datasets: tuple[DatasetRecord, ...]

    @property
    def average(self) -> dict[str, float]:
        """The mean over data sets, each counting the same."""
        return average(d.means for d in self.datasets)

    @property
    def out_of_domain(self) -> tuple[str, ...] | None:
        """The names of the data sets out of the domain of its training; None if the training sets are unknown."""
        trained = self.model.training_sets
        return None if trained is None else tuple(d.name for d in self.datasets if not in_domain(d.name, trained))

    @property
    def out_of_domain_average(self) -> dict[str, float] | None:
        """The mean over `out_of_domain`; None if that is unknown or empty."""
        names = self.out_of_domain
        return average(d.means for d in self.datasets if d.name in names) if names else None

    def has(self, name: str) -> bool:
        """Whether there is a data set of that name."""
        return any(d.name == name for d in self.datasets)

    def dataset(self, name: str) -> DatasetRecord:
        """The data set of that name. Raises KeyError if there is none."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise KeyError(name)

    def with_dataset(self, dataset: DatasetRecord) -> Self:
        """These results with one more data set, which replaces an older one of its name."""
        names = [d.name for d in self.datasets]
        datasets = list(self.datasets)
        if dataset.name in names:
            datasets[names.index(dataset.name)] = dataset
        else:
            datasets.append(dataset)
        return self.model_copy(update={"datasets": tuple(datasets)})

    def write(self, folder: Path) -> None:
        """Write `folder`/results.json, completely or not at all, and replace what was there.

        The averages are written too, for people; `read_results` ignores them.

        Raises:
            OutputNotWritable, DiskFull: the file can't be written.
        """
        content = self.model_dump(mode="json") | {
            "average": self.average,
            "out_of_domain": {"datasets": self.out_of_domain, "average": self.out_of_domain_average},
        }
        with AtomicFile(folder / RESULTS, overwrite=True) as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def find_results(path: str | os.PathLike[str]) -> Path:
    """The results.json that a path names: itself, or the one in a folder of `arhn evaluate`."""
    given = Path(path)
    return given / RESULTS if given.is_dir() else given


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read the results in a folder of `arhn evaluate`, or in its results.json.

    Raises:
        FileMissing: the file can't be read.
        BadJson, UnknownFormat, BadRow: it isn't a file that `arhn evaluate` wrote.
    """
    file = find_results(path)
    try:
        content = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _with_advice(FileMissing(f"can't be read ({error.strerror})", path=str(file))) from error
    except orjson.JSONDecodeError as error:
        raise _with_advice(BadJson(f"not valid JSON ({error})", path=str(file))) from error
    if not (isinstance(content, dict) and content.get("format") == FORMAT):
        raise _with_advice(UnknownFormat(f"holds no results in the format {FORMAT}", path=str(file)))
    written = {key: value for key, value in content.items() if key not in ("average", "out_of_domain")}
    try:
        return _require_same_queries(Results.model_validate(written, strict=False), file)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _with_advice(BadRow(where, first["msg"], shorten(first["input"]), path=str(file))) from error


def _require_same_queries(results: Results, file: Path) -> Results:
    """Raise BadRow unless every measure has values for the same queries, which comparisons rely on."""
    for dataset in results.datasets:
        queries = [values.keys() for values in dataset.per_query.values()]
        if not queries or not queries[0] or any(each != queries[0] for each in queries):
            where = f"datasets.{dataset.name}.per_query"
            raise _with_advice(BadRow(where, "the same queries for every measure", "different ones", path=str(file)))
    return results


def _with_advice(error: DataError) -> DataError:
    error.advice = _ADVICE
    return error
