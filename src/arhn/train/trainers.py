"""sentence-transformers' trainers, adapted to our plan of batches, our checkpoints and our epochs.

This module imports torch and sentence-transformers, so import it only where training starts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, LambdaLoss
from sentence_transformers.sentence_transformer import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from torch.utils.data import DataLoader

from arhn.train.collators import PARTS, ListCollator, PairCollator, RetrieverCollator
from arhn.train.groups import GroupStore
from arhn.train.losses import CachedContrastiveLoss, ContrastiveLoss, ListwiseLoss
from arhn.train.model_folder import ModelFolder
from arhn.train.plan import Examples, Plan, Schedule
from arhn.train.recipe import Recipe

#: Seconds that the other processes wait while the first one refreshes groups.
REFRESH_TIMEOUT = 7 * 24 * 3600


class _PlannedTraining:
    """What both trainers do differently from the library's: batches come from a `Plan`, and only the model is saved."""

    plan: Plan
    examples: Examples
    collator: Any
    model: Any
    args: Any

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process, as the plan, and not accelerate, distributes them."""
        return DataLoader(
            self.examples,  # type: ignore[arg-type]  # it has what a Dataset must have
            batch_sampler=self.plan,
            collate_fn=self.collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            # An own generator: otherwise making an iterator would draw from dropout's, unlike in a resumed run.
            generator=torch.Generator(),
        )

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no model card, because making one asks the hub about models and data sets."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002  # its name
        self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


class RetrieverTrainer(_PlannedTraining, SentenceTransformerTrainer):
    """A SentenceTransformerTrainer for `ContrastiveLoss`."""

    def collect_features(self, inputs: dict[str, Any]) -> tuple[list[dict[str, torch.Tensor]], Any]:
        """The features of the queries, then of the passages, and the marks for the loss."""
        marks = inputs.pop("marks")
        features, _ = super().collect_features(inputs)
        return features, marks


class RerankerTrainer(_PlannedTraining, CrossEncoderTrainer):
    """A CrossEncoderTrainer with planned batches."""


def make_trainer(
    recipe: Recipe, model: Any, store: GroupStore, schedule: Schedule, folder: ModelFolder, device: str, rank: int
) -> RetrieverTrainer | RerankerTrainer:
    """Make a trainer that is ready for `train()`.

    Args:
        recipe: how to train.
        model: the loaded model.
        store: the groups to train on.
        schedule: how an epoch is divided.
        folder: where checkpoints go.
        device: `cpu`, `cuda` or `mps`.
        rank: the number of this process.
    """
    examples = Examples(store, recipe)
    plan = Plan(schedule, len(store), recipe.seed, rank)
    arguments = _training_arguments(recipe, schedule, folder, device)
    trainer: RetrieverTrainer | RerankerTrainer
    if recipe.kind == "reranker":
        args = _use_one_device(CrossEncoderTrainingArguments(**arguments))
        trainer = RerankerTrainer(model=model, args=args, loss=_make_reranker_loss(recipe, model, store))
        trainer.collator = PairCollator() if recipe.loss == "bce" else ListCollator()
    else:
        args = _use_one_device(SentenceTransformerTrainingArguments(**arguments))
        trainer = RetrieverTrainer(model=model, args=args, loss=make_retriever_loss(recipe, model))
        trainer.collator = make_collator(recipe, model)
    trainer.examples, trainer.plan = examples, plan
    for chatty in list(trainer.callback_handler.callbacks):
        if type(chatty).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(type(chatty))
    return trainer


def make_collator(recipe: Recipe, model: SentenceTransformer) -> RetrieverCollator:
    """Make the collator for a retriever, with the model's prompts."""
    return RetrieverCollator(
        preprocess=model.preprocess,
        query_prompt=model.prompts.get("query"),
        document_prompt=model.prompts.get("document"),
        parts=1 if recipe.architecture == "static" else PARTS,
    )


def make_retriever_loss(recipe: Recipe, model: SentenceTransformer) -> nn.Module:
    """Make the loss of a retriever, with cached gradients if the recipe sets `mini_batch`."""
    if recipe.mini_batch is None:
        return ContrastiveLoss(model, recipe.temperature)
    return CachedContrastiveLoss(model, recipe.temperature, recipe.mini_batch)


def _make_reranker_loss(recipe: Recipe, model: CrossEncoder, store: GroupStore) -> nn.Module:
    if recipe.loss == "lce":
        return ListwiseLoss(model, recipe.mini_batch)
    if recipe.loss == "lambda":
        return LambdaLoss(model, mini_batch_size=recipe.mini_batch or -1)
    return BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(_count_negatives_per_positive(recipe, store)))


def _count_negatives_per_positive(recipe: Recipe, store: GroupStore) -> float:
    """How many negatives an epoch uses for each positive, at least 1: the weight of a positive in the loss."""
    most = recipe.max_positives if recipe.positives == "all" else 1
    groups = [store[i] for i in range(len(store))]
    negatives = sum(min(recipe.negatives, len(group.negatives)) for group in groups)
    return max(1.0, negatives / sum(min(most, len(group.positives)) for group in groups))


def _training_arguments(recipe: Recipe, schedule: Schedule, folder: ModelFolder, device: str) -> dict[str, Any]:
    total = recipe.epochs * schedule.steps
    return {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": schedule.largest,
        "gradient_accumulation_steps": schedule.accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule if recipe.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": math.ceil(recipe.warmup * total),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.precision == "bf16",
        "fp16": recipe.precision == "fp16",
        "seed": recipe.seed,
        "logging_strategy": "steps",
        "logging_steps": min(recipe.log_steps, total),
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": recipe.save_steps or schedule.steps,
        # Two, because one is removed while the next may not be complete yet.
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": recipe.workers,
        "dataloader_drop_last": schedule.world > 1,  # the plan's batches are equal; the library would warn
        "use_cpu": device == "cpu",
        "ddp_timeout": REFRESH_TIMEOUT,
        **_checkpointing_arguments(recipe),
    }


def _use_one_device(args: Any) -> Any:
    """Use one GPU only: a process that is the only one would use all GPUs it sees, and split our batches."""
    if args.n_gpu > 1:
        args._n_gpu = 1
    return args


def _checkpointing_arguments(recipe: Recipe) -> dict[str, Any]:
    if not recipe.gradient_checkpointing:
        return {}
    # transformers 5 renamed the setting, and warns about the old name.
    fields = SentenceTransformerTrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}
