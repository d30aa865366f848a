"""Negatives that are mined and cleaned again between epochs, with a tiny model and a scripted LLM."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from arhn import cli, errors, formats
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.engines import Completion, Request, RequestFailed
from arhn.engines.fake import FakeEngine, Script
from arhn.mine.rules import Settings
from arhn.train import manifest
from arhn.train.filtered_passages import FilteredPassages, doc_key
from arhn.train.job import train
from arhn.train.preparation import Training, prepare
from arhn.train.refresh.mining_corpus import CURRENT, Mining, hash_weights
from arhn.train.refresh.negatives import Cleaning, NewNegatives
from arhn.types import Group, Passage
from tests.conftest import NO, answer_by_marks, kind_of, verdict
from tests.unit.retrieval.helpers import put_beir, put_lines
from tests.unit.train import tiny

torch = pytest.importorskip("torch")
library = pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

GROUPS = 12
SETTINGS = ("epochs=3", "batch=6", "log_steps=1", "learning_rate=3e-2", "warmup=0")


def marked(passage: Passage, i: int, kind: str) -> Passage:
    """Positives answer (3); so do some negatives, better (1) or worse (9)."""
    answer = {"p": " ANSWER3", "n": {0: " ANSWER1", 1: " ANSWER9"}.get(i % 7, "")}[kind]
    return replace(passage, text=passage.text + answer)


def made() -> list[Group]:
    return [
        replace(
            group,
            positives=tuple(marked(p, i, "p") for p in group.positives),
            negatives=tuple(marked(p, i + j, "n") for j, p in enumerate(group.negatives)),
        )
        for i, group in enumerate(tiny.groups(GROUPS))
    ]


@dataclass
class Data:
    """Groups on disk, and the collection that they come from."""

    groups: Path
    beir: Path
    retriever: Path
    folder: Path
    asked: list[Request] = field(default_factory=list)

    def training(self, name: str = "m", *settings: str, **changes: Any) -> Training:
        given = {"recipe": "tiny", "model": str(self.retriever), "device": "cpu", "threads": 1, **changes}
        return Training(groups=self.groups, output=self.folder / name, settings=(*SETTINGS, *settings), **given)

    def cleaning(self, script: Script = answer_by_marks, **changes: Any) -> Cleaning:
        def opened(_: ExitStack) -> Models:
            engine = FakeEngine(script)
            engine.asked = self.asked
            return Models(engine=engine)

        return Cleaning(**{"open_models": opened, "config": UNCALIBRATED, **changes})

    def mining(self, **changes: Any) -> Mining:
        given = {"folder": self.beir, "settings": Settings(negatives=4, range_max=20), **changes}
        return Mining(**given)

    def negatives(
        self, training: Training, script: Script = answer_by_marks, every: int = 1, **changes: Any
    ) -> NewNegatives:
        run = prepare(training)
        return NewNegatives(every, training, run, self.mining(), self.cleaning(script, **changes))


@pytest.fixture
def data(retriever: Path, tmp_path: Path) -> Data:
    return put(tmp_path, retriever, made())


def put(folder: Path, retriever: Path, groups: Sequence[Group]) -> Data:
    texts = {p.doc_id: p.text for group in groups for p in group.passages}
    queries = {group.query_id: group.query for group in groups}
    beir = put_beir(folder / "beir", texts, queries, {group.query_id: {} for group in groups})
    with formats.GroupWriter(folder / "train.jsonl", "tevatron") as writer:
        for group in groups:
            writer.write(group)
    return Data(folder / "train.jsonl", beir, retriever, folder)


def refreshed(run: Training, negatives: NewNegatives) -> manifest.Manifest:
    # One call for both: what was filtered is known to the run and to what mines for it.
    return train(run, prepared=negatives._run, on_epoch=negatives)


def groups_at(folder: Path, epoch: int, kind: str = "") -> dict[str, Group]:
    path = folder / "groups" / f"epoch-{epoch}{kind}.jsonl.zst"
    return {group.query_id: group for group in formats.read(path, require_negatives=False)}


def ids(passages: Iterable[Passage]) -> set[str]:
    return {passage.doc_id for passage in passages}


def filtered_at(folder: Path, epoch: int) -> set[tuple[str, str]]:
    lines = (folder / "groups" / f"epoch-{epoch}.decisions.jsonl").read_text().splitlines()
    return {(row["query_id"], row["doc_id"]) for row in map(json.loads, lines)}


# --- What is mined --------------------------------------------------------------------------------


#: The LLM's own word decides.
UNCALIBRATED = CleanConfig(calibrations=("none",))


class Spy:
    """Notes what the model, as it is when it is called, finds for each query."""

    def __init__(self, negatives: NewNegatives, groups: Sequence[Group], take: int) -> None:
        self._negatives = negatives
        self._groups = groups
        self._take = take
        self.found: dict[int, dict[str, set[str]]] = {}
        self.weights: list[str] = []

    def __call__(self, model: Any, epoch: int) -> Any:
        self.weights.append(hash_weights(model))
        passages = [p for group in self._groups for p in group.passages]
        vectors = model.encode([p.text for p in passages], normalize_embeddings=True)
        queries = model.encode([group.query for group in self._groups], normalize_embeddings=True)
        scores = (queries @ vectors.T).round(6)
        self.found[epoch] = {
            group.query_id: ids(
                [passages[i] for i in (-row).argsort(kind="stable") if passages[i] not in group.positives][: self._take]
            )
            for group, row in zip(self._groups, scores, strict=True)
        }
        return self._negatives(model, epoch)


def test_negatives_come_from_the_model_as_it_is(data: Data) -> None:
    run = data.training("m", "epochs=4")
    cleaning = replace(data.cleaning(), config=CleanConfig(method="none"), open_models=lambda _: Models())
    negatives = NewNegatives(1, run, prepare(run), data.mining(), cleaning)
    spy = Spy(negatives, made(), 4)
    record = train(run, prepared=negatives._run, on_epoch=spy)
    for epoch in (1, 2, 3):
        mined = groups_at(data.folder / "m", epoch)
        assert {query_id: ids(group.negatives) for query_id, group in mined.items()} == spy.found[epoch]
    assert spy.found[1] != spy.found[2]
    named = [each.renewal.retrievers for each in record.refreshes if each.renewal]
    assert named == [[f"m after epoch {epoch}@{seen}"] for epoch, seen in enumerate(spy.weights, 1)]
    assert len(set(spy.weights)) == 3


def test_refreshes_happen_every_e_epochs(data: Data) -> None:
    run = data.training("m", "epochs=5")
    negatives = data.negatives(run, every=2)
    assert negatives.epochs == [2, 4]
    assert [each.epoch for each in refreshed(run, negatives).refreshes] == [2, 4]


def test_groups_keep_their_fields_and_positives(data: Data) -> None:
    run = data.training()
    refreshed(run, data.negatives(run))
    for group, after in zip(made(), groups_at(data.folder / "m", 2).values(), strict=True):
        assert (after.query_id, after.query, after.extra) == (group.query_id, group.query, group.extra)
        assert after.positives[:1] == group.positives
        assert not ids(after.positives) & ids(after.negatives)


# --- What is cleaned ------------------------------------------------------------------------------


def test_labels_of_one_refresh_hold_in_the_next(data: Data) -> None:
    run = data.training("m", "epochs=4")
    record = refreshed(run, data.negatives(run))
    folder = data.folder / "m"
    counts = [each.renewal for each in record.refreshes if each.renewal]
    assert counts[0].relabelled > 0
    assert counts[0].filtered == len(filtered_at(folder, 1)) > 0
    gone: set[tuple[str, str]] = set()
    before = {group.query_id: ids(group.positives) for group in made()}
    for epoch in (1, 2, 3):
        for query_id, group in groups_at(folder, epoch, ".mined").items():
            assert ids(group.positives) == before[query_id]
            assert not {(query_id, doc_id) for doc_id in ids(group.negatives)} & gone
        after = groups_at(folder, epoch)
        assert all(before[query_id] <= ids(group.positives) for query_id, group in after.items())
        gone |= filtered_at(folder, epoch)
        before = {query_id: ids(group.positives) for query_id, group in after.items()}
    grown = sum(map(len, before.values())) - GROUPS
    assert grown == sum(each.relabelled for each in counts)


def test_what_was_filtered_before_training_is_not_mined(data: Data) -> None:
    first = made()[0]
    rows = [{"query_id": first.query_id, "doc_id": p.doc_id, "action": "filter"} for p in first.negatives]
    put_lines(data.folder / "train.decisions.jsonl", rows)
    run = data.training()
    negatives = NewNegatives(
        1, run, prepare(run), data.mining(settings=Settings(negatives=48, range_max=48)), data.cleaning()
    )
    refreshed(run, negatives)
    mined = groups_at(data.folder / "m", 1, ".mined")
    assert len(mined[first.query_id].negatives) == 48 - 1 - 3
    assert not ids(mined[first.query_id].negatives) & ids(first.negatives)
    summary = json.loads((data.folder / "m" / "groups" / "epoch-1.summary.json").read_text())
    assert summary["mining"]["candidates"]["filtered"] == 3


def test_a_filtered_passage_is_known_by_id_and_text() -> None:
    filtered = FilteredPassages()
    filtered.add("q", doc_key("d1"))
    assert filtered.contains("q", Passage(doc_id="d1", text="x"))
    assert not filtered.contains("q", Passage(doc_id="d2", text="x"))
    assert not filtered.contains("other", Passage(doc_id="d1", text="x"))


def test_negatives_beyond_those_wanted_are_not_filtered_for_good(tmp_path: Path) -> None:
    rows = [
        {"query_id": "q", "doc_id": "d1", "action": "filter", "reason": "ranked_below"},
        {"query_id": "q", "doc_id": "d2", "action": "filter", "reason": "unused"},
    ]
    filtered = FilteredPassages()
    filtered.read(put_lines(tmp_path / "x.decisions.jsonl", rows))
    assert filtered.contains("q", Passage(doc_id="d1", text="x"))
    assert not filtered.contains("q", Passage(doc_id="d2", text="x"))


def test_known_pairs_are_not_asked_again(data: Data) -> None:
    run = data.training("m", "epochs=4")
    record = refreshed(run, data.negatives(run))
    keys = [request.key("fake") for request in data.asked]
    assert len(set(keys)) == len(keys)
    counts = [each.renewal for each in record.refreshes if each.renewal]
    assert sum(each.asked for each in counts) == len(keys)
    assert counts[0].reused == 0
    # All positives of the first groups at least, verdict and snippet each.
    assert counts[1].reused >= 2 * GROUPS
    judged = [request for request in data.asked if kind_of(request) == "verdict"]
    pairs = {
        (query_id, doc_id)
        for epoch in (1, 2, 3)
        for query_id, group in groups_at(data.folder / "m", epoch, ".mined").items()
        for doc_id in ids(group.negatives)
    }
    assert len(judged) == len(pairs) + GROUPS


def test_a_store_may_be_given(data: Data) -> None:
    store = data.folder / "known.sqlite"
    run = data.training()
    refreshed(run, data.negatives(run, store=store))
    asked = len(data.asked)
    again = data.training("again")
    record = refreshed(again, data.negatives(again, store=store))
    assert len(data.asked) == asked
    assert [each.renewal.asked for each in record.refreshes if each.renewal] == [0, 0]
    assert not (data.folder / "again" / "groups" / "responses.sqlite").exists()


def test_groups_without_candidates_go_on_without_negatives(data: Data) -> None:
    run = data.training("m", "min_negatives=0")
    # Cosines are never above 2: no candidate is left.
    mining = data.mining(settings=Settings(negatives=4, min_score=2))
    negatives = NewNegatives(1, run, prepare(run), mining, data.cleaning())
    refreshed(run, negatives)
    found = formats.read(data.folder / "m" / "groups" / "epoch-2.jsonl.zst", require_negatives=False)
    assert [(group.query_id, group.positives, group.negatives) for group in found] == [
        (group.query_id, group.positives, ()) for group in made()
    ]
    assert data.asked == []


DROPPING = CleanConfig(floor_policy="drop", calibrations=("none",))


def all_answering() -> list[Group]:
    """Nothing is left of a group when the LLM says what it sees."""
    return [replace(g, negatives=tuple(replace(p, text=f"{p.text} ANSWER9") for p in g.negatives)) for g in made()]


def test_a_group_that_a_refresh_drops_comes_back(retriever: Path, tmp_path: Path) -> None:
    groups = all_answering()
    data = put(tmp_path, retriever, groups)

    def script(request: Request) -> Completion | str:
        if kind_of(request) == "verdict" and groups[0].query not in request.messages[-1].content:
            return verdict(NO)
        return answer_by_marks(request)

    run = data.training()
    refreshed(run, data.negatives(run, script, config=DROPPING))
    left = {group.query_id for group in groups[1:]}
    for epoch in (1, 2):
        assert groups_at(data.folder / "m", epoch).keys() == left
        assert groups_at(data.folder / "m", epoch, ".mined").keys() == {"q0", *left}


def test_a_refresh_that_leaves_no_group_is_an_error(retriever: Path, tmp_path: Path) -> None:
    data = put(tmp_path, retriever, all_answering())
    run = data.training()
    with pytest.raises(errors.NothingToTrain, match=r"go on with: all of 12 were dropped, .* Lower the floor"):
        refreshed(run, data.negatives(run, config=DROPPING))


# --- Stopped runs ---------------------------------------------------------------------------------


def stopping(after: int, stop: Callable[[], Completion | str]) -> Script:
    """Answers until `after` requests were answered."""
    answered = 0

    def script(request: Request) -> Completion | str:
        nonlocal answered
        answered += 1
        return stop() if answered > after else answer_by_marks(request)

    return script


def killed(data: Data, after: int) -> None:
    """In a process of its own. Each refresh has an engine of its own: `after` counts over both."""

    def stop() -> Completion:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    run = data.training()
    refreshed(run, data.negatives(run, stopping(after, stop)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks: a new interpreter would import everything once more")
@pytest.mark.parametrize("refresh", [1, 2])
def test_kill_9_in_the_middle_of_a_refresh(data: Data, refresh: int) -> None:
    whole = data.training("whole")
    record = refreshed(whole, data.negatives(whole))
    counts = [each.renewal for each in record.refreshes if each.renewal]
    before = sum(each.asked for each in counts[: refresh - 1])
    after = before + counts[refresh - 1].asked // 2
    process = multiprocessing.get_context("fork").Process(target=killed, args=(data, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    place = data.folder / "m" / "groups"
    assert not (place / f"epoch-{refresh}.jsonl.zst").exists()
    data.asked.clear()
    run = data.training(resume=True)
    resumed = refreshed(run, data.negatives(run))
    assert resumed.resumed_from == 2 * refresh
    # What was in flight when it was killed is asked twice, nothing else.
    total = sum(each.asked for each in counts)
    assert total - after <= len(data.asked) <= total - after + 64
    assert len(data.asked) < total - before
    for name in (f"epoch-{epoch}{kind}" for epoch in (1, 2) for kind in (".jsonl.zst", ".decisions.jsonl")):
        assert (place / name).read_bytes() == (data.folder / "whole" / "groups" / name).read_bytes()
    assert [each.content_sha256 for each in resumed.refreshes] == [each.content_sha256 for each in record.refreshes]


def test_too_many_failures_stop_the_run(data: Data) -> None:
    def fail() -> Completion:
        raise RequestFailed("no", attempts=2)

    run = data.training()
    with pytest.raises(errors.TooManyFailures, match=r"the refresh after epoch 1: .* --resume asks only these again"):
        refreshed(run, data.negatives(run, stopping(10, fail)))
    place = data.folder / "m" / "groups"
    assert (place / "epoch-1.failures.jsonl").read_text().count("\n") > 10
    assert not (place / "epoch-1.jsonl.zst").exists()
    run = data.training(resume=True)
    record = refreshed(run, data.negatives(run))
    assert [each.renewal.failed for each in record.refreshes if each.renewal] == [0, 0]
    assert record.refreshes[0].renewal is not None
    assert record.refreshes[0].renewal.reused == 10
    assert not (place / "epoch-1.failures.jsonl").exists()


# --- The command line -----------------------------------------------------------------------------


@pytest.fixture
def arhn(data: Data, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs `arhn train` on the data; gives exit code, output and messages."""
    monkeypatch.chdir(data.folder)
    monkeypatch.setenv("ARHN_CACHE", str(data.folder / "cache"))

    def run(*flags: str, recipe: str = "tiny", groups: str = "train.jsonl") -> tuple[int, str, str]:
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        given = ["--recipe", recipe, "--model", str(data.retriever), "--device", "cpu", "--threads", "1", *settings]
        code = cli.main(["train", groups, "-o", "m", *given, *flags])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


