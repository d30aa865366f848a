"""Runs with a scripted engine over all methods, modes, rankers and formats, and a record of what they write.

    python -m tests.integration.same_bytes tests/integration/same_bytes.json
    python -m tests.integration.same_bytes /tmp/now.json /tmp/files

The first writes the record anew: only where outputs are meant to change. Where they aren't and the test fails, the
second, with the code from before and the code from after, gives the files themselves to compare.

A record holds, for every run and file, the SHA-256 of what is in it, and counts for people. What differs between
machines or times isn't in it: versions, seconds, paths, and the order of failures. Nor are settings and prompts of
several passages a request, and of the query before the passage.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import zstandard

# All of them here: modules may move, their outputs mustn't.
from arhn import CleanConfig, Reason, Stats, clean_groups
from arhn.agree.agreement import agree
from arhn.calibrate.job import Fitting, calibrate
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.cluster.run import Cluster
from arhn.cluster.run import run as run_on_ray
from arhn.engines import Completion, Matching, OneOf, Permutation, Request, RequestFailed, SpanOf
from arhn.engines.fake import FakeEngine
from arhn.estimate import BlockReuse, Characters, Counting, estimate, spread
from arhn.families.choice import FamilyMap
from arhn.formats import detect, read
from arhn.formats.convert import convert
from arhn.retrieval.similarity import Likeness, Similarity
from arhn.store import StoredAnswers

Record = dict[str, dict[str, Any]]
OpenModels = Callable[[ExitStack], Models]

GROUPS, FEW, SIZE = 32, 12, 5
#: The formats that the record holds; round trips of later ones are properties of their own.
RECORDED = ("tevatron", "flagembedding", "ntuple", "triplet", "labeled_list")
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
MEMORY = Path("/dev/shm")
#: The LLM's own word decides unless a calibration is given: nothing is learnt from the first groups.
UNCALIBRATED = CleanConfig(calibrations=("none",))
#: Settings and prompts that outputs don't depend on here, for no run uses them.
_APART = ("together", "query_first", "together_alone")


# The groups


def _draw(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but `parts`."""
    said = "\0".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(said, digest_size=6).digest(), "big") / 2**48


_QUERIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("What is the height of tower {i}?", {}),
    ("Tower {i} was built before the great flood.", {}),
    ("Construction of tower {i} in winter", {}),
    ("Towers cost too much. Tower {i} alone took ten years. Nobody asked what else that money could buy.", {}),
    ("How do I climb tower {i}?", {"subset": "quora"}),
    ("Tower {i} must go. It is a danger, and ugly.", {"subset": "arguana", "id": 7}),
    ("tower {i} keeper", {"task": "retrieval", "source": "My-Own Set"}),
    ("The keeper of tower {i} was a widow.", {"dataset": "beir/fever-train", "meta": {"ü": [1, None, 2.5]}}),
)
_SAID = (
    "stone keeper winter “lamp” stairs river gate — bell copper roof flood widow garden wall naïve harbour light "
    "street market old-town window clock"
)
_WORDS = _SAID.split()


def _text(*seed: object, words: int = 14) -> str:
    chosen = (_WORDS[int(_draw(*seed, i) * len(_WORDS))] for i in range(words))
    return f"Tower {seed[0]}-{seed[1]}: {' '.join(chosen)}."


def _passage(name: str, text: str, i: int) -> dict[str, Any]:
    extra: tuple[dict[str, Any], ...] = (
        {},
        {"title": ""},
        {"title": f"On towers {i}"},
        {"title": None},
        {"rank": i, "score": i / 4},
    )
    return {"docid": name, **extra[i % len(extra)], "text": text}


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of Tevatron's format: groups of every kind of query, with copies, long passages and strange titles."""
    for i in range(count):
        query, extra = _QUERIES[i % len(_QUERIES)]
        # What is sure is a positive's, though the scripted engine doesn't find it in each.
        positives = [_passage(f"{i}p{j}", f"surely {_text(i, f'p{j}')}", i + j) for j in range(1 + (i % 5 == 2))]
        negatives = [_passage(f"{i}n{j}", _text(i, j), i + j) for j in range(1 + i % 9)]
        if i % 4 == 1:
            negatives.append(negatives[0] | {"docid": f"{i}copy", "text": f"  {negatives[0]['text']}\n"})
        if i % 6 == 3:
            negatives.insert(1, positives[0] | {"docid": f"{i}same"})
        if i % 7 == 5:
            negatives.append(_passage(f"{i}long", ". ".join(_text(i, "long", k) for k in range(30)), i))
            negatives.append(_passage(f"{i}titled", _text(i, "titled"), i) | {"title": "much too long a title " * 99})
        yield {
            "query_id": f"q{i}",
            "query": query.format(i=i),
            "positive_passages": positives,
            "negative_passages": negatives,
            **extra,
        }


