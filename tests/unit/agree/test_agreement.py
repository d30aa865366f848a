import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arhn.agree.agreement import Agreement, agree, compare, compute_scores, make_content
from arhn.agree.confusion import Confusion, Counts, draw_binomial, draw_resamples, f1, kappa, precision, recall
from arhn.agree.judgements import Judgements, Kind, load
from arhn.agree.view import agreement_view
from arhn.cli import main
from arhn.errors import (
    ArhnError,
    BadJson,
    BadRow,
    DataError,
    DuplicateId,
    FileMissing,
    NotUtf8,
    OutputExists,
    UnknownFormat,
    UsageError,
)
from tests.unit.conftest import at_most

Row = dict[str, Any]

REASONS = {"keep": "no_answer", "relabel": "ranked_above", "filter": "ranked_below"}


def decision(query_id: str, doc_id: str, action: str, reason: str = "", label: str = "negative") -> Row:
    return {
        "query_id": query_id,
        "doc_id": doc_id,
        "label": label,
        "action": action,
        "reason": reason or REASONS[action],
    }


def decisions(query_id: str, actions: str) -> list[Row]:
    """Decisions by letters: k(eep), r(elabel), f(ilter), u(nknown); `doc_id`s are d0, d1, …"""
    words = {"k": ("keep", ""), "r": ("relabel", ""), "f": ("filter", ""), "u": ("keep", "extraction_unknown")}
    return [decision(query_id, f"d{i}", *words[letter]) for i, letter in enumerate(actions)]


def gold(query_id: str, labels: str) -> Row:
    """Gold labels by letters: f(alse), t(rue), a(mbiguous)."""
    words = {"f": "false_negative", "t": "true_negative", "a": "ambiguous"}
    return {"query_id": query_id, "labels": {f"d{i}": words[letter] for i, letter in enumerate(labels)}}


def verdict(query_id: str, better: Iterable[str] = (), worse: Iterable[str] = ()) -> Row:
    return {"query_id": query_id, "better": list(better), "worse": list(worse)}


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, rows: Iterable[Row]) -> str:
        (self.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(self.path / name)

    def agree(self, a: Iterable[Row], b: Iterable[Row]) -> Agreement:
        return agree(self.write("a.jsonl", a), self.write("b.jsonl", b))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# Values of scikit-learn's cohen_kappa_score; the first is 0.7 seen, 0.5 by chance: (0.7 - 0.5) / (1 - 0.5).
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((20, 5, 10, 15), 0.4),
        ((40, 3, 2, 4, 9, 1, 0, 6, 5), 0.5658914728682172),
        ((2484, 1171, 1906, 18439), 0.5412857143744514),
        ((0, 0, 4, 6), 0.0),
        ((0, 5, 5, 0), -1.0),
        ((7, 0, 0, 3), 1.0),
    ],
)
def test_kappa(counts: tuple[int, ...], expected: float) -> None:
    assert kappa(counts) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(5, 0, 0, 0), (0, 0, 0, 5), (0, 0, 0, 0), (0,) * 8 + (3,)])
def test_kappa_is_undefined_where_both_use_one_class(counts: tuple[int, ...]) -> None:
    assert kappa(counts) is None


def test_precision_recall_f1() -> None:
    assert (precision((3, 1, 2, 9)), recall((3, 1, 2, 9)), f1((3, 1, 2, 9))) == (0.75, 0.6, 2 / 3)
    assert (precision((0, 0, 2, 9)), recall((0, 0, 2, 9)), f1((0, 0, 2, 9))) == (None, 0, 0)
    assert (precision((0, 0, 0, 9)), recall((0, 0, 0, 9)), f1((0, 0, 0, 9))) == (None, None, None)


def test_binomial_has_the_right_mean_and_variance() -> None:
    rng = random.Random(3)
    drawn = [draw_binomial(rng, 1000, 0.037) for _ in range(4000)]
    mean = sum(drawn) / len(drawn)
    assert mean == pytest.approx(37, abs=0.5)
    assert sum((n - mean) ** 2 for n in drawn) / len(drawn) == pytest.approx(37 * 0.963, rel=0.1)
    assert [draw_binomial(rng, 50, 1.0), draw_binomial(rng, 50, 0.0), draw_binomial(rng, 0, 0.5)] == [50, 0, 0]


