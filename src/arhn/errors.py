"""Every error a user can cause, each with an exit code of its own.

    ArhnError                       1
    ├── UsageError                  2    a flag or setting that doesn't fit
    ├── DataError                  10
    │   ├── FileMissing            11
    │   ├── UnknownFormat          12
    │   ├── MixedFormats           13
    │   ├── NotUtf8                14
    │   ├── BadJson                15    a truncated or malformed line, a broken Parquet or compressed file
    │   ├── BadRow                 16    a field is missing or has the wrong type
    │   │   └── InvalidGroup       16
    │   ├── DuplicateId            17
    │   └── CannotHold             18    the target format can't hold the group at all
    ├── OutputError                20
    │   ├── OutputExists           21
    │   ├── OutputNotWritable      22
    │   ├── DiskFull               23
    │   └── OutputLocked           24
    ├── ModelError                 30
    │   ├── ModelMissing           31
    │   ├── ModelCorrupt           32    wrong SHA-256 or size, or not a GGUF file
    │   ├── ModelUnavailable       33    neither hub nor mirror can be reached
    │   └── EngineError            34    the engine can't start or died
    │       ├── ServerGone         35    no server there, or none any more
    │       ├── KeyRefused         36    an API key is missing or refused, or the account is out of credit
    │       ├── UnknownModel       37    the server doesn't have the model
    │       ├── OtherApi           38    something answers, but not an OpenAI-compatible server
    │       └── ContextTooShort    39    the server's context doesn't hold a question
    ├── StoreError                 40
    │   ├── StoreVersion           41
    │   ├── StoreLocked            42
    │   └── StoreCorrupt           43
    ├── MissingDependency          50    an extra isn't installed
    ├── DeviceMissing              51    a GPU, or a precision, that isn't there
    ├── CalibrationError           60    labels that nothing can be fitted on, or a precision that can't be had
    ├── CollectionError            70    queries, corpus and qrels that don't fit each other (a DataError)
    │   ├── MissingPassages        71    qrels that name passages the corpus lacks
    │   ├── MissingQueries         72    qrels that name queries the queries lack
    │   ├── NoPositives            73    queries without a relevant passage
    │   └── EmptyCorpus            74    no passage, or no query, at all
    ├── EvaluationError            80
    │   ├── UnknownTask            81    no such data set or suite to evaluate on
    │   ├── TaskUnavailable        82    a data set's hub can't be reached, or has none
    │   ├── RunMismatch            83    a run of other queries than the data's
    │   └── ResultsDiffer          84    results that can't be compared: other data, or none in common
    ├── TrainingError              90    training that can't go on
    │   ├── RecipeError            91    an unknown recipe, or a key or value that it can't have
    │   ├── NothingToTrain         92    no group to train on, or fewer than a batch
    │   └── OtherRun               93    a checkpoint of another recipe, model or data
    ├── StorageError              100    an object store, or a file in one, that can't be used
    │   └── AccessDenied          101    its credentials are missing or refused
    ├── ClusterError              105    a Ray cluster that can't be used, or whose workers were lost
    │   └── ClusterUnreachable    106    no Ray cluster at that address
    └── RunStopped                110    a run that reached a limit that it was given
        ├── BudgetSpent           111    calls, tokens or money; no output yet, the answers are kept
        ├── TooManyFailures       112    requests without an answer; the outputs are written
        └── PartitionsFailed      113    parts of a cluster's work that no worker could do; the others are kept

A message says what arrived, what is allowed and what to do.
"""

from __future__ import annotations

from typing import Any


class ArhnError(Exception):
    """The root of all errors that arhn raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come from other machines too, and some are made of more than their message.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[ArhnError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ArhnError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class UsageError(ArhnError):
    exit_code = 2


class DataError(ArhnError):
    """Something in the input. `path` and `line` (from 1; a row number for Parquet) say where, `advice` what to do."""

    exit_code = 10
    advice = ""

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line

    def __str__(self) -> str:
        where = self.path or ""
        if self.line is not None:
            where += f", line {self.line}" if where else f"line {self.line}"
        said = f"{self.message}. {self.advice}" if self.advice else self.message
        return f"{where}: {said}" if where else said


class FileMissing(DataError):
    exit_code = 11


class UnknownFormat(DataError):
    exit_code = 12


class MixedFormats(DataError):
    exit_code = 13


class NotUtf8(DataError):
    exit_code = 14


class BadJson(DataError):
    exit_code = 15


class BadRow(DataError):
    """A field is missing or has the wrong type or value."""

    exit_code = 16

    def __init__(
        self, field: str, expected: str, arrived: str, *, path: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(f"{field}: expected {expected}, found {arrived}", path=path, line=line)
        self.field = field
        self.expected = expected
        self.arrived = arrived


class InvalidGroup(BadRow):
    """A group that can't be cleaned, whatever file it came from."""