def _write(path: Path, lines: Iterable[Any]) -> Path:
    said = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("".join(f"{line}\n" for line in said), "utf-8")
    return path


# The engine


def script(request: Request) -> Completion | str:
    """Answers that depend on the request only, some of them broken in each way that there is."""
    said = request.messages[-1].content
    draw = _draw(*(m.content for m in request.messages), request.max_tokens, request.seed, request.constraint is None)
    if draw < 0.012:
        raise RequestFailed("the script says so", attempts=3)
    if draw < 0.02:
        return Completion(text="", finish="refused", prompt_tokens=9)
    if len(said) > 1600:
        return Completion(text="", finish="context", prompt_tokens=3 * len(said))
    tokens: dict[str, Any] = {
        "prompt_tokens": len(said) // 4,
        "cached_tokens": len(said) // 8,
        "completion_tokens": request.max_tokens,
    }
    return replace(_answer(request, said, draw), **tokens)


def _answer(request: Request, said: str, draw: float) -> Completion:
    match request.constraint:
        case None:
            return _first("Yes", "No", _odds(said)) if draw > 0.03 else Completion(text="The", first={"The": -0.01})
        case SpanOf(text, otherwise, lead, close):
            if otherwise and (_odds(said) + 2 * draw - 1 < 0):
                return Completion(text=otherwise)
            return _span(text.split(), lead, close, draw)
        case OneOf((one, other)):
            found = _numbered(said)
            if draw < 0.12:
                return Completion(text="Perhaps", first={"Perhaps": -0.01})
            which = len(found) == 2
            odds = 6 * (_liked(found[0]) - _liked(found[1])) + (draw > 0.7) if which else 6 * draw - 2.5
            # Some servers give the word only.
            return _first(one, other, odds) if draw < 0.9 else Completion(text=one if odds > 0 else other)
        case Permutation(n):
            return _order(_numbered(said), n, draw)
        case Matching():
            return _judgement(_numbered(said), draw)
    raise AssertionError(request.constraint)


def _odds(said: str) -> float:
    """Log-odds that depend on the passage more than on how it is asked about."""
    passage = said.partition("lsewhere:")[0]
    return round(5 * _own(passage) + 3 * _draw("odds", said) - 4.2 + 4 * ("surely" in passage), 3)


def _own(passage: str) -> float:
    return _draw("answers", passage[passage.index("Tower") :].partition(":")[0])


def _first(one: str, other: str, odds: float) -> Completion:
    first = {one: round(-math.log1p(math.exp(-odds)), 4), other: round(-math.log1p(math.exp(odds)), 4)}
    text = one if odds > 0 else other
    return Completion(text=text, first=dict(sorted({**first, "...": -9.0}.items())), finish="length")


def _span(words: Sequence[str], lead: str, close: str, draw: float) -> Completion:
    at = int(draw * 997) % len(words)
    span = " ".join(words[at : at + 1 + int(draw * 9973) % 6])
    if draw < 0.08:
        return Completion(text=f"{lead}none of these words{close}")
    if draw < 0.11:
        return Completion(text=f"{lead}{span}", finish="length")
    return Completion(text=f"{lead}{span.upper() if draw > 0.9 else span}{close}")


def _numbered(said: str) -> list[str]:
    return re.findall(r"^\[\d+\] (.*)$", said, re.MULTILINE)


def _liked(line: str) -> float:
    return _draw("liked", line) + 0.2 * ("surely" in line)