NONE = ("method=none",)
MINE = ("folder=beir", "negatives=4")


def refresh(every: int = 1, mining: Sequence[str] = ("folder=beir",), cleaning: Sequence[str] = NONE) -> list[str]:
    """The settings of refreshes, as flags."""
    found = [f"refresh.every={every}", *(f"refresh.mining.{each}" for each in mining)]
    return [word for each in (*found, *(f"refresh.cleaning.{each}" for each in cleaning)) for word in ("--set", each)]


def test_the_command_line(arhn: Any, data: Data, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("bm25s")
    mining = ("folder=beir", "negatives=4", "range_min=2", "range_max=20", "retrievers=['current', 'bm25']")
    code, out, _ = arhn(*refresh(2, mining), "--dry-run")
    assert code == 0
    plan = "after epoch 2: mine again in beir (48 passages) with current, bm25, 4 negatives a query from the ranks 2:20"
    assert f"{plan}; clean by method none" in out
    assert not (data.folder / "m").exists()
    with caplog.at_level("INFO"):
        assert arhn(*refresh(2, mining))[0] == 0
    record = manifest.read(data.folder / "m")
    [refreshed] = record.refreshes
    assert refreshed.epoch == 2
    assert refreshed.renewal is not None
    assert (refreshed.renewal.mined, refreshed.renewal.requests) == (4 * GROUPS, 0)
    assert refreshed.renewal.retrievers[1] == "bm25"
    assert any(message.startswith(f"after epoch 2: {4 * GROUPS} negatives mined, ") for message in caplog.messages)


def test_a_file_says_how_to_refresh(arhn: Any, data: Data) -> None:
    text = 'precision = 0.9\n[refresh]\nevery = 2\n[refresh.mining]\nfolder = "beir"\nnegatives = 4\n'
    (data.folder / "run.toml").write_text(f'{text}[refresh.cleaning]\nmethod = "none"\n')
    code, out, _ = arhn("--config", "run.toml", "--dry-run")
    assert code == 0
    assert "after epoch 2: mine again in beir (48 passages) with current, 4 negatives a query" in out
    (data.folder / "run.toml").write_text("precision = 0.9\n")
    code, _, err = arhn("--config", "run.toml", "--dry-run")
    assert code == errors.UsageError.exit_code
    assert "--config run.toml: has no [refresh]" in err


def test_a_run_goes_on_with_the_same_refreshes_only(arhn: Any, data: Data) -> None:
    assert arhn(*refresh(1, MINE))[0] == 0
    assert arhn(*refresh(1, MINE), "--resume")[0] == 0
    for flags, says in (
        ([], "refresh_negatives is None, and was 1"),
        (refresh(2, MINE), "refresh_negatives is 2, and was 1"),
        (refresh(1, MINE, (*NONE, "mode=F")), "refresh_cleaning.mode is F, and was R+F"),
        (refresh(1, ("folder=beir", "negatives=5")), "refresh_mining.negatives is 5, and was 4"),
    ):
        code, _, err = arhn(*flags, "--resume")
        assert code == errors.OtherRun.exit_code
        assert says in err


def test_a_reranker_needs_a_retriever(arhn: Any, data: Data) -> None:
    pytest.importorskip("bm25s")
    for more in ((), ("retrievers=['current', 'bm25']",)):
        code, _, err = arhn(*refresh(1, ("folder=beir", *more)), recipe="reranker-tiny")
        assert code == errors.UsageError.exit_code
        assert "trains a reranker, which can't search a corpus for negatives. Name a retriever" in err
    flags = refresh(1, ("folder=beir", "retrievers=['bm25']", "negatives=4"))
    code, _, err = arhn(*flags, "--set", "max_length=32", recipe="reranker-tiny")
    assert code == 0, err
    [first, second] = manifest.read(data.folder / "m").refreshes
    assert first.renewal is not None
    assert first.renewal.retrievers == ["bm25"]
    # Weights don't change what BM25 finds.
    assert first.content_sha256 == second.content_sha256


def mined(*settings: str) -> list[str]:
    return refresh(mining=("folder=beir", *settings))


def cleaned(*settings: str) -> list[str]:
    return refresh(cleaning=settings)


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (["--set", "refresh.mining.folder=beir"], errors.UsageError, "refresh.every: is missing. Epochs between two"),
        (["--set", "refresh.cleaning.method=none"], errors.UsageError, "refresh.every: is missing"),
        (
            ["--set", "refresh.every=1"],
            errors.UsageError,
            "refresh.mining.folder: which corpus do the groups come from",
        ),
        (refresh(3, MINE), errors.UsageError, "every 3 epochs, of 3 in all"),
        (
            refresh(0, MINE),
            errors.UsageError,
            "refresh.every (--set refresh.every=0): found 0, allowed: a whole number",
        ),
        (
            mined("output=x"),
            errors.UsageError,
            "refresh.mining.output (--set refresh.mining.output=x): there is no such",
        ),
        (
            mined("split=dev"),
            errors.UsageError,
            "refresh.mining.split (--set refresh.mining.split=dev): there is no suc",
        ),
        (mined("negative=3"), errors.UsageError, "Did you mean refresh.mining.negatives?"),
        (mined("negatives=x"), errors.UsageError, "found 'x', allowed: a whole number from 1"),
        (mined("range_min=99"), errors.UsageError, "Range 99:100 holds 1 passage,"),
        (mined("models.max_length=9"), errors.UsageError, "models.max_length: does nothing for the model in training"),
        (mined("bm25.k1=2"), errors.UsageError, "bm25.k1: does nothing without bm25 among the retrievers (current)"),
        (mined("score_by=bm25"), errors.UsageError, "is none of the retrievers current"),
        (mined("retrievers=['./none']"), errors.ModelMissing, "no such folder"),
        (refresh(mining=["folder=none"]), errors.FileMissing, "none: there is no such folder"),
        (refresh(mining=["corpus=none.jsonl"]), errors.FileMissing, "none.jsonl"),
        (
            cleaned("files.limit=3"),
            errors.UsageError,
            "refresh.cleaning.files (--set refresh.cleaning.files.limit=3): th",
        ),
        (cleaned("method=best"), errors.UsageError, "'best' is no method. There are: arhn, rlhn"),
        (cleaned("method=margin"), errors.UsageError, "needs a similarity model"),
        (
            cleaned("method=none", "margin.rule=relative"),
            errors.UsageError,
            "refresh.cleaning.margin (--set refresh.cl",
        ),
        (cleaned("engine.model=./none.gguf"), errors.ModelMissing, "none.gguf"),
        (cleaned("engine.name=openai"), errors.UsageError, "refresh.cleaning: engine.urls: openai needs to know where"),
        (cleaned("method=none", "store=no/x"), errors.OutputNotWritable, "no such folder"),
        (cleaned("calibrations=['none.json']"), errors.ArhnError, "none.json"),
        (["--config", "none.toml"], errors.UsageError, "--config none.toml: can't be read"),
    ],
)
def test_mistakes_are_found_before_training_begins(
    arhn: Any, data: Data, flags: list[str], error: type[errors.ArhnError], says: str
) -> None:
    code, _, err = arhn(*flags)
    assert says in err
    assert code == error.exit_code or (error is errors.ArhnError and code)
    assert not (data.folder / "m").exists()


