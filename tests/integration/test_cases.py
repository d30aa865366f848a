"""The cases of the shared folder that others have met: inputs, commands, and what should happen.

A case is a folder with `cmd`. Who mends a kind of fault adds its cases to `CASES`, with what the commands must give.
The test is skipped where the shared folder isn't there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"
ROOT = Path(__file__).resolve().parents[2]


class Case:
    """A case's folder, copied, and what its commands did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.codes: list[int] = []
        self.said = ""

    def arhn(self, *words: str, code: int = 0) -> str:
        """Run a command; returns what it wrote to both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "arhn", *words], cwd=self.folder, capture_output=True, text=True, env=_environment()
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert done.returncode == code, said
        return said

    def rows(self, name: str) -> list[dict[str, object]]:
        """The rows of a file."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def bash(self, *, python: str = "") -> str:
        """Run the case's own `cmd`; `python` is run instead of its k.py."""
        script = self.folder / "cmd"
        # An option of before: what is rarely set has no option of its own any more.
        script.write_text(script.read_text().replace("--api-key-env K", "--set engine.api_key_env=K"))
        if python:
            (self.folder / "k.py").write_text(python)
        command = self.folder / "cmd"
        # A flag of former versions.
        command.write_text(command.read_text().replace("--api-key-env K", "--set engine.api_key_env=K"))
        done = subprocess.run(
            ["bash", "./cmd"], cwd=self.folder, capture_output=True, text=True, env=_environment(), timeout=300
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        return said


def _environment() -> dict[str, str]:
    """Where `arhn` and `python` of a `cmd` are these."""
    path = [str(ROOT / "tests" / "integration" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


#: Ends the process before the n-th file gets its name.
KILLED = """
import os, sys
from arhn.files import atomic
seen, at, publish = [0], int(sys.argv[1]), atomic.AtomicFile._publish
def publish_some(self):
    seen[0] += 1
    if seen[0] == at:
        os.kill(os.getpid(), 9)
    publish(self)
atomic.AtomicFile._publish = publish_some
from arhn.cli import main
sys.exit(main(sys.argv[2:]))
"""


def two_writers(case: Case) -> None:
    said = case.bash()
    assert ("exit 24" in said) or ("exit 0" in said and "another arhn process" in said)
    written = (case.folder / "out.jsonl").read_bytes()
    assert written in ((case.folder / f"{name}.jsonl").read_bytes() for name in "AB")


def planted_link(case: Case) -> None:
    case.bash()
    assert (case.folder / "victim").read_text() == "VICTIM\n"
    assert not (case.folder / "out.jsonl").is_symlink()


def mined_corpus(case: Case) -> None:
    assert "exit 2" in case.bash()
    assert (case.folder / "corpus.jsonl").read_bytes() == (case.folder / "m" / "corpus.jsonl").read_bytes()
    for flag, name in (("--candidates", "queries.jsonl"), ("--summary", "qrels/train.tsv")):
        case.arhn("mine", "m", "-o", "out.jsonl", flag, f"m/{name}", "--overwrite", code=2)


def estimated_input(case: Case) -> None:
    assert "would replace the input" in case.bash()
    assert (case.folder / "t.jsonl").read_bytes() == (case.folder / "train.jsonl").read_bytes()


def input_named_like_a_partial(case: Case) -> None:
    assert "exit 2" in case.bash()
    assert (case.folder / ".out.jsonl.partial").read_bytes() == (case.folder / "train.jsonl").read_bytes()


def killed_between_renames(case: Case) -> None:
    for at in (2, 3):
        subprocess.run(
            [sys.executable, "-c", KILLED, str(at), "convert", "bad.jsonl", "-o", "o.jsonl", "--on-bad-row", "skip"],
            cwd=case.folder,
            env=_environment(),
            check=False,
        )
        case.arhn("convert", "bad.jsonl", "-o", "o.jsonl", "--on-bad-row", "skip")
        for name in ("o.jsonl", "o.rejects.jsonl"):
            (case.folder / name).unlink()


def journal_of_a_killed_run(case: Case) -> None:
    case.bash(python=KILLED)
    assert (case.folder / "o.jsonl").read_text() == "PRECIOUS\n"


def lists_beside_passages(case: Case) -> None:
    case.arhn("clean", "teacher.jsonl", "-o", "t.jsonl", "--method", "none", "--set", "negatives=1")
    (row,) = case.rows("t.jsonl")
    assert row["teacher_scores"] == [-0.4, -1.1]
    assert (row["pos_index"], row["neg_index"], row["answers"]) == ([12], [907], ["1931"])
    case.arhn("clean", "unpaired.jsonl", "-o", "u.jsonl", "--method", "none", "--set", "negatives=2")
    (row,) = case.rows("u.jsonl")
    found = [row[name] for name in ("neg_source", "neg_rank", "negative_ids")]
    assert found == [["bm25", "dense"], [3, 7], ["n1", "n2"]]


def doubled_docids(case: Case) -> None:
    case.arhn("clean", "tev_dupdoc.jsonl", "-o", "a.jsonl", "--method", "none")
    first = case.rows("a.jsonl")[0]["negative_passages"]
    assert [passage["docid"] for passage in first] == ["d2", "d3"]  # type: ignore[attr-defined]
    assert [row["reason"] for row in case.rows("a.decisions.jsonl")].count("duplicate") == 1
    case.arhn("clean", "tev_posneg.jsonl", "-o", "b.jsonl", "--method", "none")
    assert [row["reason"] for row in case.rows("b.decisions.jsonl")].count("equals_positive") == 1


def blank_passages(case: Case) -> None:
    case.arhn("clean", "tev_empty.jsonl", "-o", "a.jsonl", "--method", "none")
    said = case.arhn("clean", "fe_empty.jsonl", "-o", "b.jsonl", "--method", "none")
    assert "without a text left out" in " ".join(said.split())
    assert len(case.rows("b.jsonl")[0]["neg"]) == 2  # type: ignore[arg-type]


def no_spaces(case: Case) -> None:
    for name in ("zh", "ja"):
        case.arhn("mine", name, "-o", f"{name}.jsonl")
    found = {
        name: {p["docid"] for row in case.rows(f"{name}.jsonl") for p in row["negative_passages"]}  # type: ignore[attr-defined]
        for name in ("zh", "ja")
    }
    assert {"b", "c"} <= found["zh"]
    assert {"b", "d", "e"} & found["ja"]


def one_query_in_two_places(case: Case) -> None:
    said = case.arhn("clean", "shuf.jsonl", "-o", "s.jsonl", "--method", "none")
    assert "1 negative labelled positive for the same query elsewhere" in " ".join(said.split())
    said = case.arhn("inspect", "s.jsonl", "--query-id", "q-75671faef9d25e92")
    assert "stands in 2 groups" in said
    assert said.count("when was the bridge opened") == 2


def soft_labels(case: Case) -> None:
    for command in (("convert", "--to", "flagembedding"), ("clean", "--method", "none")):
        assert "probabilities" in case.arhn(command[0], "softlab.jsonl", "-o", "out.jsonl", *command[1:], code=16)
    assert not (case.folder / "out.jsonl").exists()


def unknown_queries(case: Case) -> None:
    drop = ("--missing-qrels", "drop", "--no-positives", "drop")
    assert "judgements of queries" in case.arhn("mine", "b1", "-o", "o.jsonl", *drop)
    case.arhn("mine", "b1", "--split", "float", "-o", "f.jsonl")


def typed(*commands: str, codes: tuple[int, ...]) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", "arhn", *command.split()],
                cwd=case.folder,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert "Traceback" not in done.stderr
            assert done.returncode in codes, done.stderr

    return check


def long_digits(case: Case) -> None:
    case.arhn("convert", "train.jsonl", "-o", "x.jsonl", code=15)
    case.arhn("convert", "train.jsonl", "-o", "x.jsonl", "--on-bad-row", "skip")
    case.arhn("clean", "train.jsonl", "-o", "y.jsonl", "--method", "none", code=15)


def long_digits_in_qrels(case: Case) -> None:
    (case.folder / "m" / "qrels").mkdir(parents=True, exist_ok=True)
    for name, place in (("corpus.jsonl", "m"), ("queries.jsonl", "m"), ("train.tsv", "m/qrels")):
        shutil.copy(case.folder / name, case.folder / place)
    case.arhn("mine", "m", "-o", "g.jsonl", code=16)


def damaged_store(case: Case) -> None:
    shutil.copy(case.folder / "damaged.sqlite", case.folder / "s.sqlite")
    case.arhn("clean", "train.jsonl", "-o", "o.jsonl", "--method", "none", "--store", "s.sqlite", code=43)


def full_standard_output(case: Case) -> None:
    assert "exit 23" in case.bash()


def refused_prompt(case: Case) -> None:
    """One prompt that a server refuses is one failed request."""
    assert "exit 112" in case.bash()
    assert case.rows("out.jsonl")
    assert {str(row["reason"])[:3] for row in case.rows("out.failures.jsonl")} <= {"401", "403", "500", "400"}


def hidden_key(case: Case) -> None:
    said = case.bash()
    for path in case.folder.glob("out*"):
        said += path.read_bytes().decode("utf-8", "replace")
    assert "exit 112" in said
    assert not any("sk-SECRET0123456789"[i : i + 8] in said for i in range(12))
    assert "x ***" in said


def shown_escapes(case: Case) -> None:
    said = case.bash()
    assert "\x1b" not in said
    assert "\\x1b]0;pwned" in said


@contextlib.contextmanager
def fake_server(case: Case, script: str, mode: str) -> Iterator[str]:
    """A case's own server, at a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, script, str(port), mode], cwd=case.folder) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def null_content(case: Case) -> None:
    with fake_server(case, "fake.py", "r1parser") as url:
        case.arhn("clean", "g.jsonl", "-o", "o.jsonl", "--engine", "openai", "--url", url)
    assert case.rows("o.jsonl")


def too_long_query(case: Case) -> None:
    with fake_server(case, "fake_ctx.py", "plain") as url:
        said = case.arhn("clean", "longq.jsonl", "-o", "o.jsonl", "--engine", "openai", "--url", url)
    assert "1 query doesn't fit the context of 2,048 tokens" in " ".join(said.split())
    assert not any(row["cut"] for row in case.rows("o.decisions.jsonl"))


def one_long_line(case: Case) -> None:
    case.bash()
    assert (case.folder / "out.jsonl").stat().st_size > 25 << 20


def escapes_in_every_field(case: Case) -> None:
    (case.folder / "cmd").write_text((case.folder / "cmd").read_text().replace("| cat -v", ""))
    said = case.bash()
    assert "\\x1b]0;pwned\\x07" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)


def formats_that_others_have(case: Case) -> None:
    for name in ("labpair", "mtebrr", "neglist", "swift1", "swift2", "dpr"):
        case.arhn("convert", f"{name}.jsonl", "-o", f"{name}.out.jsonl")
        assert case.rows(f"{name}.out.jsonl") == case.rows(f"{name}.jsonl")
    for name in ("tev2", "msm", "pylate"):
        assert "the texts are missing" in case.arhn("convert", f"{name}.jsonl", "-o", "out.jsonl", code=12)
    assert "is a file; give a BEIR folder" in case.arhn("mine", "pairs.jsonl", "-o", "out.jsonl", code=11)
    for output in ("-", "out.csv", "out.xlsx"):
        assert "Name a file" in case.arhn("convert", "pairs.jsonl", "-o", output, code=2)


CASES: dict[str, Callable[[Case], None]] = {
    "concurrent_convert": two_writers,
    "partial_is_a_symlink": planted_link,
    "mine_replaces_its_corpus": mined_corpus,
    "estimate_replaces_input": estimated_input,
    "input_is_the_partial": input_named_like_a_partial,
    "kill_between_renames_mine_convert": killed_between_renames,
    "stale_journal": journal_of_a_killed_run,
    "parallel-lists-stale": lists_beside_passages,
    "tevatron-duplicate-docid": doubled_docids,
    "blank-passage-kills-group": blank_passages,
    "bm25-no-spaces": no_spaces,
    "same-query-in-two-places": one_query_in_two_places,
    "soft-labels-all-positive": soft_labels,
    "unknown-queries-no-way-on": unknown_queries,
    "deep_row_with_long_digits": long_digits,
    "deep_gold_and_corpus": typed("agree gold.jsonl gold.jsonl", codes=(16,)),
    "qrels_5000_digits": long_digits_in_qrels,
    "store_damaged_endless": damaged_store,
    "store_damaged_untyped": typed("store flipped1_20.sqlite", codes=(43,)),
    "esc_in_inspect": escapes_in_every_field,
    "formats-refused": formats_that_others_have,
    "stdout_full": full_standard_output,
    "one_long_line": one_long_line,
    "moderation_403": refused_prompt,
    "key_cut_by_300": hidden_key,
    "retry_after_overflow": refused_prompt,
    "deep_error": refused_prompt,
    "reasoning-parser-null-content": null_content,
    "query-too-long-says-passages-cut": too_long_query,
    "esc_of_server": shown_escapes,
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    source = SHARED / name
    if not (source / "cmd").is_file():
        pytest.skip("no ../shared here")
    folder = tmp_path / name
    shutil.copytree(source, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    CASES[name](Case(folder))