def _order(lines: Sequence[str], n: int, draw: float) -> Completion:
    assert len(lines) == n
    order = sorted(range(n), key=lambda i: (-_liked(lines[i]), i))
    if draw > 0.8:  # what is shown first is liked
        order.sort()
    numbers = [str(i + 1) for i in order]
    if draw < 0.1:
        return Completion(text=" > ".join([*numbers, numbers[0]]))
    if draw < 0.14:
        return Completion(text=" > ".join(numbers), finish="length")
    if draw < 0.3 and n > 2:
        del numbers[1 + int(draw * 997) % (n - 1)]
    return Completion(text=f"{'The order is: ' if draw > 0.7 else ''}{' > '.join(numbers)}")


def _judgement(lines: Sequence[str], draw: float) -> Completion:
    if draw < 0.1:
        return Completion(text="better: 1; worse: 1")
    better = [str(i) for i, line in enumerate(lines, 1) if _liked(line) > 0.85]
    worse = [str(i) for i, line in enumerate(lines, 1) if 0.6 < _liked(line) <= 0.85]
    return Completion(text=f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}")


def engine(*, logprobs: bool = True, model: str = "fake") -> FakeEngine:
    """A scripted engine."""
    made = FakeEngine(script, model=model, keep=False)
    made.capabilities = replace(made.capabilities, logprobs=logprobs)
    return made


@dataclass
class _Words:
    """A retriever that knows nothing of towers."""

    identity: str = "words"

    def scores(self, query: str, passages: Sequence[Any]) -> tuple[float, ...]:
        return tuple(round(_draw(query, p.text) - 0.1 + 0.3 * ("surely" in p.text), 6) for p in passages)

    def compare(self, query: str, positives: Sequence[Any], negatives: Sequence[Any]) -> Likeness:
        rows = [self.scores(p.text, negatives) for p in positives]
        return Likeness(
            query=self.scores(query, negatives),
            positive=tuple(map(max, zip(*rows, strict=True))),
            sentence=self.scores(f"sentence of {query}", negatives),
        )


def _similarity() -> Similarity:
    return cast("Similarity", _Words())


def just_the_engine(_: ExitStack) -> Models:
    """Models of a worker: looked up by name in another process."""
    return Models(engine=engine())


# The record


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).encode()


def content(path: Path) -> bytes:
    """What is in an output, however it is stored."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [(field.name, str(field.type)) for field in table.schema]
        return b"\n".join(map(_canonical, [columns, *table.to_pylist()]))
    if path.name.endswith(".failures.jsonl"):
        return b"".join(sorted(data.splitlines(keepends=True)))
    if path.name.endswith(".summary.json"):
        return _canonical(settled(json.loads(data)))
    if path.name.endswith((".rejects.jsonl", ".agreement.json")):
        return data.replace(f"{path.parent}/".encode(), b"")
    if path.suffix == ".sqlite":
        return b"\n".join(key + answer for key, answer in _answers(path))
    return data


def _as_recorded(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run in the shape that they had when the record was made, before there were sections."""
    ranker, families = settings["ranker"], dict(settings["families"])
    left = _without(settings, "ranker", "families")
    listwise = {"ranker": ranker["name"], "rank_by": ranker["by"]}
    votes = {"shuffles": ranker["shuffles"], "stable": ranker["stable"]}
    return {**left, **listwise, **votes, "task_map": {"default": families.pop("*", None), "families": families}}