def test_a_resample_has_as_many_groups_as_there_are() -> None:
    """Groups of one passage each, so that passages are groups; 15 of them are drawn one by one."""
    groups: dict[Counts, int] = {(1, 0, 0, 0): 70, (0, 1, 0, 0): 25, (0, 0, 1, 0): 10, (0, 0, 0, 1): 5}
    drawn = draw_resamples(groups)
    assert len(drawn) == 1000
    assert {sum(counts) for counts in drawn} == {110}
    means = [sum(counts[cell] for counts in drawn) / 1000 for cell in range(4)]
    assert means == pytest.approx([70, 25, 10, 5], rel=0.05)
    assert draw_resamples(dict(reversed(groups.items()))) == drawn


def test_interval_is_the_one_of_drawing_each_group() -> None:
    rng = random.Random(0)
    groups: dict[Counts, int] = {}
    for _ in range(1000):
        cells = rng.choices(range(4), weights=[10, 5, 8, 77], k=8)
        counts = tuple(cells.count(cell) for cell in range(4))
        groups[counts] = groups.get(counts, 0) + 1
    each = [group for group, times in groups.items() for _ in range(times)]
    drawn = sorted(kappa(tuple(map(sum, zip(*rng.choices(each, k=1000), strict=True)))) or 0 for _ in range(1000))
    interval = Confusion(classes=("a", "b"), groups=groups).interval
    assert interval == pytest.approx((drawn[25], drawn[974]), abs=0.01)


def test_no_interval_of_one_group() -> None:
    assert Confusion(classes=("a", "b"), groups={(3, 1, 1, 5): 1}).interval is None


def test_decisions_against_decisions_in_two_views(folder: Folder) -> None:
    found = folder.agree(
        [*decisions("q1", "rfkk"), *decisions("q2", "kkf")], [*decisions("q1", "ffkr"), *decisions("q2", "kkk")]
    )
    assert found.found.counts == (2, 1, 1, 3)
    assert found.action is not None
    assert found.action.counts == (3, 1, 0, 0, 0, 1, 1, 0, 1)
    assert found.found.agreement == pytest.approx(5 / 7)
    assert found.found.kappa == pytest.approx((5 * 7 - 25) / (49 - 25))  # by chance 3·3 + 4·4 of 7²
    assert compute_scores(found) is None
    assert [(d.query_id, d.passages) for d in found.differing] == [
        ("q1", (("d0", "relabel", "filter"), ("d3", "keep", "relabel"))),
        ("q2", (("d2", "filter", "keep"),)),
    ]


def test_against_gold_ambiguous_is_left_out(folder: Folder) -> None:
    found = folder.agree([*decisions("q1", "rfkkf")], [gold("q1", "ftfta")])
    assert found.found.counts == (1, 1, 1, 1)
    assert found.action is None
    assert found.left_out == {"ambiguous": 1}
    assert compute_scores(found) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert found.differing[0].passages == (("d1", "filter", "true_negative"), ("d2", "keep", "false_negative"))


def test_against_verdicts_the_other_file_says_what_is_compared(folder: Folder) -> None:
    rows = [*decisions("q1", "rfkk"), *decisions("q2", "kf")]
    found = folder.agree(rows, [verdict("q1", better=["d0"], worse=["d2", "elsewhere"])])
    assert found.found.counts == (1, 1, 1, 1)
    assert found.action is not None
    assert found.action.counts == (1, 0, 1, 0, 1, 0, 1, 0, 0)
    assert (found.a.only, found.b.only) == (2, 1)
    assert not found.named_only
    assert found.differing[0].passages == (("d1", "filter", "neither"), ("d2", "keep", "worse"))


def test_the_reference_goes_second(folder: Folder) -> None:
    assert compute_scores(folder.agree([gold("q1", "ft")], decisions("q1", "rk"))) is None


def test_verdicts_against_verdicts_compare_what_either_names(folder: Folder) -> None:
    found = folder.agree([verdict("q1", ["x"], ["y"]), verdict("q2")], [verdict("q1", ["x"], ["z"]), verdict("q3")])
    assert found.named_only
    assert found.found.counts == (1, 1, 1, 0)
    assert "what either names" in " ".join(shown(found).split())


