"""One training run, from groups to a model's folder: what `arhn train` does, for the command line and for scripts.

Everything that can be wrong is found before the first step. A killed run goes on from its last checkpoint and ends
with the same weights, on a CPU and with the same number of threads.
"""

from __future__ import annotations

import platform
import time
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn._version import __version__
from arhn.files.atomic import output_errors
from arhn.files.locks import locked
from arhn.train import manifest, models
from arhn.train.manifest import Manifest
from arhn.train.prepare import Prepared, Training, prepare, rank
from arhn.train.refresh.groups import OnEpoch, Refreshing

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
        on_epoch: called after each epoch but the last with the model, in evaluation mode, and the number of epochs
            done; what it returns takes the place of the groups (see `arhn.train.refresh.groups`). In a run that was
            killed and goes on, it isn't called again for an epoch that was begun.
        on_log: called with every logged loss.
        prepared: what `prepare` made of the same `training`.

    Raises:
        as `prepare`, and ModelUnavailable, ModelCorrupt: the model can't be loaded.
        OutputLocked: another process trains into the folder.
        TrainingError: the loss isn't a number any more.
    """
    started = time.monotonic()
    run = prepared or prepare(training)
    if training.resume and run.folder.finished:
        if rank() == 0:
            run.folder.require_same(run.identity)
            run.folder.finish()  # as far as a process that was killed right then didn't
        return manifest.read(run.folder.path)
    with ExitStack() as stack:
        if rank() == 0:
            stack.enter_context(locked(run.folder.lock, run.folder.busy))
        return _trained(training, run, on_epoch, on_log, started)


def _trained(
    training: Training, run: Prepared, on_epoch: OnEpoch | None, on_log: OnLog | None, started: float
) -> Manifest:
    import torch
    from transformers import set_seed

    from arhn.train.callbacks import Epochs, Logging, Marking
    from arhn.train.trainers import trainer_for

    if training.threads is not None:
        torch.set_num_threads(training.threads)
    set_seed(run.recipe.seed)  # a new head, and adapters, have random weights
    with models.quiet():
        model = models.load(run.recipe)
    if rank() == 0:
        run.folder.begin(run.identity, resume=training.resume)
    trainer = trainer_for(run.recipe, model, run.store, run.schedule, run.folder, run.device, rank())
    trainer.accelerator.wait_for_everyone()
    checkpoint = run.folder.latest() if training.resume else None
    refreshing = Refreshing(run.folder, run.recipe, run.filtered, on_epoch, trainer.accelerator)
    for callback in (Epochs(trainer, refreshing.before), Marking(run.folder), Logging(on_log)):
        trainer.add_callback(callback)
    with models.quiet():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    record = _record(run, trainer, refreshing, checkpoint, started)
    if rank() == 0:
        _save(model, run, record)
    trainer.accelerator.wait_for_everyone()
    return record


def _save(model: Any, run: Prepared, record: Manifest) -> None:
    from arhn.train.manifest import card

    if run.recipe.lora is not None:
        models.merge_adapters(model)
    folder = run.folder.path
    with models.quiet(), output_errors(folder / "model"):
        model.save_pretrained(str(folder), create_model_card=False)
        (folder / "README.md").write_text(card(record), encoding="utf-8")
    record.write(folder)
    run.folder.finish()


def _record(run: Prepared, trainer: Any, refreshing: Refreshing, checkpoint: Path | None, started: float) -> Manifest:
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
        refreshes=refreshing.records,
        steps=trainer.state.global_step,
        epochs=run.recipe.epochs,
        steps_per_epoch=run.schedule.steps,
        losses=[manifest.Logged.model_validate(line) for line in trainer.state.log_history if "loss" in line],
        device=str(trainer.args.device),
        devices=run.schedule.world,
        seconds=round(time.monotonic() - started, 1),
        resumed_from=int(checkpoint.name.rsplit("-", 1)[-1]) if checkpoint else None,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {"arhn": __version__, "python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # peft, where no recipe has asked for it
            continue
    return found