def settled(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what may differ from run to run."""
    left = {name: value for name, value in summary.items() if name not in ("versions", "seconds")}
    files = {what: name and Path(name).name for what, name in left["files"].items()}
    stages = {name: _without(stage, "seconds") for name, stage in left["llm"].items()}
    prompts = {family: _without(hashes, *_APART) for family, hashes in left["prompts"].items()}
    settings = _as_recorded(_without(left["settings"], *_APART))
    return {**left, "files": files, "llm": stages, "prompts": prompts, "settings": settings}


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _answers(path: Path) -> list[tuple[bytes, bytes]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT key, answer FROM answers ORDER BY key").fetchall()


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))


def of_run(files: Files) -> dict[str, Any]:
    """What a run wrote."""
    places = [Path(files.output), files.decisions, files.summary, files.rejects, files.failures, files.store]
    summary = json.loads(files.summary.read_bytes())
    found: dict[str, Any] = {
        "groups": _said({what: n for what, n in summary["groups"].items() if n}),
        **{label: {what: _said(n) for what, n in summary[label].items()} for label in ("positives", "negatives")},
        "ranking": _said(summary["ranking"]),
        "families": _said(summary["families"]),
        "llm": {name: _said({w: n for w, n in stage.items() if w != "seconds"}) for name, stage in _llm(summary)},
        "losses": _said(summary["losses"]),
        "files": {place.name: _digest(content(place)) for place in places if place.exists()},
    }
    if files.store.exists():
        keys = [key for key, _ in _answers(files.store)]
        found["keys"] = f"{len(keys)}: {_digest(b''.join(keys))}"
    return found


def _llm(summary: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(summary["llm"].items())


# The runs


class Runs:
    """Makes the runs in `folder`; `record` holds what came of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: Record = {}
        self.seen: Counter[str] = Counter()
        self._many = _write(folder / "many.jsonl", rows(GROUPS))
        self._few = _write(folder / "few.jsonl", rows(FEW))

    def clean(self, name: str, open_models: OpenModels = just_the_engine, **given: Any) -> dict[str, Any]:
        """A run into files called after it, of the settings in `given` that aren't a job's.

        Returns:
            The summary.
        """
        jobs = {what: given.pop(what) for what in ("input", "to", "limit", "on_bad_row", "overwrite") if what in given}
        place = self.folder / f"{name.replace(' ', '_')}{given.pop('suffix', '.jsonl')}"
        files = Files.beside(str(place), store=given.pop("store", None))
        if given.get("method", "arhn") == "arhn":
            given["calibrations"] = [*given.get("calibrations", ()), "none"]
        job = Job(input=jobs.pop("input", str(self._many)), files=files, config=CleanConfig(**given), **jobs)
        return self._keep(name, run(job, open_models), files)

    def _keep(self, name: str, summary: dict[str, Any], files: Files) -> dict[str, Any]:
        assert name not in self.record
        self.record[name] = of_run(files)
        for line in files.decisions.read_bytes().splitlines():
            row = json.loads(line)
            self.seen.update(f"{what} {row[what]}" for what in ("reason", "action", "status", "cut"))
        self.seen.update(f"ranking {status}" for status in summary["ranking"])
        self.seen.update(f"families {family}" for family in summary["families"])
        return summary

    def methods(self) -> None:
        """Every method, mode and ranker, with settings that matter to it."""
        for mode in ("R", "F", "R+F"):
            for ranker in ("listwise", "consistent", "pivot"):
                self.clean(f"arhn {mode} {ranker}", mode=mode, ranker={"name": ranker})
            self.clean(f"rlhn {mode}", method="rlhn", mode=mode)
        self.clean("arhn drop", mode="drop")
        self.clean("arhn evidence", ranker={"name": "evidence"})
        self.clean("rlhn flagger", _with_flagger, method="rlhn", negatives=4, floor=2, floor_policy="drop")
        for ranker in ("listwise", "consistent", "pivot"):
            for by in ("passage", "both"):
                self.clean(f"by {by} {ranker}", ranker={"name": ranker, "by": by})
        self.clean("shuffles", ranker={"name": "consistent", "shuffles": 4, "stable": 0.5})
        self.clean("stable", ranker={"name": "consistent", "stable": 1.0})
        for rule in ("absolute", "relative", "perc"):
            self.clean(f"margin {rule}", _with_similarity, method="margin", margin={"rule": rule}, mode="F")
        self.clean("margin value", _with_similarity, method="margin", margin={"rule": "relative", "value": 0.2})
        self.clean("none", lambda _: Models(), method="none")

    def floors(self) -> None:
        for policy in ("keep", "drop", "backfill"):
            for floor in (1, 2):
                self.clean(f"floor {floor} {policy}", negatives=3, floor=floor, floor_policy=policy)
            settings = {"method": "margin", "negatives": 3, "floor": 2, "floor_policy": policy}
            self.clean(f"floor 2 {policy} margin", _with_similarity, **settings)
        self.clean("floor 0", floor=0, floor_policy="drop")

    def asking(self) -> None:
        """How passages are asked about."""
        self.clean("negatives 3", negatives=3)
        self.clean("samples 3", samples=3)
        self.clean("samples 5 alone", samples=5, show_answer=False)
        self.clean("alone", show_answer=False)
        self.clean("partial positives", fullness=False)
        self.clean("no log-probabilities", lambda _: Models(engine=engine(logprobs=False)))
        self.clean("task map", families=FamilyMap.of({"my own set": "claim", "Quora": "question", "fever": "title"}))
        for family in ("question", "claim", "argument", "title", "duplicate"):
            self.clean(f"all {family}", families=FamilyMap.of({"*": family}), limit=FEW)

    def calibrated(self) -> None:
        """With calibrations, which are for the prompts that a summary names."""
        prompts = self._prompts()
        own = [_calibration(family, hashes["check"]) for family, hashes in prompts.items()]
        alone = [_calibration(family, hashes["extract"], samples=5) for family, hashes in prompts.items()]
        fused = [c | {"scorer": "words", "similarity": 2.0, "similarity_centre": 0.5} for c in own]
        small = [c | {"flagger": "small"} for c in own]
        self.clean("calibrated", calibrations=own)
        self.clean("calibrated centred", calibrations=[c | {"centre": 0.4, "prior": 0.3, "spread": 2.0} for c in own])
        self.clean("calibrated alone", calibrations=alone, samples=5, show_answer=False)
        self.clean("precision", calibrations=own, precision=0.8)
        self.clean("bar for relabelling", calibrations=[c | {"relabel": 1.0} for c in own])
        self.clean("precision of some", calibrations=[own[0], own[1] | {"curve": []}], precision=0.9)
        self.clean("fused", _with_similarity, calibrations=fused)
        self.clean("triage by similarity", _with_similarity, calibrations=fused, triage=0.97)
        self.clean("triage by flagger", _with_flagger, calibrations=small, triage=0.9)
        backfill = {"negatives": 3, "floor": 2, "floor_policy": "backfill"}
        self.clean("triage backfill", _with_flagger, calibrations=small, triage=0.9, precision=0.6, **backfill)

    def _prompts(self) -> dict[str, dict[str, str]]:
        summary = json.loads((self.folder / "alone.summary.json").read_bytes())
        found: dict[str, dict[str, str]] = summary["prompts"]
        return found

    def formats(self) -> None:
        """Every format of the record converted to every other, and cleaned as it is."""
        for source in RECORDED:
            first = self.folder / f"few-{source}.jsonl"
            done = convert(detect(str(self._few)), str(first), source)
            self._converted(f"convert tevatron to {source}", first, done.losses)
            for target in RECORDED:
                place = self.folder / f"{source}-to-{target}.jsonl"
                done = convert(detect(str(first)), str(place), target)
                self._converted(f"convert {source} to {target}, again", place, done.losses)
            for suffix in SUFFIXES:
                stored = self.folder / f"stored-{source}{suffix}"
                convert(detect(str(first)), str(stored), source)
                name = f"{source}{suffix.replace('.', ' ')}"
                self.clean(name, input=str(stored), suffix=suffix, negatives=2, floor_policy="backfill")
            self.clean(f"to {source}", input=str(self._few), to=source)
            self.clean(f"to {source} drop", input=str(first), floor_policy="drop", to="tevatron")
        bad = [*rows(3), "{", {"query": "of another format", "pos": ["x"], "neg": ["y"]}, *list(rows(4))[3:]]
        self.clean("bad rows", input=str(_write(self.folder / "bad.jsonl", bad)), on_bad_row="skip")

    def _converted(self, name: str, place: Path, losses: Mapping[str, int]) -> None:
        self.record[name] = {"losses": _said(losses), "file": _digest(content(place))}

    def again(self) -> None:
        """Over a store that has the answers, or some of them."""
        whole = self.clean("whole")
        store = self.folder / "resumed.responses.sqlite"
        self.clean("part", limit=GROUPS // 3, store=store)
        rest = self.clean("rest", store=store)
        last = self.clean("last", store=store)
        assert 0 < rest["llm"]["extract"]["asked"] < whole["llm"]["extract"]["asked"]
        assert not any(stage["asked"] for stage in last["llm"].values())
        for suffix in (".jsonl", ".decisions.jsonl"):
            assert len({(self.folder / f"{name}{suffix}").read_bytes() for name in ("whole", "rest", "last")}) == 1

    def in_memory(self) -> None:
        """`arhn.clean`, without files."""
        stats = Stats()
        cleaned = list(clean_groups(read(self._many), engine(), config=UNCALIBRATED, stats=stats))
        said = [(g.cleaned, g.extractions, g.ranking, g.decisions, g.below_floor, g.dropped) for g in cleaned]
        self.record["in memory"] = {
            "content": _digest("\n".join(map(repr, said)).encode()),
            "reasons": _said(Counter(d.reason.value for g in cleaned for d in g.decisions)),
            "asked": stats.total.asked,
        }

    def agreements(self) -> None:
        gold = [
            {"query_id": f"q{i}", "labels": {f"{i}n0": ("false_negative", "true_negative", "ambiguous")[i % 3]}}
            for i in range(GROUPS)
        ]
        judged = [{"query_id": f"q{i}", "better": [f"{i}n0"][i % 2 :], "worse": []} for i in range(GROUPS)]
        files = {
            "decisions": self.folder / "arhn_R+F_listwise.decisions.jsonl",
            "output": self.folder / "rlhn_R+F.jsonl",
            "gold": _write(self.folder / "gold.jsonl", gold),
            "verdicts": _write(self.folder / "verdicts.jsonl", judged),
        }
        for other in ("output", "gold", "verdicts"):
            place = self.folder / f"{other}.agreement.json"
            agree(str(files["decisions"]), str(files[other]), json=place)
            self.record[f"agree with {other}"] = {"file": _digest(content(place))}

    def estimates(self) -> None:
        """What a run is expected to take, with nothing known and with a part of it answered."""
        counting = Counting(tokenizer=Characters(), reuse=lambda: BlockReuse(70), described="blocks")
        sample = spread(read(self._many), GROUPS // 2, lambda group: len(group.passages))
        part = self.folder / "part.responses.sqlite"
        self.clean("part of its own", limit=GROUPS // 3, store=part)
        with closing(StoredAnswers(part)) as stored:
            for name, known in (("estimate", None), ("estimate with a store", stored)):
                for method in ("arhn", "rlhn"):
                    config, models = CleanConfig(method=method), Models(engine=engine())
                    found = estimate(sample, config=config, models=models, counting=counting, stored=known)
                    self.record[f"{name} {method}"] = {
                        "middle": {what: round(n) for what, n in asdict(found.middle).items()},
                        "content": _digest(_canonical(_rounded(asdict(found), 6))),
                    }

    def on_a_cluster(self) -> None:
        """Partitions cleaned one after the other, as on Ray."""
        # Not for Ray's workers, which import this module on a thread, where signals can't be set.
        from tests.unit.cluster.inline import run_inline

        self._cluster("cluster", lambda job, work: run_inline(job, work, engine=engine(), size=SIZE))

    def on_ray(self) -> None:
        """On Ray itself, with two workers."""
        cluster = Cluster(address="local", workers=2, partition=SIZE)
        self._cluster(
            "ray", lambda job, work: run_on_ray(job, cluster.model_copy(update={"work": str(work)}), just_the_engine)
        )

    def _cluster(self, name: str, clean_there: Callable[[Job, Path], dict[str, Any]]) -> None:
        files, work = Files.beside(str(self.folder / f"{name}.jsonl")), self.folder / f"{name}.work"
        self._keep(name, clean_there(Job(input=str(self._many), files=files, config=UNCALIBRATED), work), files)
        # Not all of a part's name: settings, and so their digest, are more with every version.
        names = sorted({each.name.partition(".")[0] for each in work.iterdir()})
        stores = sorted(work.glob("*.responses.sqlite"))
        parts = [_part(work, each) for each in names]
        self.record[name] |= {
            "partitions": names,
            "parts": [_digest(_canonical(part)) for part in parts],
            "stores": [_digest(content(store)) for store in stores],
        }


def _part(work: Path, name: str) -> dict[str, Any]:
    [place] = work.glob(f"{name}.*.part")
    part: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(place.read_bytes()))
    part["failures"].sort(key=_canonical)
    for stage in part["stats"]["stages"].values():
        for what in ("seconds", "_since", "in_flight"):
            stage.pop(what, None)
    return part


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each, digits) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each, digits) for each in value]
    return round(value, digits) if isinstance(value, float) else value


