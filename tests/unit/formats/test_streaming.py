"""Readers and writers hold a group or a batch at a time, never the file."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from arhn.files import arrow, compression, jsonl, parquet
from arhn.formats import FORMATS, Container, GroupWriter, Source, read
from arhn.formats.ids import SeenIds
from arhn.formats.origin import keep

from .helpers import SAMPLES, TEVATRON, copy, group, lines, put


def row(kind: str, number: int) -> dict[str, Any]:
    """A row of its own group, with text that doesn't compress to nothing."""
    sample = SAMPLES[kind]
    query: dict[str, str] = {
        name: f"who {number} {number**20:x}" for name in ("query", "anchor", "question") if name in sample
    }
    if kind == "swift":
        return {**sample, "messages": [{"role": "user", "content": f"who {number} {number**20:x}"}]}
    return {**sample, **query, **({"query_id": number} if "query_id" in sample else {})}


def big(tmp_path: Path, kind: str, size: int) -> Path:
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        for number in range(size):
            file.write(lines(row(kind, number)))
    return path


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held at once is small, so that few groups would show if more were."""
    for module in (arrow, parquet):
        monkeypatch.setattr(module, "BATCH", 100, raising=False)
    monkeypatch.setattr(compression, "_CHUNK", 1 << 12)
    monkeypatch.setattr(compression, "_COMPRESSED_CHUNK", 1 << 10)


def peak_of_copy(source: Path, target: Path) -> int:
    tracemalloc.start()
    try:
        copy(source, target)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", FORMATS.names())
@pytest.mark.usefixtures("small_pieces")
def test_memory_stays_flat(tmp_path: Path, kind: str) -> None:
    """1,500 groups take no more than 600 do, but for garbage that is not collected yet: how much there is depends on
    what else was made. A group that is held takes ten times what its row does.
    """
    source = big(tmp_path, kind, 600)
    less, small = source.stat().st_size, peak_of_copy(source, tmp_path / "small.jsonl")
    source = big(tmp_path, kind, 1500)
    more, large = source.stat().st_size, peak_of_copy(source, tmp_path / "large.jsonl")
    assert large - small < 0.6 * (more - less)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.usefixtures("small_pieces")
def test_memory_stays_flat_in_every_container(tmp_path: Path, suffix: str) -> None:
    peaks, sizes = [], []
    for size in (1000, 4000):
        source = big(tmp_path, "tevatron", size)
        sizes.append(source.stat().st_size)
        copy(source, tmp_path / f"{size}{suffix}")
        peaks.append(peak_of_copy(tmp_path / f"{size}{suffix}", tmp_path / f"{size}.copy{suffix}"))
    assert peaks[1] - peaks[0] < 0.6 * (sizes[1] - sizes[0])


@pytest.mark.usefixtures("small_pieces")
def test_parquet_holds_one_row_group(tmp_path: Path) -> None:
    """Arrow's own memory, which tracemalloc doesn't see."""
    copy(big(tmp_path, "tevatron", 2000), tmp_path / "in.parquet")
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read(tmp_path / "in.parquet")]
    assert max(held[1500:]) < max(held[:300]) * 1.2


@pytest.mark.parametrize("kind", FORMATS.names())
def test_an_endless_file_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """One row a piece: a group is there as soon as the row after it shows that it is whole."""
    pieces = 0

    def endless(_: Path) -> Iterator[bytes]:
        nonlocal pieces
        for pieces in count(1):
            yield lines(row(kind, pieces))

    monkeypatch.setattr(jsonl, "read_chunks", endless)
    source = Source(path="endless", format=kind, container=Container.JSONL, fields=())
    for drawn, found in enumerate(islice(read(source, require_negatives=False), 100), start=1):
        assert found.query.startswith(f"who {drawn} ")
        assert pieces <= drawn + 2


def test_seen_ids_are_exact() -> None:
    seen = SeenIds()
    assert seen.add("a", 1) == (1, 1)
    assert seen.add("b", 2) == (2, 1)
    assert seen.add("a", 9) == (1, 2)
    assert seen.add("a", 10) == (1, 3)
    seen.close()


def test_a_reader_may_be_drawn_from_other_threads(tmp_path: Path) -> None:
    groups = read(put(tmp_path, TEVATRON, {**TEVATRON, "query_id": "q2"}))
    found = [next(groups).query_id]
    thread = threading.Thread(target=lambda: found.append(next(groups).query_id))
    thread.start()
    thread.join()
    assert found == ["q1", "q2"]


def test_groups_travel_between_processes(tmp_path: Path) -> None:
    (found,) = read(put(tmp_path, {**TEVATRON, "query_id": 7, "subset": "s"}))
    there = pickle.loads(pickle.dumps(found))
    assert there == found
    with GroupWriter(tmp_path / "out.jsonl", "tevatron") as writer:
        writer.write(there)
    assert (tmp_path / "out.jsonl").read_bytes() == lines({**TEVATRON, "query_id": 7, "subset": "s"})


def test_kept_fields_are_a_plain_mapping_to_others() -> None:
    kept = keep("tevatron", ("query_id", "subset"), {"subset": "s"}, {"query_id": 7})
    assert dict(kept) == {"subset": "s"}
    assert kept == {"subset": "s"}
    more = kept | {"x": 1}
    assert dict(more) == {"subset": "s", "x": 1}
    assert more.origin.raw == {"query_id": 7}
    assert group("n").extra == keep("tevatron", (), {})
