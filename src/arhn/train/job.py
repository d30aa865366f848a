"""One training run, from groups to a model's folder: what `arhn train` does, for the command line and for scripts.

Mistakes are found before the first step. A run that was killed resumes from its last checkpoint, and on a CPU with the
same number of threads it ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import platform
import time
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn import __version__
from arhn.files.atomic import output_errors
from arhn.files.locks import locked
from arhn.train import base_model, manifest
from arhn.train.manifest import Manifest
from arhn.train.preparation import Prepared, Training, prepare, rank
from arhn.train.refresh.epoch_groups import EpochGroups, OnEpoch

if TYPE_CHECKING:
    from arhn.train.callbacks import OnLog

__all__ = ["Prepared", "Training", "prepare", "train"]

_VERSIONS = ("torch", "sentence-transformers", "transformers", "accelerate", "peft")


def train(
    training: Training,
    *,
    on_epoch: OnEpoch | None = None,
    on_log: OnLog | None = None,
    prepared: Prepared | None = None,
) -> Manifest:
    """Train a model and write it into a folder, with its manifest.

    Args:
        training: what to train, on what.
        on_epoch: called after each epoch but the last with the model, in evaluation mode, and the number of epochs
            done. The groups it returns replace the present ones (see `arhn.train.refresh.epoch_groups`). A resumed run
            doesn't call it again for an epoch that had started.
        on_log: called with every logged loss.
        prepared: what `prepare` returned for the same `training`.

    Raises:
        what `prepare` raises.
        ModelUnavailable, ModelCorrupt: the model can't be loaded.
        OutputLocked: another process trains into the folder.
        TrainingError: the loss isn't a number any more.
    """
    started = time.monotonic()
    run = prepared or prepare(training)
    if training.resume and run.folder.finished:
        if rank() == 0:
            run.folder.require_same(run.identity)
            run.folder.finish()  # a process that was killed at its end may not have
        return manifest.read(run.folder.path)
    with ExitStack() as stack:
        if rank() == 0:
            stack.enter_context(locked(run.folder.lock, run.folder.busy_error))
        return _train(training, run, on_epoch, on_log, started)


def _train(
    training: Training, run: Prepared, on_epoch: OnEpoch | None, on_log: OnLog | None, started: float
) -> Manifest:
    import torch
    from transformers import set_seed

    from arhn.train.callbacks import CheckpointMarker, EpochStart, LossLogger
    from arhn.train.trainers import make_trainer

    if training.threads is not None:
        torch.set_num_threads(training.threads)
    set_seed(run.recipe.seed)  # a new head and adapters start with random weights
    with base_model.silence_libraries():
        model = base_model.load(run.recipe)
    if rank() == 0:
        run.folder.begin(run.identity, resume=training.resume)
    trainer = make_trainer(run.recipe, model, run.store, run.schedule, run.folder, run.device, rank())
    trainer.accelerator.wait_for_everyone()
    checkpoint = run.folder.find_latest() if training.resume else None
    epoch_groups = EpochGroups(run.folder, run.recipe, run.filtered, on_epoch, trainer.accelerator)
    for callback in (EpochStart(trainer, epoch_groups.prepare), CheckpointMarker(run.folder), LossLogger(on_log)):
        trainer.add_callback(callback)
    with base_model.silence_libraries():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    record = _make_manifest(run, trainer, epoch_groups, checkpoint, started)
    if rank() == 0:
        _save(model, run, record)
    trainer.accelerator.wait_for_everyone()
    return record


def _save(model: Any, run: Prepared, record: Manifest) -> None:
    from arhn.train.manifest import render_card

    if run.recipe.lora is not None:
        base_model.merge_adapters(model)
    folder = run.folder.path
    with base_model.silence_libraries(), output_errors(folder / "model"):
        model.save_pretrained(str(folder), create_model_card=False)
        (folder / "README.md").write_text(render_card(record), encoding="utf-8")
    record.write(folder)
    run.folder.finish()


def _make_manifest(
    run: Prepared, trainer: Any, epoch_groups: EpochGroups, checkpoint: Path | None, started: float
) -> Manifest:
    counts = run.store.counts
    data = manifest.Data(
        groups=run.groups,
        decisions=run.decisions,
        content_sha256=run.store.sha256,
        read=counts.read,
        used=counts.used,
        no_negatives=counts.no_negatives,
        contradicted_negatives=counts.contradicted,
        rejected_rows=run.rejected,
        positives=counts.positives,
        negatives=counts.negatives,
        filtered_passages=counts.filtered,
        sets=dict(counts.sets.most_common()),
        unnamed=counts.unnamed,
    )
    return Manifest(
        recipe=run.recipe.name,
        settings=run.recipe.model_dump(mode="json", exclude={"name"}),
        changed=list(run.changed),
        model=f"{run.recipe.model}@{run.recipe.revision}" if run.recipe.revision else run.recipe.model,
        data=data,
        refreshes=epoch_groups.records,
        steps=trainer.state.global_step,
        epochs=run.recipe.epochs,
        steps_per_epoch=run.schedule.steps,
        losses=[manifest.LossPoint.model_validate(line) for line in trainer.state.log_history if "loss" in line],
        device=str(trainer.args.device),
        devices=run.schedule.world,
        seconds=round(time.monotonic() - started, 1),
        resumed_from=int(checkpoint.name.rsplit("-", 1)[-1]) if checkpoint else None,
        versions=_list_versions(),
    )


def _list_versions() -> dict[str, str]:
    found = {"arhn": __version__, "python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # peft, if it was never needed
            continue
    return found
