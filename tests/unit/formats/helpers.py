"""Rows, groups and files for the tests of the formats."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from arhn.formats import Container, GroupWriter, Reject, detect, read
from arhn.types import Group, Passage

TEVATRON: dict[str, Any] = {
    "query_id": "q1",
    "query": "who",
    "positive_passages": [{"docid": "p", "title": "T", "text": "positive"}],
    "negative_passages": [{"docid": "n", "title": "", "text": "negative"}],
}
FLAG = {"query": "who", "pos": ["positive"], "neg": ["negative"]}
TRIPLET = {"anchor": "who", "positive": "positive", "negative": "negative"}
NTUPLE = {"anchor": "who", "positive": "positive", "negative_1": "n1", "negative_2": "n2"}
LABELED = {"query": "who", "docs": ["negative", "positive"], "labels": [0, 1]}
PAIR = {"query": "who", "passage": "positive", "label": 1}
LIST = {"anchor": "who", "positive": ["positive"], "negative": ["negative"]}
DPR = {
    "question": "who",
    "answers": ["one"],
    "positive_ctxs": [{"title": "T", "text": "positive", "passage_id": "7"}],
    "negative_ctxs": [],
    "hard_negative_ctxs": [{"title": "", "text": "negative", "passage_id": "8"}],
}
SWIFT = {
    "messages": [{"role": "user", "content": "who"}],
    "positive_messages": [[{"role": "assistant", "content": "positive"}]],
    "negative_messages": [[{"role": "assistant", "content": "negative"}]],
}
SAMPLES: dict[str, dict[str, Any]] = {
    "tevatron": TEVATRON,
    "flagembedding": FLAG,
    "triplet": TRIPLET,
    "ntuple": NTUPLE,
    "labeled_list": LABELED,
    "labeled_pair": PAIR,
    "negative_list": LIST,
    "dpr": DPR,
    "swift": SWIFT,
}


def lines(*rows: Any) -> bytes:
    """Rows in the canonical layout; strings and bytes stand for lines as they are."""
    return b"".join(_line(row) + b"\n" for row in rows)


def _line(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    return row.encode() if isinstance(row, str) else json.dumps(row, ensure_ascii=False).encode()


def put(folder: Path, *rows: Any, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_bytes(lines(*rows))
    return path


def copy(source: Path, target: Path, *, to: str | None = None, container: Container | None = None) -> Counter[str]:
    """Read and write; by default in the source's format."""
    found = detect(source)
    with GroupWriter(target, to or found.format, container=container, like=found) as writer:
        for group in read(found, require_negatives=False):
            writer.write(group)
    return writer.losses


def write(path: Path, to: str, *groups: Group) -> Counter[str]:
    with GroupWriter(path, to) as writer:
        for group in groups:
            writer.write(group)
    return writer.losses


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def skipped(path: Path, **options: Any) -> tuple[list[Group], list[Reject]]:
    rejects: list[Reject] = []
    return list(read(path, on_bad_row="skip", rejects=rejects.append, **options)), rejects


def group(*negatives: str, positives: tuple[str, ...] = ("positive",), query: str = "who") -> Group:
    return Group(
        query_id="q1",
        query=query,
        positives=tuple(Passage(doc_id=f"p{i}", text=text) for i, text in enumerate(positives)),
        negatives=tuple(Passage(doc_id=f"n{i}", text=text) for i, text in enumerate(negatives)),
    )


# Any text that UTF-8 can hold and that isn't blank; other control characters and separators included.
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: text.strip() != "")
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.integers(10**19, 10**30)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3, alphabet="abcé"), inner, max_size=3)
    ),
    max_leaves=6,
)
extras = st.dictionaries(st.sampled_from(["subset", "meta", "x y", "ünï"]), json_values, max_size=2)
