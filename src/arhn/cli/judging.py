"""Judging: the flags that an answer's confidence hangs on, settings and models of the tasks that ask."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pydantic import ValidationError

from arhn.cleaning.config import CleanConfig, Method, Ranker
from arhn.cleaning.margin_rule import DEFAULTS, Margin
from arhn.cli import serving
from arhn.cli.shared import flag_of, positive, unfit
from arhn.errors import UsageError
from arhn.families.choice import FamilyMap
from arhn.families.family import Family

if TYPE_CHECKING:
    from arhn.cleaning.models import Models
    from arhn.engines import Engine

#: Flags of 'arhn clean' that belong to some methods only.
_BELONG = {
    "similarity": ("arhn", "margin"),
    "flag_model": ("arhn", "rlhn"),
    "margin": ("margin",),
    "precision": ("arhn",),
    "triage": ("arhn",),
    "calibration": ("arhn",),
    "samples": ("arhn",),
    "task_map": ("arhn",),
    "show_answer": ("arhn",),
    "ranker": ("arhn",),
    "rank_by": ("arhn",),
    "shuffles": ("arhn",),
    "stable": ("arhn",),
    "fullness": ("arhn",),
    "model": ("arhn", "rlhn"),
}
_DEFAULT = CleanConfig()
#: Flags that are called otherwise than what they set.
_FLAGS = {"show_answer": "--passages-alone", "fullness": "--partial-positives"}


def config_of(a: argparse.Namespace, *, fitting: bool = False) -> CleanConfig:
    """What the flags set.

    Args:
        fitting: a calibration is to be made, so that flags which need one don't.

    Raises:
        UsageError
    """
    from arhn.cleaning.evidence.calibration import load_calibrations

    for name, methods in _BELONG.items():
        if getattr(a, name) is not None and a.method not in methods:
            flag = _FLAGS.get(name) or flag_of(name)
            raise UsageError(f"{flag}: does nothing for --method {a.method}, only for {', '.join(methods)}")
    ranker = a.ranker or _DEFAULT.ranker.name.value
    for name in ("shuffles", "stable"):
        if getattr(a, name) is not None and ranker != Ranker.CONSISTENT:
            raise UsageError(f"--{name}: does nothing for --ranker {ranker}, only for {Ranker.CONSISTENT}")
    if a.triage is not None and a.similarity is None and a.flag_model is None:
        raise UsageError(
            "--triage: needs something to tell likely from unlikely negatives by. Give a retriever with --similarity, "
            "or a smaller LLM with --flag-model"
        )
    if a.flag_model is not None and a.method == Method.ARHN and a.triage is None and not fitting:
        raise UsageError("--flag-model: does nothing for --method arhn without --triage, such as --triage 0.98")
    given = {name: getattr(a, name) for name in _SETTINGS if getattr(a, name) is not None}
    given["ranker"] = {name: getattr(a, flag) for name, flag in _RANKER.items() if getattr(a, flag) is not None}
    given["calibrations"] = tuple(c for path in a.calibration or () for c in load_calibrations(path))
    if a.task_map is not None:
        given["families"] = FamilyMap.parse(a.task_map, "--task-map")
    if a.margin is not None:
        given["margin"] = _margin(a.margin)
    try:
        return CleanConfig.model_validate(given)
    except ValidationError as error:
        raise unfit(error, {f"ranker.{name}": flag_of(flag) for name, flag in _RANKER.items()}) from error


#: Settings that a flag of the same name gives as it is.
_SETTINGS = (
    "method",
    "mode",
    "negatives",
    "floor",
    "floor_policy",
    "precision",
    "triage",
    "samples",
    "fullness",
    "show_answer",
)
#: Flags of the ranker, by what they set.
_RANKER = {"name": "ranker", "by": "rank_by", "shuffles": "shuffles", "stable": "stable"}


def _margin(text: str) -> Margin:
    rule, equals, value = text.partition("=")
    try:
        return Margin.model_validate({"rule": rule, "value": float(value) if equals else None})
    except (ValidationError, ValueError) as error:
        rules = ", ".join(f"{name}={default:g}" for name, default in DEFAULTS.items())
        raise UsageError(f"--margin: expected RULE or RULE=NUMBER such as {rules}, found {text!r}") from error


def models_of(a: argparse.Namespace, stack: ExitStack) -> Models:
    from arhn import weights
    from arhn.cleaning import run as job
    from arhn.cleaning.models import Models
    from arhn.retrieval.similarity import Similarity

    serving.require_fitting(a)
    similarity = Similarity(a.similarity) if a.similarity is not None else None
    if a.method in (Method.NONE, Method.MARGIN):
        return Models(similarity=similarity)
    budget = serving.budget_of(a)

    def opened(model: str | None, urls: list[str] | None) -> Engine:
        if a.engine == "openai":
            engine = serving.openai(a, model or "", urls, budget)
        elif a.engine == "vllm":
            engine = serving.vllm(a, model)
        else:
            engine = _llamacpp(a, model or weights.STARTER)
        stack.callback(job.close, engine)
        return engine

    engine = opened(a.model, a.url)
    small_model = opened(a.flag_model, a.flag_url or a.url) if a.flag_model is not None else None
    return Models(engine=engine, small_model=small_model, similarity=similarity)


def _llamacpp(a: argparse.Namespace, model: str) -> Engine:
    # Loading the library takes a moment that no other subcommand should wait for.
    from arhn import weights
    from arhn.engines.llamacpp import LlamaCppEngine

    path = weights.resolve(model)
    return LlamaCppEngine(
        path,
        model=weights.identity(path),
        slots=a.slots or 1,
        context=a.context or 4096,
        threads=a.threads,
        gpu_layers=a.gpu_layers,
        lookahead=a.lookahead or 0,
    )


def add_judging(parser: argparse.ArgumentParser) -> None:
    """What an answer's confidence hangs on: the same when labels are made and when they are calibrated."""
    add = parser.add_argument
    add(
        "--model",
        help="a name from 'arhn models', a GGUF file, or hf://org/repo/file.gguf; the starter unless given. With "
        "--engine openai: the server's name of the model; the only one it has unless given. With --engine vllm: a "
        "folder in Hugging Face's format, or a name of its hub",
    )
    add(
        "--passages-alone",
        dest="show_answer",
        action="store_false",
        default=None,
        help="judge every passage alone, as the paper does, without showing the answer of the labelled positives",
    )
    add(
        "--samples",
        type=positive,
        metavar="N",
        help="let N sampled answers vote instead of reading log-probabilities",
    )
    add(
        "--similarity",
        metavar="MODEL",
        help="a sentence-transformers folder or name: what 'margin' filters by, a second signal for 'arhn'",
    )
    add(
        "--flag-model",
        metavar="MODEL",
        help="a smaller model that is asked about every negative first: what --triage goes by, and the first stage of "
        "'rlhn'",
    )
    add(
        "--task-map",
        metavar="MAP",
        help=f"which kind of query a subset holds: {'|'.join(Family)}; SUBSET=KIND,... or a .toml or .json file",
    )
    _add_llamacpp(parser)
    serving.add_serving(parser)


def _add_llamacpp(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--slots",
        type=positive,
        help="llamacpp: requests decoded together; more than one repeats less exactly; default: 1",
    )
    add("--context", type=positive, help="tokens per request; default: 4096, or what the server has")
    add("--threads", type=positive, help="llamacpp: CPU threads; all cores unless given")
    add("--gpu-layers", type=int, help="llamacpp: layers on the GPU; all that fit unless given")
    add(
        "--lookahead",
        type=positive,
        metavar="N",
        help="llamacpp: choose the next request from N groups, so that a passage of several of them is read once; "
        "repeats less exactly",
    )
