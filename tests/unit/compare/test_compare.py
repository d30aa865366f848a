"""Comparisons of invented results, through the command line and from Python."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arhn import cli
from arhn.compare import plot
from arhn.compare.comparison import Comparison, compare
from arhn.compare.contenders import Contender, read_contenders
from arhn.compare.significance import holm, sign_flip
from arhn.errors import (
    ArhnError,
    BadJson,
    BadRow,
    FileMissing,
    MissingDependency,
    OutputExists,
    OutputNotWritable,
    ResultsDiffer,
    UnknownFormat,
    UsageError,
)
from arhn.evaluate.measures import MRR
from arhn.evaluate.results import RESULTS, Results, read_results
from tests.unit.evaluate.invented import results, written

random = np.random.default_rng(0)
BASE = {"fever": random.random(40).tolist(), "nfcorpus": random.random(60).tolist(), "cranfield": [0.1, 0.9, 0.5]}
BETTER = {name: [min(1.0, v + 0.1 + 0.05 * (i % 3)) for i, v in enumerate(of)] for name, of in BASE.items()}


def alone(**named: Results) -> tuple[Contender, ...]:
    return tuple(Contender(name=name, results=(found,)) for name, found in named.items())


def compared(*more: Contender, **settings: Any) -> Comparison:
    both = alone(base=results("a", BASE), better=results("b", BETTER))
    return compare((*both, *more), **settings)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_means_differences_and_corrected_significance() -> None:
    found = compared()
    assert [row.name for row in found.rows] == ["fever", "nfcorpus", "cranfield", "average"]
    for row in found.rows[:3]:
        a, b = row.cells
        assert a.mean == pytest.approx(mean(BASE[row.name]))
        assert b.mean == pytest.approx(mean(BETTER[row.name]))
        assert (a.p, a.difference, a.adjusted, a.significant) == (None, None, None, False)
        assert b.difference == pytest.approx(b.mean - a.mean)
        assert b.p == sign_flip([np.array(BETTER[row.name]) - np.array(BASE[row.name])])
    average = found.rows[3]
    assert average.cells[1].mean == pytest.approx(mean([row.cells[1].mean for row in found.rows[:3]]))
    assert average.cells[1].p == sign_flip([np.array(BETTER[n]) - np.array(BASE[n]) for n in BASE])
    assert [row.cells[1].adjusted for row in found.rows] == holm([row.cells[1].p or 0 for row in found.rows])
    assert [row.cells[1].significant for row in found.rows] == [True, True, False, True]  # three queries say nothing
    assert found.comparisons == 4
    assert average.queries == 103


def test_intervals_hold_the_means() -> None:
    for row in compared().rows:
        for cell in row.cells:
            assert cell.interval[0] <= cell.mean <= cell.interval[1]
            if cell.difference_interval is not None and cell.difference is not None:
                assert cell.difference_interval[0] <= cell.difference <= cell.difference_interval[1]


def test_the_baseline_is_the_first_or_the_one_named() -> None:
    assert compared().baseline == "base"
    turned = compared(baseline="better")
    assert turned.baseline == "better"
    assert turned.rows[0].cells[0].difference == pytest.approx(-(compared().rows[0].cells[1].difference or 0))
    assert turned.rows[0].cells[1].p is None
    with pytest.raises(UsageError, match=r"no such result\. There are base, better"):
        compared(baseline="worse")


def test_another_measure() -> None:
    assert compared(measure=MRR).rows[0].cells[0].mean == pytest.approx(mean(BASE["fever"]) / 2)
    with pytest.raises(ResultsDiffer, match=r"base has no nDCG@5 on fever. Choose one of nDCG@10, recall@100, MRR@10"):
        compared(measure="nDCG@5")


def test_equal_results_arent_different() -> None:
    found = compare(alone(a=results("a", BASE), b=results("b", BASE)))
    assert all(row.cells[1].p == row.cells[1].adjusted == 1 for row in found.rows)


def test_one_result_alone_is_only_shown() -> None:
    found = compare(alone(a=results("a", BASE)))
    assert found.comparisons == 0
    assert all(cell.p is None for row in found.rows for cell in row.cells)


def test_the_order_of_queries_in_a_file_is_of_no_matter() -> None:
    backwards = results("b", BETTER)
    turned = backwards.model_copy(
        update={
            "datasets": tuple(
                d.model_copy(update={"per_query": {m: dict(reversed(list(v.items()))) for m, v in d.per_query.items()}})
                for d in backwards.datasets
            )
        }
    )
    assert compare(alone(base=results("a", BASE), better=turned)).rows == compared().rows


def test_seeds_count_together_with_their_spread() -> None:
    shifts = (0.1, 0.12, 0.2)
    seeds = [results("b", {n: [v + s for v in of] for n, of in BASE.items()}) for s in shifts]
    found = compare((*alone(base=results("a", BASE)), Contender(name="seeds", results=tuple(seeds))))
    cell = found.rows[0].cells[1]
    assert cell.seeds == pytest.approx([mean(BASE["fever"]) + s for s in shifts])
    assert cell.spread == pytest.approx(np.std(shifts, ddof=1))
    assert cell.difference == pytest.approx(mean(list(shifts)))
    assert found.rows[0].cells[0].spread is None
    average = found.rows[-1].cells[1]
    assert average.spread == pytest.approx(np.std(shifts, ddof=1))


def test_out_of_domain_is_what_no_contender_was_trained_on() -> None:
    a, b = results("a", BASE, training_sets=["FEVER"]), results("b", BETTER, training_sets=["nfcorpus_train"])
    found = compare(alone(a=a, b=b))
    assert [(row.name, row.datasets) for row in found.rows[3:]] == [
        ("average", ("fever", "nfcorpus", "cranfield")),
        ("out of domain", ("cranfield",)),
    ]
    unsaid = compare(alone(a=a, b=results("b", BETTER, training_sets=None)))
    assert unsaid.rows[-1].datasets == ("nfcorpus", "cranfield")
    assert any("the training sets of b aren't recorded" in note for note in unsaid.notes)
    nobody = compare(alone(a=results("a", BASE, training_sets=None), b=results("b", BETTER, training_sets=None)))
    assert [row.kind for row in nobody.rows] == ["dataset"] * 3 + ["average"]


def test_only_common_data_sets_are_compared_and_the_others_named() -> None:
    some = results("b", {name: BETTER[name] for name in ("cranfield", "fever")})
    found = compare(alone(a=results("a", BASE), b=some))
    assert [row.name for row in found.rows] == ["fever", "cranfield", "average"]
    assert any("left out, because not every result has it: nfcorpus (of a)" in note for note in found.notes)
    with pytest.raises(
        ResultsDiffer, match=r"no data set is common to all results .a: fever, nfcorpus, cranfield; b: other"
    ):
        compare(alone(a=results("a", BASE), b=results("b", {"other": [1.0]})))


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"data": "f00"}, "other data"), ({"split": "dev"}, "other splits"), ({"skip_identical": False}, "another rule")],
)
def test_other_data_under_one_name_arent_compared(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ResultsDiffer, match=f"data set 'fever': a and b were evaluated on .*{says}"):
        compare(alone(a=results("a", BASE), b=results("b", BETTER, **changes)))


def test_how_results_differ_is_said() -> None:
    a, b = results("a", BASE, max_length=256), results("b", BETTER, max_length=512, version="1")
    notes = compare(alone(a=a, b=b)).notes
    assert "maximal length differs: a 256, b 512" in notes
    assert "version of arhn differs: a 0, b 1" in notes


# --- What is compared -----------------------------------------------------------------------------


def manifest(seed: int, **settings: Any) -> dict[str, Any]:
    return {
        "recipe": "tiny", "model": "m", "settings": {"seed": seed, "epochs": 1, **settings},
        "data": {"content_sha256": "c"}, "seconds": seed * 7.5,
    }  # fmt: skip


def test_seeds_are_found_by_their_manifests() -> None:
    for name, of in {
        "none-seed1": manifest(1), "none-seed2": manifest(2), "rf.1": manifest(1, epochs=2),
        "rf.2": manifest(2, epochs=2), "zero": None,
    }.items():  # fmt: skip
        written(Path(name), results(name, BASE, manifest=of))
    paths = ["none-seed1", "none-seed2", "rf.1", "rf.2", "zero"]
    found = read_contenders(paths, by_seed=True)
    assert [(c.name, len(c.results)) for c in found] == [("none", 2), ("rf", 2), ("zero", 1)]
    assert len(read_contenders(paths)) == 5


def test_a_run_with_refreshes_is_no_seed_of_one_without() -> None:
    refreshed = {"refreshes": [{"epoch": 1, "content_sha256": "its own"}]}
    for name, of in {
        "none-1": manifest(1),
        "with-1": manifest(1) | refreshed,
        "with-2": manifest(2) | refreshed,
    }.items():
        written(Path(name), results(name, BASE, manifest=of))
    found = read_contenders(["none-1", "with-1", "with-2"], by_seed=True)
    assert [(c.name, len(c.results)) for c in found] == [("none-1", 1), ("with", 2)]


def test_names_of_contenders() -> None:
    for name in ("a", "b", "x/a"):
        written(Path(name), results(name, BASE))
    assert [c.name for c in read_contenders(["a", f"b/{RESULTS}", "mine=x/a"])] == ["a", "b", "mine"]
    with pytest.raises(UsageError, match="two results are called 'a'"):
        read_contenders(["a", "x/a"])
    with pytest.raises(UsageError, match="nothing to compare"):
        read_contenders()
    with pytest.raises(UsageError, match="expected NAME=PATH,PATH"):
        read_contenders(groups=["a,b"])
    [both] = read_contenders(groups=["both=a,b"])
    assert (both.name, len(both.results)) == ("both", 2)


def test_results_come_back_as_they_were_written() -> None:
    found = results("a", BASE, manifest=manifest(1), prompts={"query": "q: ", "document": None})
    assert read_results(written(Path("a"), found)) == found
    assert found.model.seed == 1


def damage(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    return change


BAD_RESULTS: dict[str, tuple[type[ArhnError], Callable[[Path], object], str]] = {
    "missing": (FileMissing, lambda p: p.unlink(), "can't be read"),
    "not JSON": (BadJson, lambda p: p.write_text("{"), "not valid JSON"),
    "something else": (UnknownFormat, lambda p: p.write_text("[]"), "holds no results in the format arhn.results/1"),
    "of a later format": (UnknownFormat, damage(format="arhn.results/2"), "holds no results in the format"),
    "an unknown key": (BadRow, damage(more=1), "more"),
    "a field missing": (BadRow, damage(model={"name": "a"}), "model.kind"),
    "other queries by measure": (
        BadRow,
        lambda p: p.write_text(p.read_text().replace('"q0"', '"other"', 1)),
        "datasets.fever.per_query: expected the same queries",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "change", "says"), BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_bad_results(
    capsys: pytest.CaptureFixture[str], error: type[ArhnError], change: Callable[[Path], object], says: str
) -> None:
    change(written(Path("a"), results("a", BASE)) / RESULTS)
    assert cli.main(["compare", "a"]) == error.exit_code
    err = capsys.readouterr().err
    assert says in err
    assert "Give a folder that 'arhn evaluate' wrote" in err


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture
def two() -> None:
    written(Path("base"), results("a", BASE, training_sets=["fever"]))
    written(Path("better"), results("b", BETTER, training_sets=["fever"]))


@pytest.mark.usefixtures("two")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["compare", "base", "better", "--json", "c.json", "--plot", "c.png"]) == 0
    out = capsys.readouterr().out
    assert f"{mean(BETTER['fever']):.3f} ▲" in out
    assert "Holm's correction for all 5 tests" in " ".join(out.split())
    assert "out of domain" in out
    content = json.loads(Path("c.json").read_bytes())
    assert content["rows"][0]["cells"][1]["adjusted"] < 0.05
    assert content["baseline"] == "base"
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    before = {name: Path(name).read_bytes() for name in ("c.json", "c.png")}
    assert cli.main(["compare", "base", "better", "--json", "c.json", "--plot", "c.png", "--overwrite"]) == 0
    assert {name: Path(name).read_bytes() for name in before} == before


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("file", ["c.json", "c.png"])
def test_files_that_are_there_stay(capsys: pytest.CaptureFixture[str], file: str) -> None:
    Path(file).write_text("mine")
    argv = ["compare", "base", "better", "--json", "c.json", "--plot", "c.png"]
    assert cli.main(argv) == OutputExists.exit_code
    assert Path(file).read_text() == "mine"
    assert {path.name for path in Path().iterdir()} == {"base", "better", file}


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("argv", "error", "says"),
    [
        (["--plot", "c.gif"], UsageError, "expected a name that ends in .png, .svg, .pdf"),
        (["--plot", "no/c.png"], OutputNotWritable, "no such folder"),
        (["--baseline", "x"], UsageError, "no such result"),
        (["--measure", "MAP"], ResultsDiffer, "has no MAP"),
        (["--seed", "-1"], UsageError, "seed: expected 0 or more"),
    ],
)
def test_bad_calls(capsys: pytest.CaptureFixture[str], argv: list[str], error: type[ArhnError], says: str) -> None:
    assert cli.main(["compare", "base", "better", *argv]) == error.exit_code
    assert says in capsys.readouterr().err
    assert {path.name for path in Path().iterdir()} == {"base", "better"}


@pytest.mark.usefixtures("two")
def test_a_plot_needs_matplotlib(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["compare", "base", "better", "--plot", "c.png"]) == MissingDependency.exit_code
    assert "pip install 'arhn[evaluate]'" in capsys.readouterr().err
    assert cli.main(["compare", "base", "better"]) == 0


@pytest.mark.parametrize(
    ("suffix", "count"), [*((".png", count) for count in (1, 2, 9)), *((suffix, 2) for suffix in plot.FORMATS[1:])]
)
def test_pictures_of_every_kind(suffix: str, count: int) -> None:
    pytest.importorskip("matplotlib")
    many = alone(**{f"m{i}": results(f"m{i}", BASE if i % 2 else BETTER) for i in range(count)})
    picture = plot.draw(compare(many, resamples=100), suffix)
    assert picture.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    assert picture == plot.draw(compare(many, resamples=100), suffix)


def test_a_picture_needs_no_display_and_leaves_matplotlib_as_it_was() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    plot.draw(compared(), ".svg")
    assert dict(matplotlib.rcParams) == before
