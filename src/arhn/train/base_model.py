"""The model that training starts from: found, checked and loaded as the recipe says.

The libraries are imported on first use.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arhn.errors import ArhnError, DeviceMissing, ModelCorrupt, ModelMissing, ModelUnavailable, RecipeError
from arhn.libraries import library, require
from arhn.retrieval.embedder import find_max_tokens
from arhn.retrieval.model_files import summarize
from arhn.train import special_tokens
from arhn.train.recipe import Recipe
from arhn.train.versions import require_versions

EXTRA = "train"
_MODULES, _CONFIG = "modules.json", "config.json"
_POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


def require_libraries(recipe: Recipe) -> None:
    """Raise MissingDependency where the extra `train` isn't installed, or peft for a recipe with adapters.

    Raises IncompatibleVersions where what is installed doesn't fit together.
    """
    needed = {"sentence_transformers": "sentence-transformers", "accelerate": "accelerate", "datasets": "datasets"}
    if recipe.lora is not None:
        needed["peft"] = "peft"
    for name, package in needed.items():
        require(name, package, EXTRA)
    require_versions(adapters=recipe.lora is not None)


def require_device(recipe: Recipe, device: str | None) -> str:
    """The device to train on: `device` if given, else the best one available of `cuda`, `mps` and `cpu`.

    Raises:
        DeviceMissing: the device isn't available, or lacks the recipe's precision.
    """
    torch = library("torch", EXTRA)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = device or next(name for name, present in available.items() if present)
    if not available.get(chosen, False):
        names = ", ".join(name for name, present in available.items() if present)
        raise DeviceMissing(
            f"device {device!r} isn't available here. Available: {names}. Leave --device out for the best of them; "
            "CUDA_VISIBLE_DEVICES chooses among several GPUs"
        )
    if recipe.precision != "float32" and chosen != "cuda":
        raise DeviceMissing(
            f"precision {recipe.precision!r} needs a GPU, and this run would be on {chosen}. Run it on a machine with "
            "a GPU, or use --set precision=float32"
        )
    if recipe.precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise DeviceMissing("precision 'bf16' isn't supported by this GPU. Use --set precision=fp16")
    return chosen


def find_model(recipe: Recipe) -> str:
    """The recipe's model: the path of its folder, or its name on the hub, which isn't contacted.

    Raises:
        ModelMissing: it is a file, a folder without the kind of model that the recipe needs, or neither a folder nor a
            possible name on the hub.
    """
    path = Path(recipe.model).expanduser()
    if path.is_file():
        raise _missing_error(recipe, "it is a file")
    if path.is_dir():
        _require_model(recipe, path)
        return str(path)
    if recipe.model.startswith(("/", ".", "~")) or recipe.model.count("/") > 1 or not recipe.model.strip():
        raise _missing_error(recipe, "no such folder, and not a name on the hub (org/name)")
    return recipe.model if "/" in recipe.model else f"sentence-transformers/{recipe.model}"


def require_available(recipe: Recipe) -> None:
    """Check that the model can be loaded, without fetching more than its settings.

    Raises:
        ModelMissing, ModelUnavailable, ModelCorrupt: as `load`.
    """
    place = find_model(recipe)
    if Path(place).is_dir():
        return
    try:
        if not _has_modules(recipe, place):
            library("huggingface_hub", EXTRA).hf_hub_download(place, _CONFIG, revision=recipe.revision)
    except Exception as error:  # whatever the hub raises
        raise _loading_error(recipe, place, error) from error


def load(recipe: Recipe) -> Any:
    """Load the model with the recipe's prompts, length, pooling and adapters.

    Returns:
        A SentenceTransformer or a CrossEncoder, on the CPU; the trainer moves it.

    Raises:
        ModelMissing: as `find_model`.
        ModelUnavailable: the model can't be fetched from the hub and isn't in its cache.
        ModelCorrupt: its files can't be loaded.
        RecipeError: `max_length` is more than the model takes.
    """
    place = find_model(recipe)
    try:
        model = _load_reranker(recipe, place) if recipe.kind == "reranker" else _load_retriever(recipe, place)
    except ArhnError:
        raise
    except Exception as error:  # whatever the hub and the loaders of a dozen file formats raise
        raise _loading_error(recipe, place, error) from error
    if model.transformers_model is not None:
        _require_length(model, recipe)
        special_tokens.set_pad_token(model)
    if recipe.lora is not None:
        _add_adapters(model, recipe)
    return model


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence the progress bars and logs of the libraries; afterwards their settings are restored."""
    logs = library("transformers.utils.logging", EXTRA)
    ours = logging.getLogger("sentence_transformers")
    bars, level, before = logs.is_progress_bar_enabled(), logs.get_verbosity(), ours.level
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    ours.setLevel(logging.ERROR)
    try:
        yield
    finally:
        ours.setLevel(before)
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def merge_adapters(model: Any) -> None:
    """Merge low-rank adapters into the weights of `model`, so that its saved folder needs no other model."""
    layers = library("peft.tuners.tuners_utils", EXTRA).BaseTunerLayer
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, layers):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    transformer = model.transformers_model
    transformer._hf_peft_config_loaded = False
    del transformer.peft_config


def _load_retriever(recipe: Recipe, place: str) -> Any:
    library_ = library("sentence_transformers", EXTRA)
    if recipe.architecture == "static":
        model = _load_static(recipe, place)
    elif recipe.pooling is None or _has_modules(recipe, place):
        model = library_.SentenceTransformer(place, **_loading_options(recipe, place))
    else:
        model = _load_language_model(recipe, place)
    if recipe.max_length is not None:
        model.max_seq_length = recipe.max_length
    for name, prompt in (("query", recipe.query_prompt), ("document", recipe.document_prompt)):
        if prompt is not None:
            model.prompts[name] = prompt
    return model