def test_gold_against_verdicts(folder: Folder) -> None:
    found = folder.agree([gold("q1", "fftta")], [verdict("q1", better=["d0"], worse=["d4"])])
    assert found.found.counts == (1, 1, 0, 2)
    assert found.left_out == {"ambiguous": 1}


def test_abstentions_count_as_not_found_and_are_counted(folder: Folder) -> None:
    rows = [decision("q1", f"d{i}", "keep", r) for i, r in enumerate(("ranking_failed", "uncertain", "judge_unknown"))]
    found = folder.agree([*rows, decision("q1", "d3", "keep", "extraction_unknown")], [gold("q1", "ftta")])
    assert found.found.counts == (0, 0, 1, 2)
    assert found.a.abstained == {"judge_unknown": 1, "ranking_failed": 1, "uncertain": 1}
    assert found.differing[0].passages == (("d0", "ranking_failed", "false_negative"),)
    assert "A abstained" in shown(found)


def test_unused_negatives_and_labelled_positives_are_not_compared(folder: Folder) -> None:
    rows = [
        decision("q1", "p", "keep", "positive", label="positive"),
        decision("q1", "d0", "keep"),
        decision("q1", "d1", "filter", "unused"),
        decision("q1", "d2", "keep", "positive_doubtful", label="positive"),
    ]
    found = folder.agree(rows, [gold("q1", "ttf")])
    assert found.found.counts == (0, 0, 0, 1)
    assert found.left_out == {"positive": 1, "unused": 1}
    assert (found.a.passages, found.a.only, found.b.only) == (2, 0, 0)
    against = folder.agree(rows, [verdict("q1", worse=["d0"])])
    assert (against.found.counts, against.left_out) == ((0, 0, 1, 0), {"unused": 1})


def test_partial_overlap_is_counted(folder: Folder) -> None:
    found = folder.agree([*decisions("q1", "rk"), *decisions("q2", "kk")], [gold("q1", "ftt"), gold("q3", "tttt")])
    assert (found.a.only, found.b.only, found.found.compared) == (2, 5, 2)


def test_ids_match_whether_numbers_or_strings(folder: Folder) -> None:
    rows = [{**decision("", "", "filter"), "query_id": 7, "doc_id": 1}]
    found = folder.agree(rows, [{"query_id": "7", "better": [1], "worse": []}])
    assert found.found.counts == (1, 0, 0, 0)


def test_nothing_left_to_compare_is_no_error(folder: Folder) -> None:
    found = folder.agree(decisions("q1", "kk"), [gold("q1", "aa")])
    assert (found.found.compared, found.found.kappa, found.found.agreement, found.found.interval) == (0, *[None] * 3)
    assert make_content(found)["views"]["found"]["kappa"] is None
    assert "–" in shown(found)


def test_compressed_files_are_read(folder: Folder) -> None:
    a, b = folder.write("a.jsonl", decisions("q1", "rk")), folder.write("b.jsonl", [gold("q1", "ft")])
    zipped, packed = folder.path / "a.jsonl.gz", folder.path / "b.jsonl.zst"
    zipped.write_bytes(gzip.compress(Path(a).read_bytes()))
    packed.write_bytes(zstandard.compress(Path(b).read_bytes()))
    assert agree(str(zipped), str(packed)).found.counts == (1, 0, 0, 1)
    packed.write_bytes(packed.read_bytes()[:-6])
    with pytest.raises(BadJson):
        load(str(packed))


def test_a_cleaned_output_stands_for_its_decisions(folder: Folder) -> None:
    decided = folder.write("elsewhere.jsonl", decisions("q1", "rk"))
    files = {"input": "in", "input_format": "tevatron", "split": None, "decisions": decided}
    folder.write("cleaned.summary.json", [{"files": files}])
    groups = folder.write("cleaned.jsonl", [{"query_id": "q1", "query": "what?", "positive_passages": []}])
    read = load(groups)
    assert (read.path, read.source, read.kind) == (groups, Path(decided), Kind.DECISIONS)
    (folder.path / "cleaned.parquet").write_bytes(b"PAR1\x00\xff")
    assert load(str(folder.path / "cleaned.parquet")).source == Path(decided)
    Path(decided).unlink()
    with pytest.raises(FileMissing):
        load(groups)


