"""All methods side by side on one gold folder (see bench/scoring.py), with what they cost.

    python -m bench.methods FOLDER --split test --every 6 --model qwen2.5-coder-0.5b --similarity MODEL

Rows: arhn per model (calibrated; with --precision; with the similarity fused, where a calibration has it; that with
--triage, and "agrees" is then the share of negatives that were found to answer, or not to, as without), the paper's
way (every passage judged alone, by the LLM's own word), the RLHN cascade (each --model judges, the first one flags),
margins (the rules' defaults, and the best of a sweep, chosen on these very labels), none, oracle. Ambiguous negatives
count neither way.

"F1" is of the false negatives that were found, in mode R+F; "F1 R" and "F1 F" of those relabelled and of those
filtered. "abstained": negatives between the thresholds, or judged by a broken answer. Calls and tokens are those of a
run with an empty store; "computed" prompt tokens weren't in the engine's cache. "s/group" is measured anew on the first
--cold groups. With verdicts instead of gold labels, kappa against them is given with its interval over groups.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from arhn import weights
from arhn.agree.agreement import compare
from arhn.agree.judgements import ABSTAINED, Judgements, Kind
from arhn.cleaning import prompts
from arhn.cleaning.config import CleanConfig, RankerSettings
from arhn.cleaning.evidence.calibration import Calibration, load_calibrations
from arhn.cleaning.margin_rule import DEFAULTS, Margin
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.engines import Completion
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.errors import CalibrationError
from arhn.families.family import Family
from arhn.formats import GroupWriter, detect
from arhn.retrieval.similarity import Similarity
from arhn.store import MemoryStore, ResponseStore, SqliteStore
from arhn.types import CleanedGroup, Extraction, Group, Mode, Passage
from bench import output
from bench.scoring import (
    Gold,
    abstained,
    data,
    decided,
    engine_for,
    f1,
    load,
    load_judgements,
    on_negatives,
    oracle,
    quality,
)

#: Values tried for each margin rule.
SWEEP = {
    "absolute": [i / 50 for i in range(15, 45)],
    "relative": [i / 50 for i in range(15)],
    "perc": [i / 50 for i in range(30, 51)],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row: a method with its settings and models."""

    name: str
    config: CleanConfig
    models: Models
    store: Path | None = None
    #: Whether its time is measured; the others ask the same.
    timed: bool = False
    #: The row that it saves calls of, and should agree with.
    cheaper_than: str = ""


