"""sentence-transformers' trainers, with batches, checkpoints and epochs of ours. This module imports torch and
sentence-transformers; import it where training begins."""

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

from arhn.train.collate import PARTS, ListCollator, PairCollator, RetrieverCollator
from arhn.train.groups import GroupStore
from arhn.train.losses import CachedContrastiveLoss, ContrastiveLoss, ListwiseLoss
from arhn.train.output import Folder
from arhn.train.plan import Examples, Plan, Schedule
from arhn.train.recipe import Recipe

#: Seconds that other processes wait for the first one while it refreshes groups.
PATIENCE = 7 * 24 * 3600


class _Ours:
    """What both trainers do differently: batches come from a `Plan`, and nothing but the model is saved with it."""

    plan: Plan
    examples: Examples
    collator: Any
    model: Any
    args: Any

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process; the plan, not accelerate, deals them out."""
        return DataLoader(
            self.examples,  # type: ignore[arg-type]  # it has what a Dataset must have
            batch_sampler=self.plan,
            collate_fn=self.collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            # Its own: making an iterator draws from the generator that dropout uses, which a resumed run doesn't.
            generator=torch.Generator(),
        )

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: it would ask the hub about models and data sets."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002  # its name
        self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


class RetrieverTrainer(_Ours, SentenceTransformerTrainer):
    """SentenceTransformerTrainer for `ContrastiveLoss`."""

    def collect_features(self, inputs: dict[str, Any]) -> tuple[list[dict[str, torch.Tensor]], Any]:
        """Features of the queries, then of the passages, and the loss's marks."""
        marks = inputs.pop("marks")
        features, _ = super().collect_features(inputs)
        return features, marks


class RerankerTrainer(_Ours, CrossEncoderTrainer):
    """CrossEncoderTrainer, its batches ours."""


def trainer_for(
    recipe: Recipe, model: Any, store: GroupStore, schedule: Schedule, folder: Folder, device: str, rank: int
) -> RetrieverTrainer | RerankerTrainer:
    """A trainer that is ready for `train()`."""
    examples = Examples(store, recipe)
    plan = Plan(schedule, len(store), recipe.seed, rank)
    arguments = _arguments(recipe, schedule, folder, device)
    trainer: RetrieverTrainer | RerankerTrainer
    if recipe.kind == "reranker":
        args = _one_device(CrossEncoderTrainingArguments(**arguments))
        trainer = RerankerTrainer(model=model, args=args, loss=_reranker_loss(recipe, model, store))
        trainer.collator = PairCollator() if recipe.loss == "bce" else ListCollator()
    else:
        args = _one_device(SentenceTransformerTrainingArguments(**arguments))
        trainer = RetrieverTrainer(model=model, args=args, loss=retriever_loss(recipe, model))
        trainer.collator = collator_for(recipe, model)
    trainer.examples, trainer.plan = examples, plan
    for chatty in list(trainer.callback_handler.callbacks):
        if type(chatty).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(type(chatty))
    return trainer


def collator_for(recipe: Recipe, model: SentenceTransformer) -> RetrieverCollator:
    """How a retriever's batches are made."""
    return RetrieverCollator(
        preprocess=model.preprocess,
        query_prompt=model.prompts.get("query"),
        document_prompt=model.prompts.get("document"),
        parts=1 if recipe.architecture == "static" else PARTS,
    )


def retriever_loss(recipe: Recipe, model: SentenceTransformer) -> nn.Module:
    """The loss that a recipe asks for."""
    if recipe.mini_batch is None:
        return ContrastiveLoss(model, recipe.temperature)
    return CachedContrastiveLoss(model, recipe.temperature, recipe.mini_batch)


def _reranker_loss(recipe: Recipe, model: CrossEncoder, store: GroupStore) -> nn.Module:
    if recipe.loss == "lce":
        return ListwiseLoss(model, recipe.mini_batch)
    if recipe.loss == "lambda":
        return LambdaLoss(model, mini_batch_size=recipe.mini_batch or -1)
    return BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(_negatives_a_positive(recipe, store)))


def _negatives_a_positive(recipe: Recipe, store: GroupStore) -> float:
    """How many negatives there are for each positive in what an epoch shows; what a positive then weighs."""
    most = recipe.max_positives if recipe.positives == "all" else 1
    groups = [store[i] for i in range(len(store))]
    negatives = sum(min(recipe.negatives, len(group.negatives)) for group in groups)
    return max(1.0, negatives / sum(min(most, len(group.positives)) for group in groups))


def _arguments(recipe: Recipe, schedule: Schedule, folder: Folder, device: str) -> dict[str, Any]:
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
        # Two: one is removed while the next may still be in the writing.
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": recipe.workers,
        "dataloader_drop_last": schedule.world > 1,  # the plan's batches are equal; the library would warn
        "use_cpu": device == "cpu",
        "ddp_timeout": PATIENCE,
        **_checkpointing(recipe),
    }


def _one_device(args: Any) -> Any:
    """A process that nothing else was started beside would take all GPUs it sees, and cut our batches up."""
    if args.n_gpu > 1:
        args._n_gpu = 1
    return args


def _checkpointing(recipe: Recipe) -> dict[str, Any]:
    if not recipe.gradient_checkpointing:
        return {}
    # Renamed in transformers 5, which warns of the old name.
    fields = SentenceTransformerTrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}
