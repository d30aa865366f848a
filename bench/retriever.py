"""Is the retriever better for it? Models trained on the same groups, cleaned in different ways.

    python -m bench.retriever FOLDER --ood FOLDER2 --recipe tiny-static --seeds 5 --store answers.sqlite --stored-only
    python -m bench.retriever FOLDER --ood FOLDER2 --recipe tiny-static --seeds 5 --noise 0,0.1,0.25,max --negatives 1

FOLDER is a gold folder (bench/scoring.py) with the collection in FOLDER/beir: groups are of its split `train`, models
are evaluated on its `test` judgements and on FOLDER2, a BEIR folder of another domain.

The table. Arms: `none`, the groups as they are; `margin`, filtered by --similarity with the rule's default; `R`, `F`,
`R+F`, cleaned by the LLM, all from one store of answers; `oracle`, by the gold labels: false negatives become
positives, ambiguous ones are filtered. `start` is the model that training begins with. What an arm filtered from a
query is no in-batch negative of it either. "FN left", "TN lost": of the groups' negatives by the gold labels.

The curve, with --noise. Groups are made from the gold labels alone: their positives, and --negatives negatives, which
are their first true ones; then that share of all negatives, drawn by the seed, makes room for passages that the
complete judgements call relevant to the query. A level is a share of the negatives ("max": all that there are; each
query has only so many), "groups hit" the share of the groups that hold one. With --negatives 1 that is the same: each
query has one negative, which is false with that probability. Arms: `none`, the noise; `filtered` and `relabelled`,
where all false negatives are. Groups without a negative stay, as min_negatives=0.

nDCG@10 is the mean over seeds, "SD" its standard deviation over them. The difference is from `none` of the same seed,
with "SD of it" over seeds; "95%" and p are over queries, of the mean over seeds (arhn.compare.significance); Holm's
correction is over the arms of a data set (and the levels of the curve). Models that --work has aren't trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

from arhn import weights
from arhn.compare.comparison import Cell, compare
from arhn.compare.contenders import Contender
from arhn.compare.significance import holm
from arhn.errors import ArhnError
from arhn.evaluate.measures import NDCG
from arhn.retrieval.collection import open_collection
from bench import curve, output
from bench.arms import NAMES, Cleaners, Noise, arms
from bench.scoring import load
from bench.trained import Lab, Trained

BASELINE = "none"
CURVE = ("none", "filtered", "relabelled")
Row = dict[str, Any]
#: Models of an arm, one a seed.
Models = Sequence[Trained]


def compare_arms(a: argparse.Namespace, lab: Lab) -> list[Row]:
    """A row an arm and data set."""
    groups, gold = load(a.folder, "train", limit=a.groups)
    cleaners = Cleaners(llm=a.llm, store=a.store, stored_only=a.stored_only, similarity=a.similarity or a.model)
    made = list(arms(a.arms, groups, gold, cleaners))
    facts = {arm.name: arm.labels(gold) for arm in made}
    start = lab.start()
    models: dict[str, list[Trained]] = {arm.name: [] for arm in made}
    for seed in range(a.seeds):
        for arm in made:
            models[arm.name].append(lab.train_arm(arm, seed))
    rows = []
    for dataset in lab.names:
        rows.append({"data": dataset, "name": "start", NDCG: start.results.dataset(dataset).means[NDCG]})
        rows += correct_p_values([row | facts[row["name"]] for row in compare_models(models, dataset)])
    return rows


def compare_levels(a: argparse.Namespace, lab: Lab) -> list[Row]:
    """A row a level, arm and data set."""
    groups, gold = load(a.folder, "train", limit=a.groups)
    noise = Noise(groups, gold, open_collection(folder=a.folder / "beir", split="train"), a.negatives)
    shares = [noise.most if text == "max" else float(text) for text in a.noise.split(",")]
    if bad := [share for share in shares if not 0 <= share <= noise.most]:
        raise SystemExit(f"--noise {bad[0]:g}: with {a.negatives} negatives a group it can be 0 to {noise.most:.3f}")
    models: dict[tuple[int, str], list[Trained]] = {}
    for seed in range(a.seeds):
        for number, share in enumerate(shares):
            for arm in noise.level(share, seed).arms():
                models.setdefault((number, arm.name), []).append(lab.train_arm(arm, seed))
    rows = []
    for dataset in lab.names:
        of_dataset = []
        for number, share in enumerate(shares):
            level = noise.level(share, 0)
            about = {"share": level.share, "groups hit": level.hit}
            here = {arm: found for (n, arm), found in models.items() if n == number}
            of_dataset += [about | row for row in compare_models(here, dataset)]
        rows += correct_p_values(of_dataset)
    return rows


def compare_models(models: Mapping[str, Models], dataset: str) -> list[Row]:
    """The arms on one data set, against `none`."""
    found = [
        Contender(name=name, results=tuple(_only(model, dataset) for model in each)) for name, each in models.items()
    ]
    comparison = compare(found, baseline=BASELINE)
    cells = dict(zip(comparison.contenders, comparison.rows[0].cells, strict=True))
    return [
        {"data": dataset, "name": name, **_counts(models[name]), **_numbers(cell, cells[BASELINE])}
        for name, cell in cells.items()
    ]


def _only(model: Trained, dataset: str) -> Any:
    return model.results.model_copy(update={"datasets": (model.results.dataset(dataset),)})


def _counts(models: Models) -> Row:
    """The means over seeds of what models were trained on."""
    return {what: round(sum(m.counts[what] for m in models) / len(models)) for what in models[0].counts}


def _numbers(cell: Cell, baseline: Cell) -> Row:
    row: Row = {NDCG: cell.mean, "SD": cell.spread, "difference": cell.difference}
    if cell.difference_interval is not None:
        paired = [own - other for own, other in zip(cell.seeds, baseline.seeds, strict=True)]
        row["SD of it"] = stdev(paired) if len(paired) > 1 else None
        row["low"], row["high"] = cell.difference_interval
        row["p"] = cell.p
    return row


def correct_p_values(rows: Sequence[Row]) -> list[Row]:
    """Rows with Holm's correction over all of their p."""
    adjusted = iter(holm([row["p"] for row in rows if "p" in row]))
    return [row | {"p, Holm": next(adjusted)} if "p" in row else row for row in rows]


