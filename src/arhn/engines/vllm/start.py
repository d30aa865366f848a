"""Starting vLLM in this process: its arguments, its environment, and what its errors mean."""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from arhn.engines.child_processes import Guard
from arhn.engines.loops import run_outside_loops
from arhn.engines.probes import LEAST_CONTEXT, USUAL_CONTEXT
from arhn.engines.protocol import ALTERNATIVES, hash_extra
from arhn.engines.vllm.start_errors import explain, find_first_raised
from arhn.errors import ArhnError, ContextTooShort, ModelMissing, UsageError
from arhn.libraries import library
from arhn.weights.folders import folder_identity

if TYPE_CHECKING:
    from arhn.engines.vllm.settings import Settings

logger = logging.getLogger(__name__)

#: vLLM's arguments that have a setting of their own.
_OURS: Mapping[str, str] = {
    "model": "engine.model",
    "tensor_parallel_size": "engine.tensor_parallel",
    "gpu_memory_utilization": "engine.gpu_memory",
    "max_model_len": "engine.context",
    "max_num_seqs": "engine.concurrency",
}
#: Arguments that the reading of answers depends on; users can't set them.
_FIXED: Mapping[str, Any] = {
    "structured_outputs_config": {"backend": "guidance"},
    "max_logprobs": ALTERNATIVES,
    "logprobs_mode": "raw_logprobs",
    "disable_log_stats": True,
    "enable_log_requests": False,
}
_NOT_OURS = ("reasoning_parser", "runner", "convert", "skip_tokenizer_init", "tokens_only", "log_config_file")
#: How `engine.args` may change without answers changing: where and how fast vLLM computes.
_PLACEMENT = frozenset(
    {
        "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend", "enable_prefix_caching",
        "max_num_batched_tokens", "enforce_eager", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size",
        "download_dir", "load_format", "hf_token", "cpu_offload_gb", "disable_custom_all_reduce", "async_scheduling",
        "use_tqdm_on_load", "shutdown_timeout",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """vLLM's `AsyncLLM`, running. `name`: the model's identity. `processes`: what it runs in."""

    llm: Any
    name: str
    context: int
    processes: Processes


class Processes:
    """vLLM's processes: they don't outlive this one. They report errors nowhere but in a log file."""

    def __init__(self) -> None:
        self._guard = Guard()
        self.mark = self._guard.mark
        self._folder = TemporaryDirectory(prefix="arhn-vllm-")
        self._file = Path(self._folder.name, "errors.log")

    @property
    def reason(self) -> str:
        """The first exception that was logged; empty where there is none."""
        try:
            logged = self._file.read_text("utf-8", "replace")
        except OSError:
            return ""
        return find_first_raised(logged)

    def close(self) -> None:
        """They have ended, or are ended."""
        self._guard.close()
        self._folder.cleanup()

    @contextmanager
    def environment(self) -> Iterator[None]:
        """What vLLM and its processes find in the environment, where the user doesn't say otherwise."""
        wanted = {
            # A process that has threads, as this one, can't be forked safely.
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_CONFIG_PATH": str(self._config()),
        }
        ours = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(ours)
        try:
            with self._guard.marking():
                yield
        finally:
            for name in ours:
                os.environ.pop(name, None)

    def _config(self) -> Path:
        """Warnings go to standard error, where vLLM would fill standard output with all it does."""
        level = os.environ.get("VLLM_LOGGING_LEVEL", "WARNING")
        common = {"formatter": "plain"}
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s vLLM: %(message)s", "datefmt": "%H:%M:%S"}},
            "handlers": {
                "shown": {**common, "class": "logging.StreamHandler", "level": level, "stream": "ext://sys.stderr"},
                "kept": {**common, "class": "logging.FileHandler", "level": "ERROR", "filename": str(self._file)},
            },
            "loggers": {"vllm": {"handlers": ["shown", "kept"], "level": level, "propagate": False}},
        }
        path = Path(self._folder.name, "logging.json")
        path.write_text(json.dumps(config), "utf-8")
        return path


def start(settings: Settings) -> Started:
    """Start vLLM; weights are loaded when this returns.

    Raises:
        MissingDependency: vLLM isn't installed.
        UsageError: arguments that vLLM doesn't have, or that aren't the user's to set.
        ModelMissing, ModelUnavailable: no such model, or a hub that can't be asked.
        ContextTooShort: fewer tokens than any question takes.
        EngineError: vLLM can't start.
    """
    model = _locate(settings.model)
    if settings.context is not None:
        _require_context(settings.context, settings.model)
    processes = Processes()
    try:
        with processes.environment():
            return _start_engine(settings, model, processes)
    except BaseException as error:
        ours = isinstance(error, ArhnError) or not isinstance(error, Exception)
        meant = None if ours else explain(error, settings.model, processes.reason)
        processes.close()
        if meant is not None:
            raise meant from error
        raise


def _start_engine(settings: Settings, model: str, processes: Processes) -> Started:
    vllm = library("vllm", "vllm")
    require_known(settings.args, [f.name for f in dataclasses.fields(vllm.AsyncEngineArgs)])
    config = _config(vllm.AsyncEngineArgs, _arguments(settings, model), settings)
    name = _identity(model, config, settings)
    # Not in an event loop: vLLM takes the one it is first asked in.
    make = library("vllm.v1.engine.async_llm", "vllm").AsyncLLM.from_vllm_config
    llm = run_outside_loops(lambda: make(config, disable_log_stats=True, enable_log_requests=False))
    return Started(llm=llm, name=name, context=config.model_config.max_model_len, processes=processes)


def require_known(args: Mapping[str, Any], known: list[str]) -> None:
    """Refuse arguments that vLLM doesn't have, and those that have a setting or that answers depend on.

    Raises:
        UsageError
    """
    for name in args:
        if name in _OURS:
            raise UsageError(f"engine.args: {name!r} has a setting of its own: {_OURS[name]}")
        if name in _FIXED or name in _NOT_OURS:
            raise UsageError(f"engine.args: {name!r} is set by arhn, which reads answers by it. Leave it out")
        if name not in known or name.startswith("_"):
            close = difflib.get_close_matches(name, known, n=3)
            meant = f"Did you mean {', '.join(close)}? " if close else ""
            raise UsageError(
                f"engine.args: this vLLM has no argument {name!r}. {meant}Give a field of its AsyncEngineArgs"
            )


def _arguments(settings: Settings, model: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": model,
        "tensor_parallel_size": settings.tensor_parallel,
        "max_model_len": settings.context or USUAL_CONTEXT,
        "max_num_seqs": settings.concurrency,
        "enable_prefix_caching": True,
        # Templates are applied by the tokenizer; those of other tokenizers can't keep passages apart from them.
        "tokenizer_mode": "hf",
        **_FIXED,
    }
    if settings.gpu_memory is not None:
        arguments["gpu_memory_utilization"] = settings.gpu_memory
    return arguments | dict(settings.args)


def _config(make: Any, arguments: Mapping[str, Any], settings: Settings) -> Any:
    """vLLM's configuration, with the model's own context where it has less than is asked for."""
    try:
        return make(**arguments).create_engine_config()
    except ValueError as error:
        if "max_model_len" not in str(error) or "derived" not in str(error):
            raise
    config = make(**{**arguments, "max_model_len": None}).create_engine_config()
    own = config.model_config.max_model_len
    if settings.context is not None:
        message = "engine.context %d: the model has %d, which is used; longer passages are cut"
        logger.warning(message, settings.context, own)
    _require_context(own, settings.model)
    return config


def _require_context(context: int, model: str) -> None:
    if context < LEAST_CONTEXT:
        raise ContextTooShort(
            f"{model}: {context} tokens of context; the prompts and a short passage take {LEAST_CONTEXT}. Give a "
            "larger engine.context, or a model with more"
        )


def _locate(model: str) -> str:
    path = Path(model).expanduser()
    if path.exists():
        if path.is_file():
            raise ModelMissing(f"{model}: a file. --engine vllm takes a folder in Hugging Face's format, or the name "
                               "of a model on its hub; for a GGUF file take --engine llamacpp")  # fmt: skip
        return str(path.absolute())
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise ModelMissing(
            f"{model}: no such folder. Give one in Hugging Face's format, or a name of its hub: org/name"
        )
    return model


def _identity(model: str, config: Any, settings: Settings) -> str:
    """The model and how vLLM computes it."""
    chosen = config.model_config
    shaping = {name: value for name, value in settings.args.items() if name not in _PLACEMENT}
    parts = [
        folder_identity(Path(model)) if Path(model).is_dir() else f"{model}@{_commit(model, settings.args)}",
        f"dtype={str(chosen.dtype).removeprefix('torch.')}",
        *([f"quantization={chosen.quantization}"] if chosen.quantization else []),
    ]
    return " ".join(parts) + hash_extra(shaping)


def _commit(model: str, args: Mapping[str, Any]) -> str:
    """The hub's commit that the model's files are of; the revision that was asked for where it isn't known."""
    revision = args.get("revision")
    found = library("huggingface_hub", "vllm").try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else str(revision or "main")


__all__ = ["Processes", "Started", "require_known", "start"]
