import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn import store
from arhn.engines import Completion, Matching, Message, OneOf, Permutation, Request, SpanOf
from arhn.errors import DiskFull, OutputNotWritable, StoreCorrupt, StoreError, StoreLocked, StoreVersion
from arhn.store import SqliteStore, StoredAnswers, forget_unreadable
from arhn.store.answers import decode, encode

KEY = bytes(16)


def opened(path: Path, model: str = "m") -> SqliteStore:
    return SqliteStore(path, model=model)


completions = st.builds(
    Completion,
    text=st.text(),
    finish=st.sampled_from(["stop", "length", "context", "refused"]),
    first=st.dictionaries(st.text(), st.floats(-50, 0)),
    prompt_tokens=st.integers(0, 10**6),
    cached_tokens=st.integers(0, 10**6),
    completion_tokens=st.integers(0, 10**6),
)

#: What the keys below were computed of.
ASKED = (Message("system", "Judge."), Message("user", "Does it?"))


@given(completions)
def test_completions_round_trip_exactly(completion: Completion) -> None:
    assert decode(encode(completion), Path("s")) == completion


def test_answers_are_read_and_written_as_they_were() -> None:
    row = b'["Yes","length",{"Yes":-0.1},100,40,1]'
    completion = decode(row, Path("s"))
    assert completion == Completion(
        text="Yes", finish="length", first={"Yes": -0.1}, prompt_tokens=100, cached_tokens=40, completion_tokens=1
    )
    assert encode(completion).startswith(row[:-1] + b",")  # and a checksum


def test_answers_that_an_earlier_version_stored_with_every_token_are_read() -> None:
    row = b'["1: No","stop",{"1":-0.1},100,40,4,[["1",{"1":-0.1}],[": No",{": No":-0.2}]]]'
    assert decode(row, Path("s")) == Completion(
        text="1: No", first={"1": -0.1}, prompt_tokens=100, cached_tokens=40, completion_tokens=4
    )


@pytest.mark.parametrize("row", [b"7", b"[]", b'["Yes","length",{},1,0]', b'["Yes","length",{},1,0,1,[],[]]', b"{"])
def test_a_row_that_nobody_wrote_is_corrupt(row: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="a stored answer can't be read"):
        decode(row, Path("s"))


def test_keys_stay_so_that_stored_answers_are_found_again() -> None:
    """Also those of stores that earlier versions wrote: these are the keys that they have there."""
    messages = (Message("system", "Judge."), Message("user", "Passage: x"))
    plain = Request(messages=messages, max_tokens=1, alternatives=40)
    choice = Request(messages=messages, max_tokens=2, constraint=OneOf(("Yes", "No")), temperature=0.5, seed=3)
    assert plain.key("m").hex() == "fd8ab4da2576a06ab0afb873c595bdf5"
    assert choice.key("m").hex() == "82ffdd83a50fea656ef88b5a78ebf37b"


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (Request(messages=ASKED, max_tokens=1, alternatives=40), "86f05957fb94fba1db93716bebadd07a"),
        (
            Request(messages=ASKED, max_tokens=96, constraint=SpanOf("a b c", "None.", "Yes: ", ".")),
            "4aca904d672c428ef9ad6487fee5fb28",
        ),
        (
            Request(messages=ASKED, max_tokens=2, constraint=OneOf(("Yes", "No")), alternatives=40),
            "2a3d1a6a50c9f3811fb9ef18fae58c82",
        ),
        (Request(messages=ASKED, max_tokens=30, constraint=Permutation(5)), "10c070db073f1f76b6b9a9aceb0eb213"),
        (Request(messages=ASKED, max_tokens=24, constraint=Matching("[a-z]+")), "6d2c1e64c48d5ffa2b0846289e457ff4"),
        (
            Request(messages=ASKED, max_tokens=96, constraint=SpanOf("a b"), temperature=1.0, seed=3),
            "6390d710cefd191e7583f9ca2be24dc2",
        ),
    ],
    ids=["verdict", "whole answer", "choice", "ranking", "judgement", "sampled"],
)
def test_keys_of_every_kind_of_request_stay(request_: Request, key: str) -> None:
    assert request_.key("m").hex() == key


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as s:
        s.put(KEY, Completion(text="a"))
    with opened(tmp_path / "s") as s:
        assert s.get_many([KEY, bytes([1] * 16)]) == {KEY: Completion(text="a")}


def test_answers_survive_kill_9(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from arhn.store import SqliteStore;"
        "from arhn.engines import Completion; s = SqliteStore(Path('s'), model='m');"
        "s.put(bytes(16), Completion(text='a')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    with opened(tmp_path / "s") as s:
        assert s.get_many([KEY]) == {KEY: Completion(text="a")}


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s"), pytest.raises(StoreLocked, match="another arhn process"):
        opened(tmp_path / "s")
    opened(tmp_path / "s").close()


def test_another_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s").close()
    db = sqlite3.connect(tmp_path / "s")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreVersion, match="schema 99"):
        opened(tmp_path / "s")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b'{"query": 1}\n'])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(StoreCorrupt):
        opened(tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "s")
    db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(StoreCorrupt, match="not a response store"):
        opened(tmp_path / "s")


