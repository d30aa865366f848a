"""Every error a user can cause, with an exit code. A message says what arrived, what is allowed and what to do.

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
│   ├── CannotHold             18    the target format can't hold the group at all
│   └── NothingLeft            19    input that leaves nothing: every row bad, no query that finds a passage
├── OutputError                20
│   ├── OutputExists           21
│   ├── OutputNotWritable      22
│   ├── DiskFull               23
│   └── OutputLocked           24
├── ModelError                 30
│   ├── ModelMissing           31
│   ├── ModelCorrupt           32    wrong SHA-256 or size, or not a GGUF file
│   ├── ModelUnavailable       33    neither hub nor mirror can be reached
│   └── EngineError            34    the engine can't start, or stopped
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
├── IncompatibleVersions       52    installed libraries that don't work together
├── SetupBroken                53    a check of arhn doctor failed
├── CalibrationError           60    labels that nothing can be fitted on, or a precision that can't be reached
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
└── RunStopped                110    a run that reached one of its limits
    ├── BudgetSpent           111    calls, tokens or money; no output yet, the answers are stored
    ├── TooManyFailures       112    requests without an answer; the outputs are written
    └── PartitionsFailed      113    partitions that no worker could clean; the others are stored
"""

from __future__ import annotations

from typing import Any


