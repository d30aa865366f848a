"""bench/retriever.py: noise of the amount that is said, arms that differ in nothing else, no model trained twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import EngineError
from arhn.retrieval.collection import open_collection
from arhn.types import Group, Passage
from tests.unit.train import tiny

pytest.importorskip("matplotlib")
pytest.importorskip("pytrec_eval")
pytest.importorskip("sentence_transformers")

from bench import arms, retriever, trained
from bench.arms import Arm, Cleaners, Noise
from bench.scoring import Gold

QUERIES = 8


def groups_and_gold() -> tuple[list[Group], Gold]:
    """Four negatives each: the second answers every other query, the last one is ambiguous."""
    groups = tiny.groups(QUERIES, negatives=4)
    gold = {
        g.query_id: {
            p.doc_id: "false_negative" if n == 1 and i % 2 else "ambiguous" if n == 3 else "true_negative"
            for n, p in enumerate(g.negatives)
        }
        for i, g in enumerate(groups)
    }
    return groups, gold


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a BEIR folder, whose judgements name the false negatives too."""
    groups, gold = groups_and_gold()
    place = tmp_path_factory.mktemp("data") / "beir"
    (place / "qrels").mkdir(parents=True)

    def write(name: str, rows: list[dict[str, str]]) -> None:
        (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("corpus.jsonl", [{"_id": p.doc_id, "text": p.text} for g in groups for p in g.passages])
    write("queries.jsonl", [{"_id": g.query_id, "text": g.query} for g in groups])
    relevant = [
        (g.query_id, p.doc_id)
        for g in groups
        for p in g.passages
        if gold[g.query_id].get(p.doc_id, "false_negative") == "false_negative"
    ]
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in relevant)]
    for split in ("train", "test"):
        (place / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return place


def noise(folder: Path, negatives: int = 1) -> Noise:
    return Noise(*groups_and_gold(), open_collection(folder=folder, split="train"), negatives)


@pytest.mark.parametrize(("negatives", "share"), [(1, 0.0), (1, 0.25), (1, 0.5), (2, 0.125), (2, 0.25)])
def test_a_level_has_the_share_of_false_negatives_that_it_says(folder: Path, negatives: int, share: float) -> None:
    level = noise(folder, negatives).level(share, seed=3)
    _, gold = groups_and_gold()
    labels = [gold[g.query_id][p.doc_id] for g in level.groups for p in g.negatives]
    assert len(labels) == QUERIES * negatives
    assert labels.count("false_negative") / len(labels) == share == level.share
    assert labels.count("ambiguous") == 0
    assert {d for of in level.gold.values() for d in of} == {
        p.doc_id for g in level.groups for p in g.negatives if gold[g.query_id][p.doc_id] == "false_negative"
    }
    assert level.hit == share * negatives


def test_a_higher_level_of_a_seed_adds_to_the_lower_one(folder: Path) -> None:
    made = noise(folder)
    seen: set[str] = set()
    for share in (0.125, 0.25, 0.5):
        now = {d for of in made.level(share, seed=1).gold.values() for d in of}
        assert seen < now
        seen = now
    assert made.level(0.25, 1) == made.level(0.25, 1)
    assert made.level(0.25, 1) != made.level(0.25, 2)


def test_no_more_noise_than_there_are_relevant_passages(folder: Path) -> None:
    assert noise(folder, 1).most == 0.5
    assert noise(folder, 2).most == 0.25


def test_arms_of_a_level_differ_in_what_becomes_of_the_false_negatives(folder: Path) -> None:
    level = noise(folder, 2).level(0.25, seed=0)
    none, filtered, relabelled = level.arms()
    for i, group in enumerate(none.groups):
        false = [p for p in group.negatives if p.doc_id in level.gold[group.query_id]]
        true = [p for p in group.negatives if p not in false]
        assert len(false) == i % 2
        assert list(filtered.groups[i].negatives) == list(relabelled.groups[i].negatives) == true
        assert list(filtered.filtered.get(group.query_id, ())) == false
        assert list(relabelled.groups[i].positives) == [*group.positives, *false]
        assert filtered.groups[i].positives == group.positives
    assert not none.filtered
    assert not relabelled.filtered
    assert [arm.name for arm in noise(folder, 2).level(0, seed=0).arms()] == ["none"]


def test_the_oracle_relabels_false_negatives_and_filters_ambiguous_ones() -> None:
    groups, gold = groups_and_gold()
    [made] = arms.arms(["oracle"], groups, gold, Cleaners(llm="", store=None, stored_only=True, similarity=""))
    assert [len(g.positives) for g in made.groups] == [1, 2] * (QUERIES // 2)
    assert [len(g.negatives) for g in made.groups] == [3, 2] * (QUERIES // 2)
    assert made.labels(gold) == {"FN left": 0, "TN lost": 0}
    [none] = arms.arms(["none"], groups, gold, Cleaners(llm="", store=None, stored_only=True, similarity=""))
    assert none.labels(gold) == {"FN left": 1, "TN lost": 0}


def test_stored_only_refuses_to_load_a_model(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF" + bytes(60))
    cleaners = Cleaners(llm=str(model), store=tmp_path / "answers.sqlite", stored_only=True, similarity="")
    with pytest.raises(EngineError, match="--stored-only"):
        next(arms.arms(["R"], *groups_and_gold(), cleaners))


def lab(folder: Path, model: Path, work: Path) -> trained.Lab:
    settings = [f"batch={QUERIES}", "epochs=2", "warmup=0", "max_length=32"]
    return trained.Lab(recipe="tiny", settings=settings, model=str(model), folders=[str(folder)], work=work, threads=1)


def test_equal_groups_are_one_model_and_no_model_is_trained_twice(
    folder: Path, retriever: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, _ = groups_and_gold()
    arm = Arm(name="none", groups=groups, filtered={})
    less = Arm(name="less", groups=groups, filtered={groups[0].query_id: groups[0].negatives[:1]})
    first = lab(folder, retriever, tmp_path)
    found = [first.train_arm(arm, 0), first.train_arm(less, 0), first.train_arm(arm, 1), first.start()]
    assert len({each.results.model.identity for each in found}) == 4
    assert found[0].counts == {"groups": QUERIES, "positives": QUERIES, "negatives": 4 * QUERIES}
    assert found[1].counts["negatives"] == 4 * QUERIES - 1

    def never(*args: Any, **more: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(trained, "train", never)
    monkeypatch.setattr(trained, "evaluate", never)
    again = lab(folder, retriever, tmp_path)
    same = replace(arm, name="filtered", groups=tuple(groups))
    assert [again.train_arm(same, 0), again.train_arm(less, 0), again.train_arm(arm, 1), again.start()] == found
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_line_that_a_killed_run_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    ledger = tmp_path / trained.LEDGER
    ledger.write_text('{"key": 1}\n{"key": 2}\n{"ke')
    assert trained._read_lines(ledger) == [{"key": 1}, {"key": 2}]
    assert ledger.read_text() == '{"key": 1}\n{"key": 2}\n'


def test_rows_are_corrected_together() -> None:
    rows = retriever.correct_p_values([{"name": "none"}, {"name": "a", "p": 0.01}, {"name": "b", "p": 0.04}])
    assert [row.get("p, Holm") for row in rows] == [None, 0.02, 0.04]


def test_passages_are_read_from_the_corpus(folder: Path) -> None:
    level = noise(folder).level(0.5, seed=0)
    groups, _ = groups_and_gold()
    texts = {p.doc_id: p.text for g in groups for p in g.passages}
    assert all(isinstance(p, Passage) and p.text == texts[p.doc_id] for g in level.groups for p in g.negatives)
