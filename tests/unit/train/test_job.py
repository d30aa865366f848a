"""Whole runs on a tiny model: what they leave, that they can be gone on with, and why some can't begin."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arhn import cli, formats
from arhn.errors import (
    ArhnError,
    BadJson,
    DataError,
    DeviceMissing,
    FileMissing,
    MissingDependency,
    MixedFormats,
    ModelCorrupt,
    ModelMissing,
    ModelUnavailable,
    NothingToTrain,
    OtherRun,
    OutputExists,
    OutputLocked,
    OutputNotWritable,
    RecipeError,
    TrainingError,
    UsageError,
)
from arhn.files.locks import locked
from arhn.train import manifest
from arhn.train.job import train
from arhn.train.manifest import Manifest
from arhn.train.model_folder import ModelFolder
from arhn.train.preparation import Training, prepare
from arhn.types import CleanedGroup, Decision, Group, Reason
from tests.unit.train import tiny

torch = pytest.importorskip("torch")
library = pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

# The libraries below deprecate among themselves; that isn't ours to fail on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SETTINGS = ("epochs=2", "batch=8", "save_steps=2", "log_steps=1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 groups with two positives each: five steps of eight an epoch."""
    return written(tmp_path / "train.jsonl", tiny.groups(40, positives=2))


def written(path: Path, groups: Iterable[Group]) -> Path:
    with formats.GroupWriter(path, "tevatron") as writer:
        for group in groups:
            writer.write(group)
    return path


def training(data: Path | Sequence[Group], retriever: Path, output: Path, *settings: str, **changes: Any) -> Training:
    given = {"recipe": "tiny", "model": str(retriever), "device": "cpu", "threads": 1, **changes}
    return Training(groups=data, output=output, settings=(*SETTINGS, *settings), **given)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    mine, right = weights(one), weights(other)
    return mine.keys() == right.keys() and all(torch.equal(mine[name], right[name]) for name in mine)


class Stopped(Exception):
    """Stands for whatever stops a run."""


def stop_at(step: int) -> Any:
    def on_log(logs: dict[str, float]) -> None:
        if logs["step"] >= step:
            raise Stopped

    return on_log


def test_a_model_comes_with_all_that_evaluation_needs(data: Path, retriever: Path, tmp_path: Path) -> None:
    record = train(
        training(
            data, retriever, tmp_path / "m", 'query_prompt="query : "', 'document_prompt="passage : "', "max_length=32"
        )
    )
    model = library.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert model.prompts["query"] == "query : "
    assert model.prompts["document"] == "passage : "
    assert model.max_seq_length == 32
    assert model.encode_query(["w1 w2"]).shape == (1, 32)
    assert record == manifest.read(tmp_path / "m")
    assert not same(tmp_path / "m", retriever)
    assert "arhn train --recipe tiny" in (tmp_path / "m" / "README.md").read_text()
    assert [path.name for path in (tmp_path / "m" / "checkpoints").iterdir()] == ["run.json"]