class ArhnError(Exception):
    """The root of all errors that arhn raises on purpose."""

    exit_code = 1

    def __init_subclass__(cls, *, exit_code: int | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come from other machines too, and some are made of more than their message.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ArhnError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ArhnError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class UsageError(ArhnError, exit_code=2):
    """A flag, setting or argument that doesn't fit."""


class DataError(ArhnError, exit_code=10):
    """Something in the input. `path` and `line` (from 1; a row number for Parquet) say where, `advice` what to do."""

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
        message = f"{self.message}. {self.advice}" if self.advice else self.message
        return f"{where}: {message}" if where else message


class FileMissing(DataError, exit_code=11):
    """A file isn't there, or can't be read."""


class UnknownFormat(DataError, exit_code=12):
    """A file is in no format that arhn reads."""


class MixedFormats(DataError, exit_code=13):
    """A row is in another format than its file."""


class NotUtf8(DataError, exit_code=14):
    """Bytes that aren't UTF-8."""


class BadJson(DataError, exit_code=15):
    """A truncated or malformed line, or a damaged Parquet or compressed file."""


class BadRow(DataError, exit_code=16):
    """A field is missing or has the wrong type or value."""

    def __init__(
        self, field: str, expected: str, arrived: str, *, path: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(f"{field}: expected {expected}, found {arrived}", path=path, line=line)
        self.field = field
        self.expected = expected
        self.arrived = arrived


class InvalidGroup(BadRow):
    """A group that can't be cleaned, whatever file it came from."""


class DuplicateId(DataError, exit_code=17):
    """An id that occurs twice."""


class CannotHold(DataError, exit_code=18):
    """A value that the target format or file can't hold."""


class NothingLeft(DataError, exit_code=19):
    """Input of which nothing is left for the result."""


class OutputError(ArhnError, exit_code=20):
    """An output that can't be written."""


class OutputExists(OutputError, exit_code=21):
    """The output is there already, and isn't to be replaced."""


class OutputNotWritable(OutputError, exit_code=22):
    """The place of an output can't be written, or is no place for it."""


class DiskFull(OutputError, exit_code=23):
    """No room is left on the disk."""


class OutputLocked(OutputError, exit_code=24):
    """Another process is writing the output."""


class ModelError(ArhnError, exit_code=30):
    """A model that can't be used."""


class ModelMissing(ModelError, exit_code=31):
    """No such file, name or file on the hub."""


class ModelCorrupt(ModelError, exit_code=32):
    """Wrong bytes, or no file of the kind that is needed."""


class ModelUnavailable(ModelError, exit_code=33):
    """Neither the hub nor a mirror gives the model."""


class EngineError(ModelError, exit_code=34):
    """An engine that can't start, or stopped."""


class ServerGone(EngineError, exit_code=35):
    """No server is there, or none any more."""


class KeyRefused(EngineError, exit_code=36):
    """An API key is missing or refused, or the account is out of credit."""


class UnknownModel(EngineError, exit_code=37):
    """The server doesn't have the model."""


class OtherApi(EngineError, exit_code=38):
    """Something answers, but not an OpenAI-compatible server."""


class ContextTooShort(EngineError, exit_code=39):
    """The context doesn't hold a question."""


class StoreError(ArhnError, exit_code=40):
    """A response store that can't be used."""


class StoreVersion(StoreError, exit_code=41):
    """A store of another version of arhn."""


class StoreLocked(StoreError, exit_code=42):
    """A store that another process has open."""


class StoreCorrupt(StoreError, exit_code=43):
    """A store that is damaged, or a file that is none."""


class MissingDependency(ArhnError, exit_code=50):
    """An optional dependency isn't installed; the message holds the exact command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed for this and isn't installed. Run: pip install 'arhn[{extra}]'")


class DeviceMissing(ArhnError, exit_code=51):
    """A GPU is asked for, or a precision that needs one, and there is none."""


class IncompatibleVersions(ArhnError, exit_code=52):
    """Libraries that can't work together in the versions installed; the message holds the command that mends it."""


class SetupBroken(ArhnError, exit_code=53):
    """Something that everything needs can't be used, as `arhn doctor` found."""


class CalibrationError(ArhnError, exit_code=60):
    """Labelled groups that nothing can be fitted on, a calibration file that doesn't fit, or too high a precision."""


class CollectionError(DataError, exit_code=70):
    """Queries, corpus and qrels that don't fit each other."""


class MissingPassages(CollectionError, exit_code=71):
    """Qrels name passages that the corpus lacks."""


class MissingQueries(CollectionError, exit_code=72):
    """Qrels name queries that the queries lack."""


class NoPositives(CollectionError, exit_code=73):
    """Queries without a relevant passage."""


class EmptyCorpus(CollectionError, exit_code=74):
    """No passage, or no query, at all."""


class EvaluationError(ArhnError, exit_code=80):
    """An evaluation or comparison that can't be made."""


class UnknownTask(EvaluationError, exit_code=81):
    """No such data set or suite to evaluate on."""


class TaskUnavailable(EvaluationError, exit_code=82):
    """A data set's hub can't be reached, or doesn't have it."""


class RunMismatch(EvaluationError, exit_code=83):
    """A run of other queries than the data's."""


class ResultsDiffer(EvaluationError, exit_code=84):
    """Results that can't be compared: of other data, or of none in common."""


class TrainingError(ArhnError, exit_code=90):
    """Training that can't begin or go on."""


class RecipeError(TrainingError, exit_code=91):
    """An unknown recipe, an unknown key in one, or a value that a key can't have."""


class NothingToTrain(TrainingError, exit_code=92):
    """No group with a positive and enough negatives, or fewer groups than a batch."""


class OtherRun(TrainingError, exit_code=93):
    """A checkpoint, or a finished model, of another recipe, base model or data."""


class StorageError(ArhnError, exit_code=100):
    """An object store, or a file in one, that can't be used."""


class AccessDenied(StorageError, exit_code=101):
    """An object store's credentials are missing or refused."""


class ClusterError(ArhnError, exit_code=105):
    """A Ray cluster that can't be used, or whose workers were lost."""


class ClusterUnreachable(ClusterError, exit_code=106):
    """No Ray cluster is at that address."""


class RunStopped(ArhnError, exit_code=110):
    """A run that reached one of its limits."""


class BudgetSpent(RunStopped, exit_code=111):
    """No output is written, but every answer is stored."""


class TooManyFailures(RunStopped, exit_code=112):
    """More requests than allowed got no answer. The outputs are written."""


class PartitionsFailed(RunStopped, exit_code=113):
    """No worker could clean some partitions. No output is written, but the other partitions are stored."""


def describe_count(number: int, noun: str) -> str:
    """A number and what there are so many of, for a message: "1 group", "2,000 groups", "3 queries"."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"