BAD: list[tuple[str, type[ArhnError], str]] = [
    ("", UnknownFormat, "is empty"),
    ('{"query": "q", "docs": ["d"], "labels": [1]}', UnknownFormat, "line 1: the fields query, docs, labels"),
    ("[1]", BadRow, "line 1: row: expected a JSON object"),
    ("query_id,doc_id", BadJson, "line 1"),
    ('{"query_id": "q", "doc_id": "d", "action": "drop", "label": "negative", "reason": ""}', BadRow, "'keep' or 'rel"),
    ('{"query_id": "q", "doc_id": "d", "action": "keep", "label": 1, "reason": ""}', BadRow, "label: expected"),
    ('{"query_id": "q", "doc_id": "d", "action": "keep", "label": "negative"}', BadRow, "reason: expected a string"),
    ('{"query_id": "", "doc_id": "d", "action": "keep"}', BadRow, "query_id: expected a non-empty string"),
    ('{"query_id": "q", "labels": {"d": "true"}}', BadRow, "labels.d: expected 'false_negative' or"),
    ('{"query_id": "q", "labels": {}}\n\n{"query_id": "r"}', BadRow, "line 3: labels: expected an object"),
    ('{"query_id": "q", "better": "d", "worse": []}', BadRow, "better: expected a list"),
    ('{"query_id": "q", "better": [], "worse": [null]}', BadRow, "worse[0]: expected a non-empty string"),
    ('{"query_id": "q", "better": [], "worse": []}\n{"query_id": "r"', BadJson, "line 2"),
    ('{"query_id": "q", "better": ["d"], "worse": ["d"]}', DuplicateId, "doc_id 'd' of query_id 'q'"),
]


@pytest.mark.parametrize(("text", "error", "message"), BAD)
def test_bad_files(tmp_path: Path, text: str, error: type[ArhnError], message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(error) as raised:
        load(str(path))
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "Correct" in str(raised.value) or "Expected" in str(raised.value)


def test_not_utf8_missing_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"query_id": "\xff"}')
    with pytest.raises(NotUtf8):
        load(str(path))
    for missing in (tmp_path / "none.jsonl", tmp_path, Path("..")):
        with pytest.raises(FileMissing, match="Check the path"):
            load(str(missing))


@pytest.mark.parametrize(
    "rows",
    [
        [*decisions("q", "k"), *decisions("q", "f")],
        [decision("q", "d", "keep"), decision("q", "d", "keep", label="positive", reason="positive")],
        [gold("q", "f"), gold("q", "t")],
        [verdict("q", ["d"]), verdict("q", [], ["d"])],
        [verdict("q", ["d"]), verdict("q")],
    ],
)
def test_judged_twice_and_differently(folder: Folder, rows: list[Row]) -> None:
    with pytest.raises(DuplicateId, match="line 2"):
        load(folder.write("a.jsonl", rows))


def test_judged_twice_alike_counts_once(folder: Folder) -> None:
    assert folder.agree(decisions("q", "kf") * 2, [gold("q", "tf")] * 2).found.counts == (1, 0, 0, 1)


@pytest.mark.parametrize(
    "other",
    [
        decisions("other", "kf"),
        [decision("q", "x", "keep")],
        [gold("q", "")],
        [verdict("other", ["d0"])],
        [verdict("q", ["x"])],  # ids of another kind: every passage would count as judged not relevant
    ],
)
def test_nothing_in_common(folder: Folder, other: list[Row]) -> None:
    for a, b in ((decisions("q", "kf"), other), (other, decisions("q", "kf"))):
        with pytest.raises(DataError, match="no passage in common"):
            folder.agree(a, b)


def test_verdicts_that_name_nothing_are_of_the_same_data(folder: Folder) -> None:
    assert folder.agree(decisions("q", "kf"), [verdict("q")]).found.counts == (0, 1, 0, 1)


words = st.sampled_from("krfu")
actions = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.text(words, min_size=1, max_size=5), min_size=1)