def _with_flagger(_: ExitStack) -> Models:
    return Models(engine=engine(), small_model=engine(model="small"))


def _with_similarity(_: ExitStack) -> Models:
    return Models(engine=engine(), similarity=_similarity())


def _calibration(family: str, prompt: str, *, samples: int = 0) -> dict[str, Any]:
    return {
        "model": "fake",
        "prompt": prompt,
        "family": family,
        "samples": samples,
        "slope": 1.1,
        "intercept": -0.2,
        "threshold": 0.7,
        "lower": 0.3,
        "doubtful": 0.1,
        "curve": [
            {"threshold": t, "precision": p, "recall": round(1 - t, 2)}
            for t, p in ((0.95, 0.95), (0.8, 0.85), (0.6, 0.7))
        ],
        "triage": [
            {"cut": c, "share": s, "agreement": a}
            for c, s, a in ((-99, 1.0, 1.0), (-0.02, 0.7, 0.98), (0.05, 0.4, 0.92), (1, 0.2, 0.7))
        ],
    }


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory, where there is one: outputs and answers are many small files, synced to the disk each."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def record(folder: Path) -> Record:
    """What all runs write, but for those on Ray and calibrating, which other libraries are needed for.

    Raises:
        AssertionError: a reason, an action or a status occurs in none of them.
    """
    runs = Runs(folder)
    runs.methods()
    runs.floors()
    runs.asking()
    runs.calibrated()
    runs.formats()
    runs.again()
    runs.in_memory()
    runs.agreements()
    runs.estimates()
    runs.on_a_cluster()
    missing = EXPECTED - set(runs.seen)
    assert not missing, f"in no run: {', '.join(sorted(missing))}"
    return runs.record