def _loading_options(recipe: Recipe, place: str) -> dict[str, Any]:
    # Weights in 16 bits wouldn't change: a step of 1e-5 is less than half the distance between neighbouring numbers
    # around 0.02. Weights under adapters don't change anyway.
    dtype = recipe.dtype or (None if recipe.lora else "float32")
    kwargs = {"dtype": dtype, "attn_implementation": recipe.attention}
    return {
        "device": "cpu",
        "revision": None if Path(place).is_dir() else recipe.revision,
        "model_kwargs": {name: value for name, value in kwargs.items() if value is not None},
    }


def _load_language_model(recipe: Recipe, place: str) -> Any:
    """A retriever on a plain language model."""
    library_ = library("sentence_transformers", EXTRA)
    parts = library("sentence_transformers.sentence_transformer.modules", EXTRA)
    base = library("sentence_transformers.base.modules", EXTRA)
    loading = _loading_options(recipe, place)
    revision = {"revision": loading["revision"]} if loading["revision"] else {}
    transformer = base.Transformer(
        place,
        model_kwargs={**loading["model_kwargs"], **revision},
        config_kwargs=revision or None,
        processor_kwargs=revision or None,
    )
    assert recipe.pooling is not None  # nosec B101 - narrows a type
    if recipe.pooling == "last":
        special_tokens.append_end_token(transformer.tokenizer)
    pooling = parts.Pooling(transformer.get_embedding_dimension(), pooling_mode=_POOLING[recipe.pooling])
    return library_.SentenceTransformer(modules=[transformer, pooling, parts.Normalize()], device="cpu")


def _load_static(recipe: Recipe, place: str) -> Any:
    """A mean of token embeddings, initialised with the input embeddings of a transformer."""
    library_ = library("sentence_transformers", EXTRA)
    parts = library("sentence_transformers.sentence_transformer.modules", EXTRA)
    model = library_.SentenceTransformer(place, **_loading_options(recipe, place))
    if isinstance(model[0], parts.StaticEmbedding):  # the model is already static
        return model
    weights = model.transformers_model.get_input_embeddings().weight.detach().clone().float()
    embedding = parts.StaticEmbedding(model.tokenizer, embedding_weights=weights)
    embedding.tokenizer.no_truncation()
    return library_.SentenceTransformer(modules=[embedding, parts.Normalize()], device="cpu")


def _load_reranker(recipe: Recipe, place: str) -> Any:
    library_ = library("sentence_transformers", EXTRA)
    return library_.CrossEncoder(place, num_labels=1, max_length=recipe.max_length, **_loading_options(recipe, place))


def _require_length(model: Any, recipe: Recipe) -> None:
    """Raise RecipeError where `max_length` is more than the model takes."""
    most = find_max_tokens(model)
    if most is not None and recipe.max_length is not None and recipe.max_length > most:
        raise RecipeError(
            f"max_length is {recipe.max_length}, but model {recipe.model!r} holds {most} tokens. Take "
            f"--set max_length={most}, or another model"
        )


def _add_adapters(model: Any, recipe: Recipe) -> None:
    lora = recipe.lora
    assert lora is not None  # nosec B101 - narrows a type
    peft = library("peft", EXTRA)
    model.add_adapter(
        peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.targets) if lora.targets else None,
            task_type=peft.TaskType.FEATURE_EXTRACTION if recipe.kind == "retriever" else peft.TaskType.SEQ_CLS,
        )
    )
    for parameter in model.parameters():
        if parameter.requires_grad:  # adapters get the type of the weights under them: see `_loading_options`
            parameter.data = parameter.data.float()


def _has_modules(recipe: Recipe, place: str) -> bool:
    if Path(place).is_dir():
        return (Path(place) / _MODULES).is_file()
    hub = library("huggingface_hub", EXTRA)
    errors = library("huggingface_hub.errors", EXTRA)
    try:
        hub.hf_hub_download(place, _MODULES, revision=recipe.revision)
    except errors.LocalEntryNotFoundError:  # the hub can't be reached; also an EntryNotFoundError
        raise
    except errors.EntryNotFoundError:
        return False
    return True


def _require_model(recipe: Recipe, folder: Path) -> None:
    if (folder / _MODULES).is_file():
        return
    plain = (folder / _CONFIG).is_file()
    if not plain:
        raise _missing_error(recipe, f"the folder holds neither {_MODULES} nor {_CONFIG}")
    if recipe.kind == "retriever" and recipe.pooling is None:
        raise _missing_error(
            recipe,
            f"the folder holds no {_MODULES}, so it is a plain language model, and the recipe sets no pooling "
            "(--set pooling=mean, cls or last)",
        )


def _missing_error(recipe: Recipe, reason: str) -> ModelMissing:
    return ModelMissing(
        f"Model {recipe.model!r}: {reason}. Give the folder of a model, or its name on the hub: --model FOLDER or "
        "--model org/name"
    )


def _loading_error(recipe: Recipe, place: str, error: Exception) -> ArhnError:
    if Path(place).is_dir():
        return ModelCorrupt(
            f"Model {recipe.model!r} can't be loaded: {summarize(error)} Fetch it again, or choose another model"
        )
    if isinstance(error, OSError):  # the errors of the hub and the network are too
        return ModelUnavailable(
            f"Model {recipe.model!r} isn't in the hub's cache and can't be fetched: {summarize(error)} Check the name "
            "and the network, or give a folder: --model FOLDER"
        )
    return ModelCorrupt(f"Model {recipe.model!r} can't be loaded: {summarize(error)} Choose another model")
