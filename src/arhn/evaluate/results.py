"""results.json: everything that an evaluation found, and what is needed to find it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from arhn.errors import BadJson, BadRow, DataError, FileMissing, UnknownFormat
from arhn.evaluate.measures import mean_of
from arhn.evaluate.sets import in_domain
from arhn.files.atomic import AtomicFile

RESULTS = "results.json"
FORMAT: Final = "arhn.results/1"

#: Packages whose version can change a number.
PACKAGES = ("bm25s", "numpy", "pytrec-eval-terrier", "sentence-transformers", "torch", "transformers")

_ADVICE = "Give a folder that 'arhn evaluate' wrote, or the results.json in it"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecord(_Record):
    """What was evaluated.

    `identity` is equal only where weights and settings are. `training_sets` are the names of the data sets that it
    was trained on, None where nobody says. `manifest` is the run manifest of its training, where there is one.
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
        """The seed of its training, where the manifest names one."""
        return self._trained.get("seed")

    @property
    def method(self) -> str | None:
        """Equal for models that were trained alike but for the seed; None where there is no manifest."""
        if self.manifest is None:
            return None
        settings = {key: value for key, value in self._trained.items() if key != "seed"}
        data = self.manifest.get("data", {}).get("content_sha256")
        # What a refresh mined hangs on the model, and so on the seed; whether there was one doesn't.
        refreshed = [refresh.get("epoch") for refresh in self.manifest.get("refreshes", [])]
        kept = [self.manifest.get("model"), settings, data, refreshed, self.prompts, self.max_length]
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def unnamed(self) -> int:
        """Groups of its training that name no data set, where the manifest says so."""
        return int((self.manifest or {}).get("data", {}).get("unnamed", 0))

    @property
    def _trained(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = (self.manifest or {}).get("settings", {})
        return settings


class Settings(_Record):
    """How runs were made and measured: passages a query, and whether a passage with the query's own id counts."""

    depth: int
    skip_identical: bool


class DatasetRecord(_Record):
    """One data set.

    `data` is a SHA-256 over queries, judgements and corpus, equal for equal content in whatever files; `source` says
    where it came from. `missing` are judged queries that the run lacks, `without_relevant` those without a relevant
    passage: both score 0. `identical_relevant` counts relevant passages that can't be found because they have the
    query's own id. `run` is the run file's name. `seconds` and `versions` are of the search; without them where the
    run was found and nothing told of its making.
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
        """Judged queries."""
        return len(next(iter(self.per_query.values())))


class Results(_Record):
    """All data sets that a model was evaluated on."""

    format: Literal["arhn.results/1"] = FORMAT
    model: ModelRecord
    settings: Settings
    datasets: tuple[DatasetRecord, ...]

    @property
    def average(self) -> dict[str, float]:
        """The mean over data sets, each counting the same."""
        return mean_of(d.means for d in self.datasets)

    @property
    def out_of_domain(self) -> tuple[str, ...] | None:
        """Names of the data sets that training didn't make known; None where nobody says what it was trained on."""
        trained = self.model.training_sets
        return None if trained is None else tuple(d.name for d in self.datasets if not in_domain(d.name, trained))

    @property
    def out_of_domain_average(self) -> dict[str, float] | None:
        """The mean over `out_of_domain`; None where that is unknown or empty."""
        names = self.out_of_domain
        return mean_of(d.means for d in self.datasets if d.name in names) if names else None

    def has(self, name: str) -> bool:
        """Whether there is a data set of that name."""
        return any(d.name == name for d in self.datasets)

    def dataset(self, name: str) -> DatasetRecord:
        """The data set of that name. Raises KeyError where there is none."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise KeyError(name)

    def with_dataset(self, dataset: DatasetRecord) -> Self:
        """These results and one more data set, in the place of an older one of its name."""
        names = [d.name for d in self.datasets]
        kept = list(self.datasets)
        if dataset.name in names:
            kept[names.index(dataset.name)] = dataset
        else:
            kept.append(dataset)
        return self.model_copy(update={"datasets": tuple(kept)})

    def write(self, folder: Path) -> None:
        """To `folder`/results.json, whole or not at all; what was there is replaced. Averages are written for readers.

        Raises:
            OutputNotWritable, DiskFull
        """
        content = self.model_dump(mode="json") | {
            "average": self.average,
            "out_of_domain": {"datasets": self.out_of_domain, "average": self.out_of_domain_average},
        }
        with AtomicFile(folder / RESULTS, overwrite=True) as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def read_results(path: str | os.PathLike[str]) -> Results:
    """Results from a folder of `arhn evaluate`, or its results.json.

    Raises:
        FileMissing: it isn't there.
        BadJson, UnknownFormat, BadRow: it isn't what `arhn evaluate` writes.
    """
    given = Path(path)
    file = given / RESULTS if given.is_dir() else given
    try:
        content = orjson.loads(file.read_bytes())
    except OSError as error:
        raise _advised(FileMissing(f"can't be read ({error.strerror})", path=str(file))) from error
    except orjson.JSONDecodeError as error:
        raise _advised(BadJson(f"not valid JSON ({error})", path=str(file))) from error
    if not (isinstance(content, dict) and content.get("format") == FORMAT):
        raise _advised(UnknownFormat(f"holds no results in the format {FORMAT}", path=str(file)))
    written = {key: value for key, value in content.items() if key not in ("average", "out_of_domain")}
    try:
        return _checked(Results.model_validate(written, strict=False), file)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _advised(BadRow(where, first["msg"], repr(first["input"])[:80], path=str(file))) from error


def _checked(results: Results, file: Path) -> Results:
    """Every measure has the same queries, or a comparison would compare nothing."""
    for dataset in results.datasets:
        queries = [values.keys() for values in dataset.per_query.values()]
        if not queries or not queries[0] or any(each != queries[0] for each in queries):
            where = f"datasets.{dataset.name}.per_query"
            raise _advised(BadRow(where, "the same queries for every measure", "others", path=str(file)))
    return results


def _advised(error: DataError) -> DataError:
    error.advice = _ADVICE
    return error