def test_the_manifest_says_what_was_done(data: Path, retriever: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    record = train(training(data, retriever, tmp_path / "m", "seed=7"), on_log=lambda logs: seen.append(logs["step"]))
    content = json.loads((tmp_path / "m" / manifest.NAME).read_text())
    assert content["schema"] == 1
    assert (record.recipe, record.settings["seed"], record.settings["temperature"]) == ("tiny", 7, 0.05)
    assert record.changed == [*SETTINGS, "seed=7", f"model={retriever}"]
    assert (record.steps, record.epochs, record.steps_per_epoch) == (10, 2, 5)
    assert [logged.step for logged in record.losses] == list(range(1, 11)) == seen
    assert record.losses[-1].learning_rate < record.losses[1].learning_rate
    assert (record.data.read, record.data.used, record.data.positives, record.data.negatives) == (40, 40, 80, 120)
    assert record.data.sets == {"fever": 20, "nq": 20}
    assert record.data.groups.sha256 == sha256(data)
    assert {"arhn", "torch", "sentence-transformers"} <= record.versions.keys()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_seeds_decide_the_weights(data: Path, retriever: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(training(data, retriever, tmp_path / name, f"seed={seed}"))
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("settings", [("mini_batch=3",), ("contrast=4", "positives=all"), ("negatives=1", "epochs=1")])
def test_a_stopped_run_goes_on_to_the_same_weights(
    data: Path, retriever: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    train(training(data, retriever, tmp_path / "whole", *settings))
    with pytest.raises(Stopped):
        train(training(data, retriever, tmp_path / "m", *settings), on_log=stop_at(5))
    assert not (tmp_path / "m" / manifest.NAME).exists()
    record = train(training(data, retriever, tmp_path / "m", *settings, resume=True))
    assert record.resumed_from == 4
    assert same(tmp_path / "whole", tmp_path / "m")
    assert record.losses == manifest.read(tmp_path / "whole").losses


def killed_at_step_7(run: Training) -> None:
    """In a process of its own."""

    def on_log(logs: dict[str, float]) -> None:
        if logs["step"] >= 7:
            os.kill(os.getpid(), signal.SIGKILL)

    train(run, on_log=on_log)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks: a new interpreter would import everything once more")
def test_kill_9_in_the_middle(data: Path, retriever: Path, tmp_path: Path) -> None:
    run = training(data, retriever, tmp_path / "m")
    process = multiprocessing.get_context("fork").Process(target=killed_at_step_7, args=(run,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    # As a process leaves it that is killed while it writes a checkpoint.
    shutil.copytree(tmp_path / "m" / "checkpoints" / "checkpoint-6", tmp_path / "m" / "checkpoints" / "checkpoint-8")
    (tmp_path / "m" / "checkpoints" / "checkpoint-8" / "arhn.checkpoint.json").unlink()
    (tmp_path / "m" / "checkpoints" / "checkpoint-8" / "optimizer.pt").unlink()
    assert train(replace(run, resume=True)).resumed_from == 6
    train(training(data, retriever, tmp_path / "whole"))
    assert same(tmp_path / "whole", tmp_path / "m")


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_again(
    data: Path, retriever: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(training(data, retriever, tmp_path / "m"), on_log=stop_at(1))
    assert train(training(data, retriever, tmp_path / "m", resume=True)).resumed_from is None


def test_a_finished_run_is_not_done_again(data: Path, retriever: Path, tmp_path: Path) -> None:
    record = train(training(data, retriever, tmp_path / "m"))
    before = (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns
    assert train(training(data, retriever, tmp_path / "m", resume=True)) == record
    assert (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_that_is_killed_while_it_tidies_up_is_done(
    data: Path, retriever: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: ModelFolder) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ModelFolder, "finish", killed)
        train(training(data, retriever, tmp_path / "m", "epochs=1"))
    assert list((tmp_path / "m" / "checkpoints").glob("checkpoint-*"))
    record = train(training(data, retriever, tmp_path / "m", "epochs=1", resume=True))
    assert (record.steps, record.resumed_from) == (5, None)
    assert not list((tmp_path / "m" / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize("name", ["tiny", "reranker-tiny"])
def test_a_process_takes_one_gpu_of_several(
    data: Path, retriever: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from transformers import TrainingArguments

    from arhn.train import base_model, trainers

    run = prepare(training(data, retriever, tmp_path / "m", recipe=name))
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: getattr(self, "_n_gpu", 4) or 4))
    trainer = trainers.make_trainer(
        run.recipe, base_model.load(run.recipe), run.store, run.schedule, run.folder, "cpu", 0
    )
    assert trainer.args.n_gpu == 1


def test_settings_that_change_nothing_learned_may_change(data: Path, retriever: Path, tmp_path: Path) -> None:
    train(training(data, retriever, tmp_path / "m"))
    train(training(data, retriever, tmp_path / "m", "log_steps=3", "workers=1", resume=True))


@pytest.mark.parametrize(
    ("settings", "changes", "says"),
    [
        (("learning_rate=1e-3",), {}, "learning_rate is 0.001, and was 5e-05"),
        (("seed=1",), {}, "seed is 1, and was 42"),
        (("kind=reranker", "loss=bce"), {}, "kind is reranker, and was retriever"),
        ((), {"limit": 30}, "data is "),
        ((), {"recipe": "tiny-static"}, "recipe is tiny-static, and was tiny"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    data: Path, retriever: Path, tmp_path: Path, settings: tuple[str, ...], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Stopped):
        train(training(data, retriever, tmp_path / "m"), on_log=stop_at(3))
    before = sorted((tmp_path / "m").rglob("*"))
    with pytest.raises(OtherRun) as caught:
        train(training(data, retriever, tmp_path / "m", *settings, resume=True, **changes))
    assert says in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert sorted((tmp_path / "m").rglob("*")) == before


def test_only_models_of_ours_are_replaced(data: Path, retriever: Path, tmp_path: Path) -> None:
    train(training(data, retriever, tmp_path / "m", "epochs=1"))
    with pytest.raises(OutputExists, match="resume it with --resume, replace it with --overwrite"):
        train(training(data, retriever, tmp_path / "m", "epochs=1"))
    train(training(data, retriever, tmp_path / "m", "seed=3", overwrite=True))
    assert manifest.read(tmp_path / "m").settings["seed"] == 3
    (tmp_path / "link").symlink_to(tmp_path / "m")
    train(training(data, retriever, tmp_path / "link", "epochs=1", "seed=4", overwrite=True))
    assert manifest.read(tmp_path / "m").settings["seed"] == 4
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    for changes in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputNotWritable, match="isn't a model of 'arhn train', so it isn't replaced"):
            train(training(data, retriever, foreign, **changes))
    with pytest.raises(OutputNotWritable, match="there is no folder"):
        train(training(data, retriever, tmp_path / "no" / "m"))
    with pytest.raises(UsageError, match="--overwrite and --resume"):
        train(training(data, retriever, tmp_path / "m", overwrite=True, resume=True))


def test_one_run_at_a_time(data: Path, retriever: Path, tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "m")
    with locked(folder.lock, folder.busy_error), pytest.raises(OutputLocked, match="another arhn process is training"):
        train(training(data, retriever, tmp_path / "m"))


def cleaned(group: Group, *filtered: str) -> CleanedGroup:
    decisions = tuple(
        Decision(doc_id=p.doc_id, action="filter" if p.doc_id in filtered else "keep", reason=Reason.MARGIN)
        for p in group.passages
    )
    return CleanedGroup(group=group, decisions=decisions, extractions=())


class Refresher:
    """Other negatives in every epoch, the first of which cleaning filters; says when it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, model: Any, epoch: int) -> list[CleanedGroup] | None:
        assert not model.training
        torch.rand(3)  # whatever it draws, the run goes on as if it hadn't
        self.asked.append(epoch)
        if epoch == 3:
            return None
        found = tiny.groups(40, positives=2, seed=epoch)
        return [cleaned(group, group.negatives[0].doc_id) for group in found]


def test_groups_are_replaced_between_epochs(data: Path, retriever: Path, tmp_path: Path) -> None:
    refresh = Refresher()
    record = train(training(data, retriever, tmp_path / "m", "epochs=4"), on_epoch=refresh)
    assert refresh.asked == [1, 2, 3]
    assert [(each.epoch, each.used, each.groups.path) for each in record.refreshes] == [
        (1, 40, "groups/epoch-1.jsonl.zst"),
        (2, 40, "groups/epoch-2.jsonl.zst"),
    ]
    found = list(formats.read(tmp_path / "m" / "groups" / "epoch-2.jsonl.zst"))
    assert [len(group.negatives) for group in found] == [2] * 40
    rows = [
        json.loads(line) for line in (tmp_path / "m" / "groups" / "epoch-2.decisions.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 40
    assert {row["action"] for row in rows} == {"filter"}
    train(training(data, retriever, tmp_path / "plain", "epochs=4"))
    assert not same(tmp_path / "m", tmp_path / "plain")


REFRESHED = ("epochs=4", "save_steps=1", "batch=20")  # two steps an epoch


@pytest.fixture(scope="module")
def refreshed(retriever: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with refreshes that nothing stopped."""
    folder = tmp_path_factory.mktemp("refreshed") / "m"
    train(training(tiny.groups(40, positives=2), retriever, folder, *REFRESHED), on_epoch=Refresher())
    return folder


@pytest.mark.parametrize(
    ("step", "asked"),
    [(4, [2, 3]), (5, [3]), (6, [3]), (7, [3]), (8, [])],
    ids=["in the second epoch", "as the third had begun", "in the third", "as the fourth had begun", "in the fourth"],
)
def test_a_run_with_refreshes_goes_on_to_the_same_weights(
    retriever: Path, refreshed: Path, tmp_path: Path, step: int, asked: list[int]
) -> None:
    run = training(tiny.groups(40, positives=2), retriever, tmp_path / "m", *REFRESHED)
    with pytest.raises(Stopped):
        train(run, on_epoch=Refresher(), on_log=stop_at(step))
    refresh = Refresher()
    record = train(replace(run, resume=True), on_epoch=refresh)
    # The third refresh gave nothing new, so nothing on the disk tells that it was asked for already.
    assert refresh.asked == asked
    assert record.resumed_from == step - 1
    assert record.refreshes == manifest.read(refreshed).refreshes
    assert same(refreshed, tmp_path / "m")


def test_what_a_refresh_leaves_must_be_trainable(data: Path, retriever: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToTrain, match="the groups that epoch 1 was to go on with: no groups"):
        train(training(data, retriever, tmp_path / "m"), on_epoch=lambda *_: tiny.groups(3, negatives=0))


def test_decisions_beside_the_groups_are_used(data: Path, retriever: Path, tmp_path: Path) -> None:
    rows = [{"query_id": f"q{i}", "doc_id": f"n{i}-0-0", "action": "filter"} for i in range(10)]
    path = tmp_path / "train.decisions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prepare(training(data, retriever, tmp_path / "m"))
    assert (found.store.counts.filtered, found.store.counts.contradicted) == (10, 10)
    assert found.decisions == manifest.InputFile(path=str(path), sha256=sha256(path))
    without = prepare(training(data, retriever, tmp_path / "m", use_decisions=False))
    assert (without.store.counts.filtered, without.decisions) == (0, None)
    elsewhere = path.rename(tmp_path / "elsewhere.jsonl")
    assert prepare(training(data, retriever, tmp_path / "m")).store.counts.filtered == 0
    assert prepare(training(data, retriever, tmp_path / "m", decisions=elsewhere)).store.counts.filtered == 10
    with pytest.raises(UsageError, match="--decisions and --no-decisions"):
        prepare(training(data, retriever, tmp_path / "m", decisions=elsewhere, use_decisions=False))


@pytest.mark.parametrize("loss", ["bce", "lce", "lambda"])
def test_rerankers(data: Path, retriever: Path, tmp_path: Path, loss: str) -> None:
    options = {"recipe": "reranker-tiny"}
    record = train(training(data, retriever, tmp_path / "m", f"loss={loss}", "max_length=32", **options))
    model = library.CrossEncoder(str(tmp_path / "m"), device="cpu")
    assert record.steps == 10
    assert model.predict([("w1", "w2"), ("w1", "w3")]).shape == (2,)
    assert model.max_length == 32


def test_a_stopped_reranker_goes_on(data: Path, retriever: Path, tmp_path: Path) -> None:
    options = {"recipe": "reranker-tiny"}
    train(training(data, retriever, tmp_path / "whole", "max_length=32", **options))
    with pytest.raises(Stopped):
        train(training(data, retriever, tmp_path / "m", "max_length=32", **options), on_log=stop_at(5))
    train(training(data, retriever, tmp_path / "m", "max_length=32", resume=True, **options))
    assert same(tmp_path / "whole", tmp_path / "m")


def test_labelled_lists_are_what_the_library_trains_rerankers_on(data: Path, retriever: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import LambdaLoss, ListNetLoss

    path = tmp_path / "lists.jsonl"
    assert cli.main(["convert", str(data), "-o", str(path), "--to", "labeled_list"]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["labels"] for row in rows] == [[1, 1, 0, 0, 0]] * 40
    lists = datasets.Dataset.from_list(rows).select_columns(["query", "docs", "labels"])
    model = library.CrossEncoder(str(retriever), num_labels=1, max_length=32, device="cpu")
    for loss in (LambdaLoss(model), ListNetLoss(model)):
        arguments = CrossEncoderTrainingArguments(
            output_dir=str(tmp_path / "o"), max_steps=1, use_cpu=True, report_to="none", save_strategy="no"
        )
        trainer = CrossEncoderTrainer(model=model, args=arguments, train_dataset=lists, loss=loss)
        assert trainer.train().training_loss > 0


def test_a_static_model_starts_from_the_models_token_embeddings(data: Path, retriever: Path, tmp_path: Path) -> None:
    train(training(data, retriever, tmp_path / "m", "learning_rate=1e-9", recipe="tiny-static"))
    model = library.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    base = library.SentenceTransformer(str(retriever), device="cpu").transformers_model.get_input_embeddings().weight
    ids = [tiny.VOCABULARY.index(word) for word in ("w1", "w2")]
    expected = torch.nn.functional.normalize(base[ids].mean(0), dim=0)
    assert torch.allclose(torch.tensor(model.encode("w1 w2")), expected, atol=1e-4)


def test_adapters_are_merged_into_the_weights(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plain = tiny.language_model(tmp_path / "decoder", "Mistral")
    settings = ("pooling=last", "epochs=1", "lora.r=2", 'lora.targets=["q_proj"]', "learning_rate=1e-2")
    train(training(data, plain, tmp_path / "whole", *settings))
    with pytest.raises(Stopped):
        train(training(data, plain, tmp_path / "m", *settings), on_log=stop_at(3))
    train(training(data, plain, tmp_path / "m", *settings, resume=True))
    assert same(tmp_path / "whole", tmp_path / "m")
    before, after = weights(plain), weights(tmp_path / "m")
    assert before.keys() == after.keys()
    assert {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])} == {"q_proj"}
    model = library.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert model[1].pooling_mode == "lasttoken"


def test_two_optimiser_steps_of_two_losses(data: Path, retriever: Path, tmp_path: Path) -> None:
    record = train(training(data, retriever, tmp_path / "m", "batch=20", "contrast=10"))
    assert (record.steps_per_epoch, record.steps) == (2, 4)


def test_a_model_learns(retriever: Path, tmp_path: Path) -> None:
    """The query's words are the positive's: after a while the right passage comes first."""
    made = [
        Group(query_id=g.query_id, query=g.positives[0].text, positives=g.positives, negatives=g.negatives)
        for g in tiny.groups(64)
    ]
    record = train(training(made, retriever, tmp_path / "m", "epochs=6", "learning_rate=3e-3", "batch=16"))
    losses = [logged.loss for logged in record.losses]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def test_a_lost_loss_stops_the_run(data: Path, retriever: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss isn't a number at step"):
        train(training(data, retriever, tmp_path / "m", "learning_rate=1e38", "max_grad_norm=0", "warmup=0"))


def broken(tmp_path: Path, retriever: Path) -> Path:
    copy = Path(shutil.copytree(retriever, tmp_path / "broken"))
    (copy / "model.safetensors").write_bytes(b"nothing")
    return copy


def no_model(tmp_path: Path, _: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def plain_model(tmp_path: Path, _: Path) -> Path:
    return tiny.language_model(tmp_path / "plain")


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (no_model, ModelMissing, "the folder holds neither modules.json nor config.json"),
        (plain_model, ModelMissing, "the recipe sets no pooling (--set pooling=mean, cls or last)"),
        (lambda tmp_path, _: tmp_path / "nowhere", ModelMissing, "no such folder, and not a name on the hub"),
        (lambda tmp_path, _: written(tmp_path / "file", tiny.groups(1)), ModelMissing, "it is a file"),
        (broken, ModelCorrupt, "can't be loaded"),
    ],
)
def test_models_that_are_not_there(
    data: Path, retriever: Path, tmp_path: Path, make: Any, error: type[ArhnError], says: str
) -> None:
    with pytest.raises(error) as caught:
        train(training(data, make(tmp_path, retriever), tmp_path / "m"))
    assert says in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_a_hub_that_can_not_be_reached(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match=r"isn't in the hub's cache and can't be fetched: .* --model FOLDER"):
        prepare(training(data, Path("arhn-tests/none"), tmp_path / "m"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "cuda"}, "device 'cuda' isn't available here. Available: "),
        ({"recipe": "e5-base"}, "precision 'bf16' needs a GPU, and this run would be on cpu"),
    ],
)
def test_a_gpu_that_is_not_there(
    data: Path, retriever: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(DeviceMissing) as caught:
        train(training(data, retriever, tmp_path / "m", **changes))
    assert says in str(caught.value)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


MIXED = (
    {"query": "q", "pos": ["a"], "neg": ["b"]},
    {"query_id": "1", "query": "q", "positive_passages": [], "negative_passages": []},
)


def test_groups_that_can_not_be_trained_on(retriever: Path, tmp_path: Path) -> None:
    def refused(data: Path, error: type[ArhnError], says: str, **changes: Any) -> None:
        with pytest.raises(error) as caught:
            train(training(data, retriever, tmp_path / "m", **changes))
        assert says in str(caught.value)
        assert not (tmp_path / "m").exists()

    refused(tmp_path / "none.jsonl", FileMissing, "can't be read")
    refused(lines(tmp_path / "a.jsonl", *MIXED), MixedFormats, "this row is tevatron")
    refused(lines(tmp_path / "b.jsonl", "{"), BadJson, "line 1")
    refused(
        written(tmp_path / "c.jsonl", tiny.groups(3, negatives=0)), NothingToTrain, "c.jsonl: no groups to train on"
    )
    refused(written(tmp_path / "d.jsonl", tiny.groups(5)), NothingToTrain, "batch of 8 queries, but only 5 groups")
    good = written(tmp_path / "e.jsonl", tiny.groups(9))
    refused(good, FileMissing, "Check the path", decisions=tmp_path / "none.jsonl")
    other = lines(tmp_path / "other.jsonl", {"query_id": "x", "doc_id": "d", "action": "keep"})
    refused(good, DataError, "none of its 1 query is in", decisions=other)


def test_bad_rows_are_counted_when_they_are_skipped(retriever: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", tiny.groups(20))
    with path.open("a") as file:
        file.write('{"query_id": "x", "query": "no positive", "positive_passages": [], "negative_passages": []}\n')
    with pytest.raises(DataError, match="positive_passages: expected at least one positive"):
        prepare(training(path, retriever, tmp_path / "m"))
    assert prepare(training(path, retriever, tmp_path / "m", on_bad_row="skip")).rejected == 1


def test_a_missing_library_is_named_with_its_extra(
    data: Path, retriever: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingDependency, match=r"pip install 'arhn\[train\]'"):
        prepare(training(data, retriever, tmp_path / "m"))


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="'arhn train' writes it when it is done"):
        manifest.read(tmp_path)
    (tmp_path / manifest.NAME).write_text("{}")
    with pytest.raises(BadJson, match="isn't the record of a training run"):
        manifest.read(tmp_path)


def command(data: Path, retriever: Path, *more: str) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train", str(data), "--recipe", "tiny", "--model", str(retriever), "--device", "cpu", *settings, *more]


def test_the_command_line(
    data: Path, retriever: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plan = command(data, retriever, "-o", str(tmp_path / "m"), "--dry-run")
    assert cli.main(plan) == 0
    shown = capsys.readouterr().out
    assert "40 groups; 80 positives, 120 negatives" in shown
    assert "data sets: fever (20), nq (20)" in shown
    assert "2 epochs of 5 steps, up to 8 queries a step" in shown
    assert not (tmp_path / "m").exists()
    with caplog.at_level("INFO"):
        assert cli.main([*plan[:-1], "--seed", "5"]) == 0
    assert manifest.read(tmp_path / "m").settings["seed"] == 5
    assert any(message.startswith("step 10 of 10, epoch 2: loss ") for message in caplog.messages)
    assert cli.main(plan[:-1]) == OutputExists.exit_code
    assert cli.main([*plan[:-1], "--resume"]) == OtherRun.exit_code
    assert cli.main([*plan[:-1], "--set", "epoch=1"]) == RecipeError.exit_code


def test_while_a_checkpoint_is_written_the_one_before_is_whole(data: Path, retriever: Path, tmp_path: Path) -> None:
    kept: list[set[str]] = []

    def whole(_: dict[str, float]) -> None:
        folders = (tmp_path / "m" / "checkpoints").glob("checkpoint-*")
        kept.append({folder.name for folder in folders if (folder / "arhn.checkpoint.json").is_file()})

    train(training(data, retriever, tmp_path / "m", "save_steps=1", "epochs=1"), on_log=whole)
    assert [len(each) for each in kept] == [0, 1, 2, 2, 2]
    assert all(len(before & after) for before, after in pairwise(kept[1:]))


def test_records_of_later_versions_are_read(data: Path, retriever: Path, tmp_path: Path) -> None:
    train(training(data, retriever, tmp_path / "m", "epochs=1"))
    path = tmp_path / "m" / manifest.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    assert isinstance(manifest.read(tmp_path / "m"), Manifest)
