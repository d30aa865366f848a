"""Whether the family of a data set is found from its first queries, without a name.

On bench/data/family_forms.txt, written in the form of public sets, and on the labelled sets of a folder.

    python -m bench.family_forms [FOLDER] [--queries 200] [--draws 20] [--json FILE]

FOLDER holds folders with train.jsonl or groups.jsonl, or BEIR folders; names in their rows are taken out. A row a set.
"family": what it should be; "found": from its first queries; "of 20": the share of draws of 20 queries that find it;
"rows": the share of its queries that are judged as that family. "half, half": two sets in turns, "rows" the share of
queries that are judged as their own set's family.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Any

from arhn import formats
from arhn.families.choice import FamilyMap, family_of, open_families
from arhn.families.data_set_names import FIELDS
from arhn.families.family import Family
from arhn.types import Group, Passage
from bench import output

WRITTEN = Path(__file__).parent / "data" / "family_forms.txt"
#: What the sets of the folder hold.
FOLDERS: Mapping[str, Family] = {
    "xquad_windows": Family.QUESTION,
    "xquad_de": Family.QUESTION,
    "amazon_reviews": Family.QUESTION,
    "rlhn_fiqa": Family.QUESTION,
    "qatar_forum": Family.DUPLICATE,
    "argkp": Family.PARAPHRASE,
    "cranfield": Family.QUESTION,
}
#: Sets that share a file, in turns.
MIXED = (
    ("nq", "fever"),
    ("msmarco", "scidocs"),
    ("scifact", "scidocs"),
    ("fiqa", "arguana"),
    ("support_tickets", "scifact"),
)
Sets = Mapping[str, tuple[Family, Sequence[Group]]]


def read_written(path: Path) -> Iterator[tuple[str, Family, list[Group]]]:
    """The sets of a file as written."""
    for section in path.read_text("utf-8").split("\n# ")[1:]:
        head, *lines = section.splitlines()
        name, family = head.split()
        pairs = [line.split(" || ") for line in lines if line.strip()]
        yield name, Family(family), [_make_group(f"{name}-{i}", *pair) for i, pair in enumerate(pairs)]


def _make_group(query_id: str, query: str, positive: str) -> Group:
    text = positive.replace("\\n", "\n")
    return Group(query_id=query_id, query=query, positives=(Passage(doc_id=f"{query_id}-p", text=text),), negatives=())


def read_folder(folder: Path, limit: int) -> Iterator[tuple[str, Family, list[Group]]]:
    """The sets of a folder, without names."""
    for name, family in FOLDERS.items():
        place = folder / name
        file = next((f for f in (place / "train.jsonl", place / "groups.jsonl") if f.exists()), None)
        if file is not None:
            yield name, family, [_forget_name(group) for group in islice(formats.read(file), limit)]
        elif (place / "corpus.jsonl").exists():
            yield name, family, list(islice(_read_beir(place), limit))


def _read_beir(folder: Path) -> Iterator[Group]:
    texts = {row["_id"]: row["text"] for row in _read_lines(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _read_lines(folder / "queries.jsonl")}
    for line in (folder / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        if int(grade) > 0 and texts[doc_id].strip() and query_id in queries:
            yield _make_group(query_id, queries.pop(query_id), texts[doc_id])


def _read_lines(path: Path) -> Iterator[Any]:
    return map(json.loads, path.read_text("utf-8").splitlines())


def _forget_name(group: Group) -> Group:
    def bare(passage: Passage) -> Passage:
        return replace(passage, extra={k: v for k, v in passage.extra.items() if k not in FIELDS})

    return replace(
        group,
        positives=tuple(map(bare, group.positives)),
        negatives=tuple(map(bare, group.negatives)),
        extra={k: v for k, v in group.extra.items() if k not in FIELDS},
    )


def measure(family: Family, groups: Sequence[Group], draws: int) -> dict[str, Any]:
    """A row of the table."""
    opened = open_families(groups, FamilyMap())
    decision = opened.opened.whole if opened.opened else None
    rng = random.Random(0)
    few = [open_families(rng.sample(list(groups), min(20, len(groups))), FamilyMap()) for _ in range(draws)]
    return {
        "family": family.value,
        "queries": len(groups),
        "found": str(decision.family) if decision and decision.family else "each row",
        "of 20": fmean(bool(f.opened and f.opened.whole and f.opened.whole.family is family) for f in few),
        "rows": fmean(family_of(group, opened).family == family for group in groups),
        "why": decision.why if decision else "",
        "shares": decision.shares if decision else {},
        "others": sorted(map(str, decision.others)) if decision else [],
    }


def mix(sets: Sets, one: str, other: str) -> dict[str, Any]:
    """Two sets in turns: the share of rows that are judged as their own family."""
    (first, groups), (second, others) = sets[one], sets[other]
    wanted = [
        (family, g)
        for pair in zip(groups, others, strict=False)
        for family, g in zip((first, second), pair, strict=True)
    ]
    opened = open_families([group for _, group in wanted], FamilyMap())
    decision = opened.opened.whole if opened.opened else None
    return {
        "name": f"half {one}, half {other}",
        "family": f"{first}, {second}",
        "queries": len(wanted),
        "found": str(decision.family) if decision and decision.family else "each row",
        "rows": fmean(family_of(group, opened).family == family for family, group in wanted),
        "why": decision.why if decision else "",
        "shares": decision.shares if decision else {},
        "others": sorted(map(str, decision.others)) if decision else [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", help="with labelled sets; only what was written for this bench unless given")
    add("--queries", type=int, default=200)
    add("--draws", type=int, default=20)
    add("--json", type=Path, default=Path("bench/out/family_forms.json"))
    a = parser.parse_args()
    written = read_written(WRITTEN)
    found = chain(read_folder(a.folder, a.queries) if a.folder else (), written)
    sets = {name: (family, groups) for name, family, groups in found}
    rows = [{"name": name, **measure(family, groups, a.draws)} for name, (family, groups) in sets.items()]
    rows += [mix(sets, one, other) for one, other in MIXED]
    right = sum(row["found"] == row["family"] for row in rows[: len(sets)])
    output.show_lines(f"{right} of {len(sets)} sets", rows)
    output.write(a.json, "family_forms", {"sets": len(sets), "right": right, "queries": a.queries}, rows)


if __name__ == "__main__":
    main()