#: What must occur somewhere, so that all of it is compared.
EXPECTED = {
    # People's reviews, not runs, give the other one.
    *(f"reason {reason.value}" for reason in Reason if reason is not Reason.REVIEWED),
    *(f"action {action}" for action in ("keep", "relabel", "filter")),
    *(f"status {status}" for status in ("answer", "uncertain", "no_answer", "unknown", "spared", None)),
    *(f"cut {cut}" for cut in (True, False)),
    *(f"ranking {status}" for status in ("ok", "repaired", "failed", "none")),
    *(f"families {family} (guessed)" for family in ("question", "claim", "title", "argument")),
    *(f"families {family} (known)" for family in ("argument", "claim", "duplicate")),
    *(f"families {family} (map)" for family in ("question", "claim", "title", "argument", "duplicate")),
}


def record_on_ray(folder: Path) -> Record:
    """What a run on a local Ray cluster writes."""
    runs = Runs(folder)
    runs.on_ray()
    return runs.record


def record_calibrating(folder: Path) -> Record:
    """A calibration, to two digits: others may come from another version of what fits it."""
    groups = _write(folder / "groups.jsonl", rows(6 * GROUPS))
    labels = [
        {"query_id": row["query_id"], "labels": {p["docid"]: _label(p) for p in row["negative_passages"]}}
        for row in rows(6 * GROUPS)
    ]
    gold, output = _write(folder / "gold.jsonl", labels), folder / "calibration.json"
    fitting = Fitting(gold=gold, groups=str(groups), output=output)
    done = calibrate(fitting, CleanConfig(negatives=6, families=FamilyMap.of({"*": "claim"})), just_the_engine)
    [found] = json.loads(output.read_bytes())
    found["fitted"].pop("when")
    found |= {"curve": len(found["curve"]), "triage": len(found["triage"])}
    answers = _digest(content(fitting.answers))
    return {"calibrate": {**_rounded(found, 2), "skipped": sorted(map(str, done.skipped)), "answers": answers}}


def _label(passage: Mapping[str, Any]) -> str:
    """By what the engine goes by, though not always."""
    said = 0.7 * _own(passage["text"]) + 0.3 * _draw("label", passage["docid"])
    return "true_negative" if said < 0.5 else "ambiguous" if said < 0.55 else "false_negative"


def main(place: Path, folder: Path | None = None) -> None:
    with ExitStack() as stack:
        where = folder or Path(stack.enter_context(scratch()))
        found: Record = {}
        for made in (record, record_on_ray, record_calibrating):
            own = where / made.__name__
            own.mkdir(parents=True)
            found |= made(own)
    place.write_text(json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