def test_a_damaged_answer_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as s:
        s.put(KEY, Completion(text="a"))
    db = sqlite3.connect(tmp_path / "s")
    db.execute("UPDATE answers SET answer = x'7b'")
    db.commit()
    db.close()
    with opened(tmp_path / "s") as s, pytest.raises(StoreCorrupt, match="can't be read"):
        s.get_many([KEY])


def test_a_full_disk_keeps_what_was_answered(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as s:
        s.put(KEY, Completion(text="a"))
        pages = s._db.execute("PRAGMA page_count").fetchone()[0]
        s._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull, match="run the same command again"):
            for i in range(1, 200):
                s.put(bytes([i]) * 16, Completion(text="x" * 1000))
        s._db.execute("PRAGMA max_page_count = 1000000")
    with opened(tmp_path / "s") as s:
        assert s.get_many([KEY])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputNotWritable):
        opened(tmp_path / "s")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(OutputNotWritable, match="no such folder"):
        opened(tmp_path / "f" / "s")


def test_info_counts_models_runs_and_hits(tmp_path: Path) -> None:
    with opened(tmp_path / "s", "m1") as s:
        s.put(KEY, Completion(text="a"))
    with opened(tmp_path / "s", "m2") as s:
        s.put(bytes([1] * 16), Completion(text="b"))
        s.get_many([KEY, KEY])
    found = store.info(tmp_path / "s")
    assert (found.answers, found.unused) == (2, 0)
    assert [(m.model, m.answers) for m in found.models] == [("m1", 1), ("m2", 1)]
    assert [(r.hits, r.answers) for r in found.runs] == [(0, 1), (1, 1)]
    assert found.bytes > 0