def judged(of: dict[str, str]) -> Judgements:
    names = {"k": "keep", "r": "relabel", "f": "filter", "u": "ranking_failed"}
    groups = {q: {f"d{i}": names[letter] for i, letter in enumerate(letters)} for q, letters in of.items()}
    return Judgements(path="a", source=Path("a"), kind=Kind.DECISIONS, groups=groups)


@given(actions, actions)
def test_kappa_is_symmetric(a: dict[str, str], b: dict[str, str]) -> None:
    if not a.keys() & b.keys():
        return
    one, other = compare(judged(a), judged(b)), compare(judged(b), judged(a))
    assert one.found.kappa == other.found.kappa
    assert one.found.kappa is None or one.found.kappa <= 1
    assert one.action
    assert other.action
    assert one.action.kappa == other.action.kappa
    assert [d.query_id for d in one.differing] == [d.query_id for d in other.differing]
    assert (one.a.only, one.b.only) == (other.b.only, other.a.only)


@at_most(50)
@given(actions)
def test_a_file_agrees_with_itself(a: dict[str, str]) -> None:
    found = compare(judged(a), judged(a))
    for view, classes in ((found.found, ("ku", "rf")), (found.action, ("ku", "r", "f"))):
        assert view
        assert view.agreement == 1
        several = sum(any(letter in "".join(a.values()) for letter in letters) for letters in classes) > 1
        assert view.kappa == (1 if several else None)
        assert view.interval in (None, (1, 1))
    assert found.differing == ()


@at_most(20)  # a bootstrap each
@given(st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(rng: random.Random) -> None:
    a = {f"q{i}": "".join(rng.choices("krfu", k=5)) for i in range(8)}
    b = {q: "".join(rng.choices("krfu", k=5)) for q in a}
    c = {q: a[q] for q in rng.sample(sorted(a), k=8)}
    assert make_content(compare(judged(a), judged(b))) == make_content(compare(judged(c), judged(b)))


def shown(found: Agreement, show: int = 20) -> str:
    console = Console(width=80, markup=False)
    with console.capture() as capture:
        console.print(agreement_view(found, show=show))
    return capture.get()


def test_command_shows_and_writes(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder.write("a.jsonl", [row for i in range(9) for row in decisions(f"q{i}", "rkkf" if i < 6 else "kkkk")])
    b = folder.write("b.jsonl", [gold(f"q{i}", "fttt" if i < 5 else "tttt") for i in range(9)])
    out = folder.path / "agreement.json"
    command = ["agree", a, b, "--show", "2", "--json", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "6 groups differ, in 7 negatives; the 2 that differ most" in printed
    assert "precision 0.417, recall 1.000, f1 0.588" in printed
    assert max(map(len, shown(agree(a, b)).splitlines())) <= 80
    written = json.loads(out.read_text("utf-8"))
    assert written == make_content(agree(a, b))
    assert len(written["differing"]) == 6
    assert written["views"]["found"]["confusion"]["found"] == {"found": 5, "not_found": 7}
    low, high = written["views"]["found"]["kappa_interval"]
    assert low < written["views"]["found"]["kappa"] < high
    assert main(command) == OutputExists.exit_code
    assert main([*command, "--overwrite"]) == 0
    assert {path.name for path in folder.path.iterdir()} == {"a.jsonl", "b.jsonl", "agreement.json"}


def test_command_never_replaces_what_it_compares(folder: Folder) -> None:
    a, b = folder.write("a.jsonl", decisions("q", "k")), folder.write("b.jsonl", [gold("q", "t")])
    link = folder.path / "link.jsonl"
    link.symlink_to(a)
    for place in (a, b, link):
        before = Path(place).read_bytes()
        assert main(["agree", a, b, "--json", str(place), "--overwrite"]) == UsageError.exit_code
        assert Path(place).read_bytes() == before


def test_nothing_is_written_when_comparing_fails(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder.write("a.jsonl", decisions("q", "k")), folder.write("b.jsonl", [gold("other", "t")])
    out = folder.path / "out.json"
    assert main(["agree", a, b, "--json", str(out)]) == DataError.exit_code
    assert "query_id 'other' with doc_id 'd0'" in capsys.readouterr().err
    assert {path.name for path in folder.path.iterdir()} == {"a.jsonl", "b.jsonl"}
