"""Keys of a store, with a tree that is written every few answers instead of every hundred thousand."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn import store
from arhn.engines import Completion
from arhn.errors import DiskFull, StoreCorrupt, StoreError
from arhn.store import SqliteStore, StoredAnswers, keys
from tests.unit.conftest import at_most


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "RECENT", 8)
    monkeypatch.setattr(keys, "_PIECE", 3)


@pytest.fixture
def path() -> Iterator[Path]:
    """A folder of its own for each of Hypothesis's examples too."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def key(i: int) -> bytes:
    return blake2b(i.to_bytes(4, "big"), digest_size=16).digest()


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, model="m")


def fill(path: Path, numbers: Sequence[int], text: str = "a") -> None:
    with opened(path) as s:
        for i in numbers:
            s.put(key(i), Completion(text=f"{text}{i}"))


def texts(path: Path, numbers: Sequence[int], at_once: int = 5) -> dict[int, str]:
    """What is found of `numbers`, asked for in their order."""
    found: dict[bytes, Completion] = {}
    with opened(path) as s:
        for i in range(0, len(numbers), at_once):
            found |= s.get_many([key(n) for n in numbers[i : i + at_once]])
    return {i: found[key(i)].text for i in numbers if key(i) in found}


def in_tree(path: Path) -> int:
    with sqlite3.connect(path) as db:
        count: int = db.execute("SELECT COUNT(*) FROM keys").fetchone()[0]
    db.close()
    return count


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 60), st.integers(1, 30)),
        st.tuples(st.just("get"), st.integers(0, 60), st.integers(1, 30)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@given(steps)
@at_most(60)
def test_it_holds_what_a_dictionary_holds(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder) / "s", {}
        s = opened(path)
        for at, (what, first, count) in enumerate(steps):
            numbers = range(first, first + count)
            if what == "put":
                for i in numbers:
                    expected[key(i)] = Completion(text=f"{i} of step {at}")
                    s.put(key(i), expected[key(i)])
            elif what == "get":
                wanted = [key(i) for i in numbers]
                assert s.get_many(wanted) == {k: expected[k] for k in wanted if k in expected}
            else:
                s.close()
                s = opened(path)
        assert s.get_many([key(i) for i in range(100)]) == expected
        s.close()
        assert store.info(path).answers == len(expected)


def test_most_keys_are_in_the_tree_and_all_are_found(path: Path) -> None:
    fill(path, range(1003))
    assert in_tree(path) == 1000
    assert texts(path, range(1500)) == {i: f"a{i}" for i in range(1003)}


@pytest.mark.parametrize("seed", range(3))
def test_in_any_order(path: Path, seed: int) -> None:
    fill(path, range(3000))
    numbers = list(range(4000))
    # Runs of neighbours, forwards and backwards, as groups in another order have them.
    parts = [numbers[i : i + 40] for i in range(0, 4000, 40)]
    random.Random(seed).shuffle(parts)
    order = [i for part in parts for i in (part if seed else part[::-1])]
    assert texts(path, order) == {i: f"a{i}" for i in range(3000)}


def test_a_run_in_the_same_order_asks_the_tree_for_little(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, range(5000))
    asked: list[int] = []
    find = keys.KeyIndex.find

    def counted(self: keys.KeyIndex, wanted: Sequence[bytes]) -> dict[bytes, int]:
        asked.append(len(wanted))
        return find(self, wanted)

    monkeypatch.setattr(keys.KeyIndex, "find", counted)
    assert len(texts(path, range(5000))) == 5000
    assert sum(asked) < 50


def test_an_answer_that_was_read_ahead_and_is_put_again_is_the_new_one(path: Path) -> None:
    fill(path, range(100))
    with opened(path) as s:
        s.get_many([key(0), key(1)])
        s.put(key(5), Completion(text="new"))
        assert s.get_many([key(5)]) == {key(5): Completion(text="new")}


def test_nearly_all_unknown_keys_are_known_to_be(path: Path) -> None:
    fill(path, range(5000))
    with opened(path) as s:
        unknown = [key(i) for i in range(10_000, 20_000)]
        perhaps = sum(map(s._keys._filters.may_hold, unknown))
    assert perhaps < 0.08 * len(unknown)


@pytest.mark.parametrize("at", ["INSERT OR REPLACE INTO filters", "INSERT OR REPLACE INTO keys"])
def test_a_merge_that_is_cut_off_loses_nothing(path: Path, at: str) -> None:
    with pytest.raises(StoreError), opened(path) as s:
        refuse = "filters" if "filters" in at else "keys"
        s._db.execute(f"CREATE TRIGGER no BEFORE INSERT ON {refuse} BEGIN SELECT RAISE(ABORT, 'no'); END")
        for i in range(20):
            s.put(key(i), Completion(text=f"a{i}"))
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER no")
    db.commit()
    db.close()
    assert texts(path, range(20)) == {i: f"a{i}" for i in range(8)}
    assert in_tree(path) == 8


def test_a_merge_that_fails_and_then_does_not_hides_nothing(path: Path) -> None:
    with opened(path) as s:
        s._db.execute("CREATE TRIGGER no BEFORE INSERT ON filters BEGIN SELECT RAISE(ABORT, 'no'); END")
        refused = 0
        for i in range(60):
            try:
                s.put(key(i), Completion(text=f"a{i}"))
            except StoreError:
                refused += 1
            if refused == 3:
                s._db.execute("DROP TRIGGER IF EXISTS no")
    assert refused == 3
    fill(path, range(60, 300))
    assert texts(path, range(300)) == {i: f"a{i}" for i in range(300)}


@pytest.mark.parametrize("room", range(1, 12))
def test_a_full_disk_is_called_that_also_where_keys_go_into_the_tree(path: Path, room: int) -> None:
    fill(path, range(7))
    s = opened(path)
    pages = s._db.execute("PRAGMA page_count").fetchone()[0]
    s._db.execute(f"PRAGMA max_page_count = {pages + room}")
    with pytest.raises(DiskFull):
        for i in range(7, 1000):
            s.put(key(i), Completion(text=f"a{i}" * 30))
    s._db.execute("PRAGMA max_page_count = 1000000")
    s.close()
    assert [*texts(path, range(i + 1))] in ([*range(i)], [*range(i + 1)])


@pytest.mark.parametrize("damage", ["X'00'", "X''", "'text'", "zeroblob(length(blocks))"])
def test_damaged_filters_are_noticed(path: Path, damage: str) -> None:
    fill(path, range(100))
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE filters SET blocks = {damage} WHERE layer = 1")
    db.close()
    for look in (opened, StoredAnswers, store.info):
        with pytest.raises(StoreCorrupt, match="a filter of its keys is damaged"):
            look(path)


def test_an_answer_that_is_gone_is_written_again(path: Path) -> None:
    fill(path, range(20))
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM answers WHERE key = ?", (key(3),))
    db.close()
    assert 3 not in texts(path, range(20))
    fill(path, [3], "b")
    assert texts(path, [3]) == {3: "b3"}


def test_looking_at_a_store_of_an_older_version_puts_its_keys_into_the_tree(path: Path) -> None:
    fill(path, range(100))
    with sqlite3.connect(path) as db:
        db.executescript("DELETE FROM keys; DELETE FROM filters;")
    db.close()
    store.info(path)
    assert in_tree(path) == 99


_ENDLESSLY = """
import sys
from hashlib import blake2b
from pathlib import Path
from arhn.engines import Completion
from arhn.store import SqliteStore, keys
keys.RECENT, keys._PIECE = 64, 5
with SqliteStore(Path(sys.argv[1]), model="m") as s:
    i = int(sys.argv[2])
    while True:
        s.put(blake2b(i.to_bytes(4, "big"), digest_size=16).digest(), Completion(text=f"a{i}"))
        i += 1
        sys.stdout.write(f"{i}\\n")
        sys.stdout.flush()
"""


def test_killed_again_and_again_while_keys_go_into_the_tree(path: Path) -> None:
    known = 0
    for pause in (0.01, 0.03, 0.05, 0.02):
        command = [sys.executable, "-c", _ENDLESSLY, str(path), str(known)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            known = int(child.stdout.readline())
            time.sleep(pause)
            os.kill(child.pid, signal.SIGKILL)
            known = max([known, *map(int, child.stdout.read().split("\n")[:-1])])
    found = texts(path, range(known + 10))
    # The last one may have been written without its number having been told.
    assert {i: text for i, text in found.items() if i < known} == {i: f"a{i}" for i in range(known)}
    assert store.info(path).answers == len(found)


def test_it_is_read_while_a_run_goes_on(path: Path) -> None:
    fill(path, range(13))
    with opened(path) as s:
        reader = StoredAnswers(path)
        for i in range(13, 50):
            s.put(key(i), Completion(text=f"a{i}"))
        found = reader.get_many([key(i) for i in range(13)])
        reader.close()
    assert found == {key(i): Completion(text=f"a{i}") for i in range(13)}


def test_pruned_and_filled_again(path: Path) -> None:
    fill(path, range(50))
    assert len(texts(path, range(20))) == 20
    reader = StoredAnswers(path)
    assert store.prune(path, "unused") == 30
    assert in_tree(path) == 20
    assert len(reader.get_many([key(i) for i in range(50)])) == 20
    reader.close()
    fill(path, range(40, 90), "b")
    assert texts(path, range(100)) == {i: f"a{i}" for i in range(20)} | {i: f"b{i}" for i in range(40, 90)}
    assert store.prune(path, "all") == 70
    assert texts(path, range(100)) == {}
    fill(path, range(5))
    assert len(texts(path, range(100))) == 5


def test_layers_grow(path: Path) -> None:
    fill(path, range(2000))
    with opened(path) as s:
        sizes = [len(blocks) for blocks in s._keys._filters._layers]
    assert sizes == [2 * 2**i for i in range(len(sizes))]
    assert sum(sizes) * 4 >= 2000 > sum(sizes[:-1]) * 4