def test_prune_unused_and_by_model(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(path, "m1") as s:
        s.put(KEY, Completion(text="old"))
        s.put(bytes([1] * 16), Completion(text="used again"))
    with opened(path, "m2") as s:
        s.get_many([bytes([1] * 16)])
        s.put(bytes([2] * 16), Completion(text="new"))
    assert store.prune(path, "unused") == 1
    with pytest.raises(StoreError, match="m1, m2"):
        store.prune(path, "all", model="m3")
    assert store.prune(path, "all", model="m2") == 1
    assert store.info(path).answers == 1


def test_a_run_that_did_not_finish_makes_no_answer_unused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    opened(path).close()  # killed before it noted anything
    assert store.prune(path, "unused") == 0
    with opened(path) as s:
        s.put(KEY, Completion(text="a"))
    with pytest.raises(ZeroDivisionError), opened(path) as s:
        raise ZeroDivisionError
    assert store.info(path).unused == 0
    assert store.prune(path, "unused") == 0


def of_schema_1(path: Path) -> None:
    """A store as arhn made it before answers lay in the order in which they came."""
    older(
        path,
        1,
        """
        CREATE TABLE answers (
            key BLOB PRIMARY KEY, model INTEGER NOT NULL, run INTEGER NOT NULL, last_run INTEGER NOT NULL,
            answer BLOB NOT NULL
        ) WITHOUT ROWID;
        """,
        ((bytes([i] * 16), 1, 1, last, answered(i)) for i, last in ((0, 1), (1, 2), (2, 1))),
    )


def of_schema_2(path: Path) -> None:
    """A store as arhn made it before keys went into their tree many at a time."""
    older(
        path,
        2,
        """
        CREATE TABLE answers (
            id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, model INTEGER NOT NULL, run INTEGER NOT NULL,
            answer BLOB NOT NULL
        );
        CREATE TABLE uses (id INTEGER PRIMARY KEY, run INTEGER NOT NULL);
        INSERT INTO uses VALUES (7, 2);
        """,
        ((number, bytes([i] * 16), 1, 1, answered(i)) for i, number in enumerate((3, 7, 8))),
    )


def answered(i: int) -> bytes:
    return encode(Completion(text=f"a{i}"))


def older(path: Path, schema: int, tables: str, answers: Iterable[tuple[Any, ...]]) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(
            f"""
            {tables}
            CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
            CREATE TABLE runs (
                id INTEGER PRIMARY KEY, started REAL NOT NULL, version TEXT NOT NULL,
                hits INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0
            );
            INSERT INTO models VALUES (1, 'm');
            INSERT INTO runs VALUES (1, 0.0, '0', 0, 3, 1), (2, 1.0, '0', 1, 0, 1);
            PRAGMA application_id = 1634887790; PRAGMA user_version = {schema};
            """
        )
        db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", answers)
    db.close()


@pytest.mark.parametrize("made", [of_schema_1, of_schema_2])
def test_an_older_store_is_brought_up_to_date(made: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "s"
    made(path)
    keys = [bytes([i] * 16) for i in range(4)]
    all_of_them = {key: Completion(text=f"a{i}") for i, key in enumerate(keys[:3])}
    before = path.read_bytes()
    store.check(path)
    with pytest.raises(StoreVersion, match=f"older version of arhn.* 'arhn store {path}' brings it"):
        StoredAnswers(path)
    assert path.read_bytes() == before
    assert store.info(path).unused == 2
    stored = StoredAnswers(path)
    assert stored.get_many(keys) == all_of_them
    stored.close()
    with opened(path) as s:
        assert s.get_many(keys) == all_of_them
        s.put(keys[3], Completion(text="new"))
    assert (store.info(path).answers, store.info(path).unused) == (4, 0)


def test_an_upgrade_that_is_cut_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    of_schema_1(path)
    with monkeypatch.context() as broken:
        broken.setattr("arhn.store.tables._FROM_1", "ALTER TABLE answers RENAME TO before; SELECT 1 FROM nowhere;")
        with pytest.raises(StoreCorrupt):
            opened(path)
    with opened(path) as s:
        assert s.get_many([KEY]) == {KEY: Completion(text="a0")}


def test_an_answer_that_is_put_again_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(path) as s:
        s.put(KEY, Completion(text="old"))
    with opened(path) as s:
        s.get_many([KEY])
    with opened(path) as s:
        s.put(KEY, Completion(text="new"))
        assert s.get_many([KEY]) == {KEY: Completion(text="new")}
    assert store.prune(path, "unused") == 0


def test_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no response store"):
        store.info(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.sqlite"
    key = bytes(16)
    whole = Completion(text="No", finish="length", first={"No": -0.1, "Yes": -2.4}, prompt_tokens=3)
    with SqliteStore(path, model="m") as store:
        store.put(key, whole)
    database = sqlite3.connect(path)
    (answer,) = database.execute("SELECT answer FROM answers").fetchone()
    for place in range(len(answer)):
        for bit in (1, 32):
            changed = bytearray(answer)
            changed[place] ^= bit
            try:
                found = decode(bytes(changed), path)
            except StoreCorrupt:
                continue
            assert found is None or found == whole  # a space, perhaps
    database.execute("UPDATE answers SET answer = ?", (answer.replace(b"No", b"Yo", 1),))
    database.commit()
    database.close()
    with SqliteStore(path, model="m") as store:
        assert store.get_many([key]) == {}
        assert store.damaged == 1
        store.put(key, whole)
    assert "1 answers were damaged" in caplog.text
    with SqliteStore(path, model="m") as store:
        assert store.get_many([key]) == {key: whole}


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_names(tmp_path: Path, link: Any) -> None:
    (tmp_path / "other").mkdir()
    with SqliteStore(tmp_path / "s.sqlite", model="m"):
        link(tmp_path / "s.sqlite", tmp_path / "other" / "link.sqlite")
        with pytest.raises(StoreLocked):
            SqliteStore(tmp_path / "other" / "link.sqlite", model="m")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET started = 'x'",
        "UPDATE runs SET hits = x'00'",
        "UPDATE runs SET started = 1e300",
        "UPDATE models SET name = CAST(x'ff' AS TEXT)",
    ],
)
def test_values_of_other_types_are_damage(tmp_path: Path, change: str) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, model="m") as written:
        written.put(bytes(16), Completion(text="No"))
    database = sqlite3.connect(path)
    database.execute(change)
    database.commit()
    database.close()
    with pytest.raises(StoreCorrupt):
        store.info(path)


# --- Answers that nothing could be made of --------------------------------------------------------


def test_unreadable_answers_are_forgotten_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, model="m", server="one") as store:
        store.put(b"good", Completion(text="Yes"))
        store.put(b"bad", Completion(text="%$!"))
        store.mark_unreadable(b"bad")
        store.mark_unreadable(b"no such key")
        assert set(store.get_many([b"good", b"bad"])) == {b"good", b"bad"}
    assert forget_unreadable(path) == 1
    assert forget_unreadable(path) == 0
    with SqliteStore(path, model="m", server="one") as store:
        assert set(store.get_many([b"good", b"bad"])) == {b"good"}
        store.put(b"bad", Completion(text="No"))
        assert store.get_many([b"bad"])[b"bad"].text == "No"


def test_unreadable_answers_are_asked_again_where_another_server_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, model="m", server="one") as store:
        store.put(b"bad", Completion(text="%$!"))
        store.mark_unreadable(b"bad")
    with SqliteStore(path, model="m", server="one") as store:
        assert store.get_many([b"bad"])
    with SqliteStore(path, model="m", server="other") as store:
        assert not store.get_many([b"bad"])


def test_what_was_answered_anew_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, model="m") as store:
        store.put(b"bad", Completion(text="%$!"))
        store.mark_unreadable(b"bad")
        store.put(b"bad", Completion(text="Yes"))
    assert forget_unreadable(path) == 0
