"""Every kind of bad input has its own error, which names the file, the line and the field."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import (
    BadJson,
    BadRow,
    DataError,
    DuplicateId,
    FileMissing,
    MixedFormats,
    NotUtf8,
    UnknownFormat,
    UsageError,
)
from arhn.files.jsonl import JsonlIfAny
from arhn.formats import FORMATS, GroupWriter, OnBadRow, detect, read

from .helpers import FLAG, LABELED, NTUPLE, SAMPLES, TEVATRON, TRIPLET, copy, lines, put, rows_of, skipped

P, N = TEVATRON["positive_passages"][0], TEVATRON["negative_passages"][0]


def tevatron(**fields: Any) -> dict[str, Any]:
    return {**TEVATRON, "query_id": "q2", **fields}


def second_row_fails(tmp_path: Path, first: Any, bad: Any, error: type[DataError]) -> DataError:
    """The error of a bad row in line 3, after a good and a blank one; skipping it leaves the good ones."""
    path = put(tmp_path, first, "", bad, {**first, "query_id": "q3", "query": "w", "anchor": "w"})
    source = read(path)
    with pytest.raises(error) as caught:
        list(source)
    assert type(caught.value) is error
    assert (caught.value.path, caught.value.line) == (str(path), 3)
    groups, rejects = skipped(path)
    assert len(groups) == 2
    assert [(r.path, r.line, r.error) for r in rejects] == [(str(path), 3, caught.value.message)]
    return caught.value


@pytest.mark.parametrize(
    ("first", "bad", "field", "arrived"),
    [
        (TEVATRON, [1], "row", "a list [1]"),
        (TEVATRON, tevatron(query=3), "query", "an integer 3"),
        (TEVATRON, tevatron(query=" "), "query", "a string ' '"),
        (TEVATRON, tevatron(query="x" * 99 + "\n") | {"query_id": True}, "query_id", "a boolean True"),
        (TEVATRON, tevatron(query_id=1.5), "query_id", "a number 1.5"),
        (TEVATRON, tevatron(query_id=""), "query_id", "a string ''"),
        (TEVATRON, tevatron(positive_passages="p"), "positive_passages", "a string 'p'"),
        (TEVATRON, tevatron(positive_passages=[]), "positive_passages", "none"),
        (TEVATRON, tevatron(negative_passages=[]), "negative_passages", "none"),
        (TEVATRON, tevatron(negative_passages=["n"]), "negative_passages[0]", "a string 'n'"),
        (
            TEVATRON,
            tevatron(negative_passages=[N, {"docid": "m"}]),
            "negative_passages[1].text",
            "no such field",
        ),
        (
            TEVATRON,
            tevatron(negative_passages=[{"text": "t"}]),
            "negative_passages[0].docid",
            "no such field",
        ),
        (TEVATRON, tevatron(negative_passages=[N | {"text": None}]), "negative_passages[0].text", "null"),
        (
            TEVATRON,
            tevatron(negative_passages=[N | {"title": 1}]),
            "negative_passages[0].title",
            "an integer 1",
        ),
        (
            TEVATRON,
            tevatron(negative_passages=[N, P | {"text": "another"}]),
            "negative_passages[1].docid",
            "'p', which is also the docid of positive_passages[0]",
        ),
        (TEVATRON, {k: v for k, v in tevatron().items() if k != "query"}, "query", "no such field"),
        (
            TEVATRON,
            {k: v for k, v in tevatron().items() if k != "negative_passages"},
            "negative_passages",
            "no such field",
        ),
        (FLAG, {"query": "who", "pos": ["p"]}, "neg", "no such field"),
        (FLAG, {**FLAG, "pos": "p"}, "pos", "a string 'p'"),
        (FLAG, {**FLAG, "neg": ["n", 3]}, "neg[1]", "an integer 3"),
        (FLAG, {**FLAG, "neg": ["", " "]}, "neg", "blank ones only"),
        (FLAG, {**FLAG, "neg": []}, "neg", "none"),
        (FLAG, {**FLAG, "neg_scores": [0.5, 0.5]}, "neg_scores", "2"),
        (FLAG, {**FLAG, "pos_scores": [True]}, "pos_scores[0]", "a boolean True"),
        (FLAG, {**FLAG, "pos_scores": "1"}, "pos_scores", "a string '1'"),
        (TRIPLET, {"anchor": "a", "positive": "p", "negative": None}, "negative", "null"),
        (TRIPLET, {"anchor": "a", "negative": "p"}, "positive", "no such field"),
        (NTUPLE, {"anchor": "a", "positive": "p"}, "negative_1", "none"),
        (NTUPLE, {**NTUPLE, "negative_2": 2}, "negative_2", "an integer 2"),
        (LABELED, {**LABELED, "labels": [0, 0]}, "labels", "none"),
        (LABELED, {**LABELED, "labels": [0]}, "labels", "1"),
        (LABELED, {**LABELED, "labels": [0, "1"]}, "labels[1]", "a string '1'"),
    ],
)
def test_bad_row(tmp_path: Path, first: Any, bad: Any, field: str, arrived: str) -> None:
    error = second_row_fails(tmp_path, first, bad, BadRow)
    assert isinstance(error, BadRow)
    assert (error.field, error.arrived) == (field, arrived)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"query": "\\ud800"}', "query"),
        ('{"negative_passages": [{}, {"text": "a\\udc00b"}]}', "negative_passages[1].text"),
        ('{"\\ud800": 1}', "the name '\\ud800'"),
    ],
)
def test_half_a_surrogate_pair(tmp_path: Path, row: str, field: str) -> None:
    error = second_row_fails(tmp_path, TEVATRON, row, BadRow)
    assert isinstance(error, BadRow)
    assert error.field == field


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('{"query": "cut', 15),
        ('{"query": NaN}', 11),
        ('{"query": -Infinity}', 12),
        ('{"query": 1e999}', 11),
        ('{"query": "a"} x', 16),
        ("{'query': 1}", 2),
        ("[" * 3000, 1026),
    ],
)
def test_bad_json(tmp_path: Path, line: str, column: int) -> None:
    error = second_row_fails(tmp_path, TEVATRON, line, BadJson)
    assert error.message.startswith(f"column {column}: ")


def test_not_utf8(tmp_path: Path) -> None:
    error = second_row_fails(tmp_path, TEVATRON, b'{"query": "caf\xe9"}', NotUtf8)
    assert "byte 0xe9, number 15 of the line" in error.message
    assert skipped(put(tmp_path, TEVATRON, b"\xe9"))[1][0].row == "\\xe9"


def test_utf16(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(TEVATRON), encoding="utf-16")
    with pytest.raises(NotUtf8, match="seems to be UTF-16"):
        detect(path)


@pytest.mark.parametrize("other", [f for f in FORMATS.names() if f != "tevatron"])
def test_mixed_formats(tmp_path: Path, other: str) -> None:
    error = second_row_fails(tmp_path, TEVATRON, SAMPLES[other], MixedFormats)
    assert f"this row is {other}, but the file is tevatron" in error.message


def test_duplicate_query_id(tmp_path: Path) -> None:
    error = second_row_fails(tmp_path, TEVATRON, {**TEVATRON, "query": "other"}, DuplicateId)
    assert "'q1' occurs again; it was first in line 1" in error.message


def test_no_negatives_is_allowed_on_request(tmp_path: Path) -> None:
    for row in ({**TEVATRON, "negative_passages": []}, {**FLAG, "neg": []}, {"anchor": "a", "positive": "p"}):
        (group,) = read(put(tmp_path, row), require_negatives=False)
        assert group.negatives == ()


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"nowhere\.jsonl: can't be read: No such file"):
        read(tmp_path / "nowhere.jsonl")
    for content in (b"", b"\n \n", b"\xef\xbb\xbf", gzip.compress(b"")):
        (tmp_path / "empty.jsonl").write_bytes(content)
        with pytest.raises(UnknownFormat, match="is empty"):
            read(tmp_path / "empty.jsonl")
    with pytest.raises(UnknownFormat, match="is a folder"):
        read(tmp_path)


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownFormat, match=r"line 2: the fields query, passages fit no format; known are .*\(triplet\)"
    ):
        detect(put(tmp_path, "", {"query": "q", "passages": []}))
    with pytest.raises(UnknownFormat, match="is a JSON array"):
        detect(put(tmp_path, "[", TEVATRON, "]"))
    with pytest.raises(BadRow, match="row: expected a JSON object, found a string 'x'"):
        detect(put(tmp_path, '"x"'))


def test_a_bad_first_row_can_be_skipped(tmp_path: Path) -> None:
    groups, rejects = skipped(put(tmp_path, "{", '{"a": 1}', TEVATRON))
    assert len(groups) == 1
    assert [r.line for r in rejects] == [1, 2]
    with pytest.raises(BadJson):
        skipped(put(tmp_path, "{", "{"))


def test_format_can_be_given(tmp_path: Path) -> None:
    path = put(tmp_path, TEVATRON | FLAG)
    assert detect(path).format == "tevatron"
    assert next(read(path, format="flagembedding")).positives[0].text == "positive"


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(TEVATRON, "", tevatron()).replace(b"\n", b"\r\n"))
    assert [g.query_id for g in read(path)] == ["q1", "q2"]


@pytest.mark.parametrize("cut", [1, 9, 300])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_truncated_compressed_file(tmp_path: Path, suffix: str, cut: int) -> None:
    rows = [{**TEVATRON, "query_id": n, "query": f"{n * 7919 % 104729:x}" * 9} for n in range(3000)]
    copy(put(tmp_path, *rows), tmp_path / f"out{suffix}")
    path = tmp_path / f"out{suffix}"
    path.write_bytes(path.read_bytes()[:-cut])
    modes: tuple[OnBadRow, ...] = ("fail", "skip")
    for mode in modes:
        found: list[str] = []
        with pytest.raises(BadJson, match="the compressed file ends early") as caught:
            found.extend(group.query_id for group in read(path, on_bad_row=mode))
        assert found == [str(n) for n in range(len(found))]
        assert found
        assert caught.value.line == len(found) + 1


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_and_joined_compressed_files(tmp_path: Path, suffix: str) -> None:
    copy(put(tmp_path, TEVATRON), tmp_path / f"a{suffix}")
    copy(put(tmp_path, tevatron()), tmp_path / f"b{suffix}")
    a, b = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.write_bytes(a + b)
    assert [g.query_id for g in read(whole)] == ["q1", "q2"]
    damaged.write_bytes(a + b"garbage")
    with pytest.raises(BadJson, match="is damaged"):
        list(read(damaged))
    damaged.write_bytes(a[:40] + bytes([a[40] ^ 255]) + a[41:])
    with pytest.raises(BadJson, match="is damaged"):
        list(read(damaged))


def test_truncated_parquet(tmp_path: Path) -> None:
    copy(put(tmp_path, TEVATRON), tmp_path / "out.parquet")
    content = (tmp_path / "out.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-100])
    with pytest.raises(BadJson, match="the Parquet file is damaged or ends early"):
        read(tmp_path / "cut.parquet")


def test_bad_rows_of_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "in.parquet"
    table = pa.table({"query": ["a", None, "c"], "pos": [["p"]] * 3, "neg": [["n"], ["n"], [None]]})
    pq.write_table(table, path)
    groups, rejects = skipped(path)
    assert len(groups) == 1
    assert [(r.line, r.error.split(":")[0]) for r in rejects] == [(2, "query"), (3, "neg[0]")]
    assert rejects[0].row == '{"pos":["p"],"neg":["n"]}'


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    bytes_ = pa.array([b"\xff"])
    query = pa.StringArray.from_buffers(1, bytes_.buffers()[1], bytes_.buffers()[2])
    pq.write_table(pa.table({"query": query, "pos": [["p"]], "neg": [["n"]]}), tmp_path / "in.parquet")
    with pytest.raises(NotUtf8):
        read(tmp_path / "in.parquet")


def test_rejects_file(tmp_path: Path) -> None:
    path = put(tmp_path, TEVATRON, "{", b'{"query": "\xff"}')
    with JsonlIfAny(tmp_path / "rejects.jsonl") as rejects:
        list(read(path, on_bad_row="skip", rejects=rejects.add))
    rows = rows_of(tmp_path / "rejects.jsonl")
    assert [(row["path"], row["line"], row["row"]) for row in rows] == [
        (str(path), 2, "{"),
        (str(path), 3, '{"query": "\\xff"}'),
    ]


def test_typos_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, TEVATRON)
    with pytest.raises(UsageError, match="on_bad_row is fail or skip, not 'ignore'"):
        read(path, on_bad_row="ignore")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"'tevatrn' is no format\. Did you mean 'tevatron'\? There are: tevatron, "):
        read(path, format="tevatrn")
    with pytest.raises(UsageError, match="'csv' is no container"):
        GroupWriter(tmp_path / "out", "tevatron", container="csv")