#: The columns of the table, those that its rows have.
_COLUMNS = (
    "name",
    "share",
    "groups hit",
    "groups",
    "positives",
    "negatives",
    "FN left",
    "TN lost",
    NDCG,
    "SD",
    "difference",
    "SD of it",
    "95%",
    "p",
    "p, Holm",
)


def _format_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows as the table has them."""
    made = [{**row, **({"95%": f"{row['low']:+.4f} to {row['high']:+.4f}"} if "low" in row else {})} for row in rows]
    there = [column for column in _COLUMNS if any(column in row for row in made)]
    return [{column: _digits(column, row.get(column)) for column in there} for row in made]


def _digits(column: str, value: Any) -> Any:
    if value is None or column not in (NDCG, "SD", "difference", "SD of it", "p", "p, Holm"):
        return value
    return f"{value:+.4f}" if column == "difference" else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--ood", type=Path, metavar="FOLDER", help="a BEIR folder of another domain")
    add("--recipe", default="tiny-static")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="in place of the recipe's")
    add("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="what training begins with")
    add("--seeds", type=int, default=5, metavar="N")
    add("--groups", type=int, metavar="N", help="the first N only")
    add("--arms", default=list(NAMES), type=lambda text: text.split(","))
    add("--llm", default=weights.STARTER, metavar="MODEL", help="of R, F and R+F; default: %(default)s")
    add("--store", type=Path, help="its answers; what is missing is asked")
    add("--stored-only", action="store_true", help="stop where an answer is missing")
    add("--similarity", metavar="MODEL", help="of margin; --model unless given")
    add("--noise", metavar="SHARE,...", help="the curve instead of the table")
    add("--negatives", type=int, default=3, metavar="N", help="of a group on the curve; default: %(default)s")
    add("--work", type=Path, default=Path("bench/out/retriever"), help="what models were found to do is kept there")
    add("--threads", type=int)
    add("--json", type=Path, default=Path("bench/out/retriever.json"))
    add("--plot", type=Path, default=Path("bench/out/noise.png"), help="of the curve")
    a = parser.parse_args()
    lab = Lab(
        recipe=a.recipe,
        settings=[*a.settings, *(["min_negatives=0"] if a.noise else [])],
        model=a.model,
        folders=[str(a.folder / "beir"), *([str(a.ood)] if a.ood else [])],
        work=a.work,
        threads=a.threads,
    )
    try:
        rows = compare_levels(a, lab) if a.noise else compare_arms(a, lab)
    except ArhnError as error:
        raise SystemExit(str(error)) from error
    title = f"{a.recipe}, {a.seeds} seeds" + (f", {a.negatives} negatives a group" if a.noise else "")
    for dataset in lab.names:
        output.show_lines(f"{dataset}: {title}", _format_rows([row for row in rows if row["data"] == dataset]))
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(a).items()}
    output.write(a.json, "retriever", settings, rows)
    if a.noise:
        curve.draw(a.plot, rows, lab.names, CURVE, BASELINE)
        print(a.plot)


if __name__ == "__main__":
    main()