def without(mapping: Mapping[str, str], *keys: str) -> dict[str, str]:
    return {key: value for key, value in mapping.items() if key not in keys}


def test_groups_and_corpus_must_fit(arhn: Any, data: Data) -> None:
    groups = made()
    texts = {p.doc_id: p.text for group in groups for p in group.passages}
    queries = {group.query_id: group.query for group in groups}

    def refused(
        error: type[errors.ArhnError], says: str, texts: Mapping[str, str], queries: Mapping[str, str], **how: str
    ) -> None:
        put_beir(data.beir, texts, queries, {})
        code, _, err = arhn(*refresh(), **how)
        assert says in err
        assert code == error.exit_code
        assert not (data.folder / "m").exists()

    lacking = without(texts, groups[0].positives[0].doc_id, groups[0].negatives[0].doc_id)
    shown = "train.jsonl: 1 of 12 labelled positives aren't in beir/corpus.jsonl: 'p0-0-0'. Groups and corpus must have"
    refused(errors.MissingPassages, shown, lacking, queries)
    refused(errors.MissingQueries, "1 of 12 queries aren't in beir/queries.jsonl: 'q3'", texts, without(queries, "q3"))
    shown = "none of its 12 labelled positives has the text that beir/corpus.jsonl holds for the same doc_id"
    refused(errors.CollectionError, shown, dict.fromkeys(texts, "another text"), queries)
    shown = "none of its 12 queries has the text that beir/queries.jsonl holds for the same query_id"
    refused(errors.CollectionError, shown, texts, dict.fromkeys(queries, "another text"))
    assert cli.main(["convert", "train.jsonl", "-o", "flag.jsonl", "--to", "flagembedding"]) == 0
    refused(errors.MissingQueries, "12 of 12 queries aren't in", texts, queries, groups="flag.jsonl")


