"""`arhn estimate`: what a cleaning run would take, before it begins."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from arhn.cleaning.config import CleanConfig, Method
from arhn.cli import serving
from arhn.cli.clean import add_method
from arhn.cli.judging import add_judging, config_of, models_of
from arhn.cli.shared import FORMATS, Tasks, amount, console, positive, task
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.cleaning.models import Models
    from arhn.estimate import Counting, Estimate, Sample, Tariff
    from arhn.estimate.tokens import Tokenizer

#: Tokens that vLLM keeps or drops together.
BLOCK = 16
_SLOTS = "what a prompt begins with like the one before it in its slot (llama.cpp)"


def add(tasks: Tasks) -> None:
    parser = task(tasks, "estimate", _run, "estimate what cleaning would take: calls, tokens, time and money")
    add = parser.add_argument
    add("input", help="a file of groups, a folder saved by datasets, or hf://org/name[:split]")
    add("--from", dest="from_format", choices=FORMATS, help="the input's format; detected unless given")
    add("--split", help="the split of a data set that has several")
    add("--on-bad-row", choices=("fail", "skip"), default="fail", help="default: %(default)s")
    add("--limit", type=positive, metavar="N", help="of a run over the first N groups only")
    add("--sample", type=positive, default=32, metavar="N", help="groups that are looked at; default: %(default)s")
    add("--pilot", type=Path, metavar="SUMMARY", help="of an 'arhn clean' on such data: how often passages answered")
    add("--store", type=Path, help="the response store of an earlier run: what it answers costs nothing")
    add("--characters", type=amount, metavar="X", help="a token, where there is no tokenizer; default: 4.4")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    add("--overwrite", action="store_true", help="replace FILE if it is there already")
    speed = parser.add_argument_group("time and money", "Rates are of one GPU (or one machine without).")
    add = speed.add_argument
    add("--prompt-rate", type=amount, metavar="X", help="computed prompt tokens a second")
    add("--completion-rate", type=amount, metavar="X", help="written tokens a second")
    add("--calls-per-second", type=amount, metavar="X", help="instead of both")
    add("--gpus", type=positive, default=1, metavar="N", help="side by side, each that fast; default: %(default)s")
    add("--gpu-price", type=amount, metavar="X", help="money for an hour of one GPU")
    add_method(parser)
    add_judging(parser)


def _run(a: argparse.Namespace) -> None:
    from arhn.estimate import Pilot, estimate
    from arhn.estimate import view as report
    from arhn.store import StoredAnswers

    _require_sound(a)
    config = config_of(a)
    pilot = Pilot.of_summary(a.pilot) if a.pilot else None
    with ExitStack() as stack:
        stored = stack.enter_context(closing(StoredAnswers(a.store))) if a.store else None
        sample = _sample(a, config)
        models = _models(a, stack)
        counting = _counting(a, models, stack)
        found = estimate(sample, config=config, models=models, counting=counting, pilot=pilot, stored=stored)
    tariff = _tariff(a, found)
    if a.json:
        report.write(a.json, report.content(found, tariff, counting), overwrite=a.overwrite)
    out = console()
    out.print(report.view(found, tariff, counting))
    if a.json:
        out.print(str(a.json), soft_wrap=True)


def _require_sound(a: argparse.Namespace) -> None:
    if a.calls_per_second and (a.prompt_rate or a.completion_rate):
        raise UsageError("--calls-per-second: instead of --prompt-rate and --completion-rate, not with them")
    if a.method in (Method.NONE, Method.MARGIN):
        raise UsageError(f"--method {a.method}: asks no LLM, so there is nothing to estimate")
    if a.store and a.engine == "vllm":
        raise UsageError("--store: whose answers it holds can't be told before vLLM has loaded the model. Leave it out")
    if a.store and a.engine != "llamacpp" and not a.url:
        raise UsageError("--store: whose answers it holds can only be told with the server there. Give --url")


def _sample(a: argparse.Namespace, config: CleanConfig) -> Sample:
    from arhn import formats
    from arhn.estimate import spread
    from arhn.types import Group

    def passages(group: Group) -> int:
        used = len(group.negatives) if config.negatives is None else min(config.negatives, len(group.negatives))
        return len(group.positives) + used

    source = formats.detect(a.input, split=a.split, format=a.from_format, skip_bad_rows=a.on_bad_row == "skip")
    return spread(islice(formats.read(source, on_bad_row=a.on_bad_row), a.limit), a.sample, passages)


def _models(a: argparse.Namespace, stack: ExitStack) -> Models:
    """The real ones; where no server is named, what stands for one that does everything."""
    from arhn.cleaning.models import Models
    from arhn.engines import Capabilities
    from arhn.estimate import Planned
    from arhn.retrieval.similarity import Similarity

    if a.engine == "llamacpp" or a.url:
        return models_of(a, stack)
    serving.require_fitting(a)
    concurrency, context = a.concurrency or 64, a.context or 4096
    able = Capabilities(constraints=True, logprobs=True, concurrency=concurrency, context=context)
    return Models(
        engine=Planned(a.model or "", able),
        small_model=Planned(a.flag_model, able) if a.flag_model else None,
        similarity=Similarity(a.similarity) if a.similarity is not None else None,
    )


def _counting(a: argparse.Namespace, models: Models, stack: ExitStack) -> Counting:
    from arhn.estimate import BlockReuse, Characters, Counting
    from arhn.estimate.tokens import CHARACTERS

    if a.engine == "llamacpp":
        return _in_slots(models)
    served = _served(a, models, stack) if a.url and a.characters is None else None
    tokenizer = served or Characters(a.characters or CHARACTERS)
    return Counting(
        tokenizer=tokenizer,
        reuse=lambda: BlockReuse(round(BLOCK * tokenizer.per)),
        described=f"blocks of {BLOCK} tokens, never evicted (vLLM's automatic prefix caching)",
    )


def _in_slots(models: Models) -> Counting:
    from arhn.engines.llamacpp import LlamaCppEngine
    from arhn.estimate import Counting, Gguf, SlotReuse

    engine = models.engine
    assert isinstance(engine, LlamaCppEngine)
    return Counting(tokenizer=Gguf(engine), reuse=lambda: SlotReuse(engine.unused_slots()), described=_SLOTS)


def _served(a: argparse.Namespace, models: Models, stack: ExitStack) -> Tokenizer | None:
    """The server's own tokenizer; None where it doesn't have one."""
    from arhn.engines.openai.engine import OpenAIEngine
    from arhn.estimate import Served

    engine = models.engine
    assert isinstance(engine, OpenAIEngine)
    served = stack.enter_context(closing(Served(engine, key=serving.key_of(a))))
    return served if served.works() else None


def _tariff(a: argparse.Namespace, found: Estimate) -> Tariff:
    from arhn.estimate import Speed, Tariff

    rates = a.calls_per_second or a.prompt_rate or a.completion_rate
    calls = a.calls_per_second or (None if rates else found.pilot.rate)
    speed = Speed(prompt=a.prompt_rate, completion=a.completion_rate, calls=calls, gpus=a.gpus, price=a.gpu_price)
    return Tariff(speed=speed, prices=serving.prices_of(a))