class DuplicateId(DataError):
    exit_code = 17


class CannotHold(DataError):
    exit_code = 18


class OutputError(ArhnError):
    exit_code = 20


class OutputExists(OutputError):
    exit_code = 21


class OutputNotWritable(OutputError):
    exit_code = 22


class DiskFull(OutputError):
    exit_code = 23


class OutputLocked(OutputError):
    exit_code = 24


class ModelError(ArhnError):
    exit_code = 30


class ModelMissing(ModelError):
    exit_code = 31


class ModelCorrupt(ModelError):
    exit_code = 32


class ModelUnavailable(ModelError):
    exit_code = 33


class EngineError(ModelError):
    exit_code = 34


class ServerGone(EngineError):
    exit_code = 35


class KeyRefused(EngineError):
    exit_code = 36


class UnknownModel(EngineError):
    exit_code = 37


class OtherApi(EngineError):
    exit_code = 38


class ContextTooShort(EngineError):
    exit_code = 39


class StoreError(ArhnError):
    exit_code = 40


class StoreVersion(StoreError):
    exit_code = 41


class StoreLocked(StoreError):
    exit_code = 42


class StoreCorrupt(StoreError):
    exit_code = 43


class MissingDependency(ArhnError):
    """An optional dependency isn't installed; the message holds the exact command."""

    exit_code = 50

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed for this and isn't installed. Run: pip install 'arhn[{extra}]'")


class DeviceMissing(ArhnError):
    """A GPU is asked for, or a precision that needs one, and there is none."""

    exit_code = 51


class CalibrationError(ArhnError):
    """Labelled groups that nothing can be fitted on, a calibration file that doesn't fit, or too high a precision."""

    exit_code = 60


class CollectionError(DataError):
    """Queries, corpus and qrels that don't fit each other."""

    exit_code = 70


class MissingPassages(CollectionError):
    exit_code = 71


class MissingQueries(CollectionError):
    exit_code = 72


class NoPositives(CollectionError):
    exit_code = 73


class EmptyCorpus(CollectionError):
    exit_code = 74


class EvaluationError(ArhnError):
    exit_code = 80


class UnknownTask(EvaluationError):
    exit_code = 81


class TaskUnavailable(EvaluationError):
    exit_code = 82


class RunMismatch(EvaluationError):
    exit_code = 83


class ResultsDiffer(EvaluationError):
    exit_code = 84


class TrainingError(ArhnError):
    """Training that can't begin or go on."""

    exit_code = 90


class RecipeError(TrainingError):
    """An unknown recipe, an unknown key in one, or a value that a key can't have."""

    exit_code = 91


class NothingToTrain(TrainingError):
    """No group with a positive and enough negatives, or fewer groups than a batch."""

    exit_code = 92


class OtherRun(TrainingError):
    """A checkpoint, or a finished model, of another recipe, base model or data."""

    exit_code = 93


class StorageError(ArhnError):
    """An object store, or a file in one, that can't be used."""

    exit_code = 100


class AccessDenied(StorageError):
    """An object store's credentials are missing or refused."""

    exit_code = 101


class ClusterError(ArhnError):
    """A Ray cluster that can't be used, or whose workers were lost."""

    exit_code = 105


class ClusterUnreachable(ClusterError):
    exit_code = 106


class RunStopped(ArhnError):
    """A run that reached a limit that it was given."""

    exit_code = 110


class BudgetSpent(RunStopped):
    """No output is written, but every answer is kept."""

    exit_code = 111


class TooManyFailures(RunStopped):
    """More requests than allowed got no answer. The outputs are written."""

    exit_code = 112


class PartitionsFailed(RunStopped):
    """No worker could clean some partitions. No output is written, but the other partitions are kept."""

    exit_code = 113