def test_a_corpus_alone_will_do(arhn: Any, data: Data) -> None:
    (data.beir / "queries.jsonl").unlink()
    assert arhn(*refresh(mining=["corpus=beir/corpus.jsonl"]), "--dry-run")[0] == 0
    assert arhn(*refresh(), "--dry-run")[0] == errors.FileMissing.exit_code


def test_groups_in_memory_must_be_readable_again(data: Data) -> None:
    groups = made()
    run = replace(data.training(), groups=iter(groups))
    with pytest.raises(errors.UsageError, match="read only once"):
        NewNegatives(1, run, prepare(run), data.mining(), data.cleaning())
    run = replace(data.training(), groups=[*groups, groups[0]])
    with pytest.raises(errors.DuplicateId, match="'q0' occurs again"):
        NewNegatives(1, run, prepare(run), data.mining(), data.cleaning()).check()


def test_weights_have_a_name_of_their_own(retriever: Path) -> None:
    model = library.SentenceTransformer(str(retriever), device="cpu")
    before = hash_weights(model)
    assert before == hash_weights(library.SentenceTransformer(str(retriever), device="cpu"))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    assert hash_weights(model) != before
    assert hash_weights(model.half()) != before


def test_what_a_run_hangs_on_names_its_retrievers(data: Data) -> None:
    checked = data.negatives(data.training()).check()
    assert checked["refresh_mining.retrievers"] == [CURRENT]
    assert checked["refresh_cleaning.model"] == "fake"
    assert checked["refresh_mining.score_by"] == CURRENT