@dataclass(slots=True)
class Costs(ResponseStore):
    """A store that counts what was taken from it or put into it, each answer once: the costs of a cold run."""

    store: ResponseStore
    seen: dict[bytes, Completion] = field(default_factory=dict)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        found = self.store.get_many(keys)
        self.seen |= found
        return found

    def put(self, key: bytes, completion: Completion) -> None:
        self.seen[key] = completion
        self.store.put(key, completion)

    def of(self, groups: int) -> dict[str, float]:
        answers = self.seen.values()
        computed = sum(c.prompt_tokens - c.cached_tokens for c in answers)
        written = sum(c.completion_tokens for c in answers)
        numbers = {"calls": len(answers), "computed tokens": computed, "written tokens": written}
        return {f"{what}/group": n / groups for what, n in numbers.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured on: groups with their gold labels, and where to write what methods make of them."""

    groups: Sequence[Group]
    gold: Gold
    verdicts: Judgements
    file: Path
    cold: int
    write: Path | None
    #: What each row's method found, by name.
    found: dict[str, list[bool]] = field(default_factory=dict)


def measure(bench: Bench, variant: Variant) -> dict[str, Any]:
    """One row of the table."""
    groups = bench.groups
    with ExitStack() as stack:
        names = [engine.model for engine in variant.models.engines]
        path = variant.store
        kept = stack.enter_context(SqliteStore(path, model=names[0])) if path and names else MemoryStore()
        costs = Costs(kept)
        cleaned = list(_clean(variant, groups, costs))
    _write(bench, variant.name, cleaned)
    bench.found[variant.name] = [e.status == "answer" for c in cleaned for e in _of_negatives(c)]
    seconds = _cold_seconds(variant, groups[: bench.cold]) if variant.timed and bench.cold else None
    spent = {**costs.of(len(groups)), "agrees": _agreement(bench, variant), "s/group": seconds}
    return {"name": variant.name, **score(bench, cleaned), **spent}


def _of_negatives(cleaned: CleanedGroup) -> Iterator[Extraction]:
    positives = {p.doc_id for p in cleaned.group.positives}
    return (e for e in cleaned.extractions if e.doc_id not in positives)


def _agreement(bench: Bench, variant: Variant) -> float | None:
    if not variant.cheaper_than:
        return None
    every, some = bench.found[variant.cheaper_than], bench.found[variant.name]
    return sum(a == b for a, b in zip(every, some, strict=True)) / len(every)


def _clean(variant: Variant, groups: Sequence[Group], store: ResponseStore) -> Iterator[CleanedGroup]:
    return clean_groups(groups, variant.models, config=variant.config, store=store)


def _cold_seconds(variant: Variant, groups: Sequence[Group]) -> float:
    started = time.monotonic()
    for _ in _clean(variant, groups, MemoryStore()):
        pass
    return (time.monotonic() - started) / len(groups)


def score(bench: Bench, cleaned: Sequence[CleanedGroup]) -> dict[str, Any]:
    """Quality of one method's decisions."""
    gold, verdicts = bench.gold, bench.verdicts
    numbers = {
        **quality(decided(cleaned, gold)),
        "F1 R": f1(decided(cleaned, gold, Mode.R)),
        "F1 F": f1(decided(cleaned, gold, Mode.F)),
        "abstained": abstained(cleaned),
    }
    if verdicts.kind is Kind.VERDICTS:
        confusion = compare(_as_judgements(cleaned), verdicts).found
        numbers |= {"kappa": confusion.kappa, "kappa, 95%": _interval(confusion.interval)}
    return numbers


def _interval(interval: tuple[float, float] | None) -> str | None:
    return interval and f"{interval[0]:.2f}–{interval[1]:.2f}"


def _as_judgements(cleaned: Sequence[CleanedGroup]) -> Judgements:
    groups: dict[str, dict[str, str]] = {
        c.group.query_id: {
            d.doc_id: d.reason.value if d.reason.value in ABSTAINED else d.action for d in on_negatives(c)
        }
        for c in cleaned
    }
    return Judgements(path="decisions", source=Path("decisions"), kind=Kind.DECISIONS, groups=groups)


def arhn_variants(
    engine: LlamaCppEngine, similarity: Similarity | None, a: argparse.Namespace, given: tuple[Calibration, ...]
) -> Iterator[Variant]:
    alone = Models(engine=engine)

    def variant(what: str, models: Models, *, ranker: str = a.rankers[0], **settings: Any) -> Variant:
        config = CleanConfig(calibrations=given, ranker=RankerSettings(name=ranker), **settings)
        return Variant(name=f"arhn {_short(engine)}, {what}", config=config, models=models, store=a.store)

    for ranker in a.rankers:
        yield replace(variant(ranker, alone, ranker=ranker), timed=True)
    for precision in a.precision:
        yield variant(f"precision {precision:g}", alone, precision=precision)
    if similarity is not None:
        both = Models(engine=engine, similarity=similarity)
        yield (fused := variant("fused", both))
        for triage in a.triage:
            yield replace(variant(f"fused, triage {triage:g}", both, triage=triage), cheaper_than=fused.name)
        for precision in a.precision:
            yield variant(f"fused, precision {precision:g}", both, precision=precision)


def paper_variant(engine: LlamaCppEngine, a: argparse.Namespace) -> Variant:
    """Every passage alone, the LLM's own word, one listwise ranking."""
    own_word = tuple(
        Calibration(model=engine.model, prompt=prompts.load(family).extract.hash, family=family) for family in Family
    )
    config = CleanConfig(calibrations=own_word, show_answer=False, fullness=False)
    return Variant(name=f"paper {_short(engine)}", config=config, models=Models(engine=engine), store=a.store)


def rlhn_variants(engines: Sequence[LlamaCppEngine], a: argparse.Namespace) -> Iterator[Variant]:
    small = engines[0]
    for engine in engines:
        name = _short(engine) if engine is small else f"{_short(small)} > {_short(engine)}"
        models = Models(engine=engine, small_model=small)
        config = CleanConfig(method="rlhn")
        yield Variant(name=f"rlhn {name}", config=config, models=models, store=a.store, timed=True)


def margin_variants(bench: Bench, similarity: Similarity) -> Iterator[Variant]:
    """The rules' defaults; and the best of the sweep, which has seen the labels."""
    models = Models(similarity=Scored(similarity, bench.groups))

    def variant(rule: Any, value: float, name: str = "") -> Variant:
        config = CleanConfig(method="margin", margin=Margin(rule=rule, value=value))
        return Variant(name=f"margin {rule}={value:g}{name}", config=config, models=models)

    def f1_of(tried: Variant) -> float:
        return f1(decided(list(_clean(tried, bench.groups, MemoryStore())), bench.gold))

    yield from (variant(rule, value) for rule, value in DEFAULTS.items())
    swept = [variant(rule, value, ", best") for rule, values in SWEEP.items() for value in values]
    yield max(swept, key=f1_of)


class Scored(Similarity):
    """A similarity model whose scores of some groups were computed once."""

    def __init__(self, similarity: Similarity, groups: Sequence[Group]) -> None:
        scores = similarity.groups(groups)
        self._known = {(g.query, p): s for g, row in zip(groups, scores, strict=True) for p, s in _paired(g, row)}

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        return tuple(self._known[query, p.doc_id] for p in passages)


def _paired(group: Group, scores: Sequence[float]) -> Iterator[tuple[str, float]]:
    return zip((p.doc_id for p in group.passages), scores, strict=True)


def _write(bench: Bench, name: str, cleaned: Sequence[CleanedGroup]) -> None:
    """One method's cleaned groups, in the format of the data, to train on."""
    if bench.write is None:
        return
    bench.write.mkdir(parents=True, exist_ok=True)
    source = detect(str(bench.file))
    file = bench.write / f"{re.sub('[^a-z0-9.]+', '-', name.casefold())}.jsonl"
    with GroupWriter(str(file), source.format, like=source, overwrite=True) as writer:
        for c in cleaned:
            writer.write(c.cleaned)


def _short(engine: LlamaCppEngine) -> str:
    match = re.search(r"[0-9.]+b", engine.model.casefold())
    return match[0].upper() if match else engine.model.split("@")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--split", default="test")
    add("--every", type=int, default=1, metavar="N", help="every N-th group, from the first")
    add("--groups", type=int, help="at most that many; all unless given")
    add("--model", action="append", metavar="MODEL", help=f"may be repeated; {weights.STARTER} unless given")
    add("--similarity", metavar="MODEL", help="a sentence-transformers folder or name; without, margins are left out")
    add("--methods", default="arhn,paper,rlhn,margin,none,oracle", type=lambda text: text.split(","))
    add("--rankers", default="listwise", type=lambda text: text.split(","), help="for arhn; the first one for all")
    add("--precision", default=[0.9], type=lambda text: [float(p) for p in text.split(",")])
    add("--triage", default=[], type=lambda text: [float(a) for a in text.split(",")], help="such as 0.99,0.98,0.95")
    add("--calibration", type=Path, action="append", default=[])
    add("--store", type=Path, help="keep answers here; a second run with it asks nothing")
    add("--cold", type=int, default=4, metavar="N", help="groups asked anew to measure time")
    add("--write", type=Path, metavar="FOLDER", help="write every method's cleaned groups there")
    add("--json", type=Path, default=Path("bench/out/methods.json"))
    a = parser.parse_args()
    groups, gold = load(a.folder, a.split, every=a.every, limit=a.groups)
    file = data(a.folder, a.split)
    if not groups:
        parser.error(f"no group of {file} has labels in {a.folder}")
    verdicts = load_judgements(a.folder)
    bench = Bench(groups=groups, gold=gold, verdicts=verdicts, file=file, cold=a.cold, write=a.write)
    counts = Counter(label for labels in gold.values() for label in labels.values())
    rows = _rows(a, bench)
    output.show_lines(f"{a.folder.name}/{file.name}: {len(groups)} groups, {dict(counts)}", rows)
    settings = {"data": f"{a.folder.name}/{file.name}", "groups": len(groups), "every": a.every, **counts}
    output.write(a.json, "methods", settings, rows)


def _rows(a: argparse.Namespace, bench: Bench) -> list[dict[str, Any]]:
    similarity = Similarity(a.similarity) if a.similarity else None
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        for variant in _variants(a, bench, similarity, stack):
            try:
                rows.append(measure(bench, variant))
            except CalibrationError as error:
                print(f"{variant.name}: left out, {error}", file=sys.stderr)
    if "oracle" in a.methods:
        cleaned = oracle(bench.groups, bench.gold)
        _write(bench, "oracle", cleaned)
        rows.append({"name": "oracle", **score(bench, cleaned)})
    return rows


def _variants(
    a: argparse.Namespace, bench: Bench, similarity: Similarity | None, stack: ExitStack
) -> Iterator[Variant]:
    if {"arhn", "paper", "rlhn"} & set(a.methods):
        given = tuple(c for path in a.calibration for c in load_calibrations(path))
        engines = [stack.enter_context(engine_for(model, 1)) for model in a.model or [weights.STARTER]]
        if "arhn" in a.methods:
            for engine in engines:
                yield from arhn_variants(engine, similarity, a, given)
        if "paper" in a.methods:
            yield from (paper_variant(engine, a) for engine in engines)
        if "rlhn" in a.methods:
            yield from rlhn_variants(engines, a)
    if "margin" in a.methods and similarity is not None:
        yield from margin_variants(bench, similarity)
    if "none" in a.methods:
        yield Variant(name="none", config=CleanConfig(method="none"), models=Models())


if __name__ == "__main__":
    main()
