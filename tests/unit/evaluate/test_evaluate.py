"""Evaluation of a tiny model, of BM25 and of run files on invented data, through the command line."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arhn import cli
from arhn.errors import (
    ArhnError,
    BadJson,
    BadRow,
    CannotHold,
    DeviceMissing,
    DuplicateId,
    EmptyCorpus,
    FileMissing,
    MissingDependency,
    MissingPassages,
    ModelCorrupt,
    ModelMissing,
    NoPositives,
    NothingLeft,
    NotUtf8,
    OutputExists,
    OutputLocked,
    OutputNotWritable,
    RunMismatch,
    TaskUnavailable,
    UnknownTask,
    UsageError,
)
from arhn.evaluate import retrievers
from arhn.evaluate.measures import MEASURES, NDCG, measure
from arhn.evaluate.results import RESULTS, Results, read_results
from arhn.evaluate.sources import BeirFolder
from arhn.files.locks import locked
from arhn.retrieval.runs import Run, read_run
from tests.unit.evaluate import invented
from tests.unit.evaluate.invented import PROMPTS, beir, parts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

pytest.importorskip("pytrec_eval")
pytest.importorskip("bm25s")

OUT = ("-o", "out")
CPU = ("--device", "cpu")


class Arhn:
    """`arhn evaluate` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def works(self, *argv: str | Path) -> str:
        code = cli.main(["evaluate", *map(str, argv)])
        out, err = self._capsys.readouterr()
        assert code == 0, err
        return out

    def fails(self, error: type[ArhnError], *argv: str | Path, says: str = "") -> str:
        code = cli.main(["evaluate", *map(str, argv)])
        out, err = self._capsys.readouterr()
        assert code == error.exit_code, (code, err)
        assert out == ""
        assert says in err
        return err


@pytest.fixture
def arhn(capsys: pytest.CaptureFixture[str]) -> Arhn:
    return Arhn(capsys)


def found(folder: str = "out") -> Results:
    return read_results(folder)


def test_bm25_on_a_folder_end_to_end(arhn: Arhn, folder: Path) -> None:
    shown = arhn.works("bm25", "--data", folder, *OUT)
    results = found()
    [dataset] = results.datasets
    assert (dataset.name, dataset.split, dataset.queries, dataset.passages) == ("words", "test", 12, 150)
    assert f"{dataset.means[NDCG]:.4f}" in shown
    assert results.model.kind == "bm25"
    assert results.out_of_domain == ("words",)  # nothing was trained
    run = read_run("out/words.trec")
    assert measure(parts()["qrels"], run).per_query == dataset.per_query
    assert all(query_id not in scores for query_id, scores in run.items())
    assert dataset.versions["arhn"]
    assert dataset.seconds is not None


def test_a_models_own_prompts_are_used_and_recorded(arhn: Arhn, folder: Path, model: Path) -> None:
    arhn.works(model, "--data", folder, *OUT, *CPU)
    own = found()
    assert own.model.prompts == PROMPTS
    assert own.model.name == "tiny"
    assert own.model.training_sets is None
    assert own.out_of_domain is None
    assert own.out_of_domain_average is None
    arhn.works(model, "--data", folder, "-o", "none", *CPU, "--query-prompt", "", "--document-prompt", "")
    none = found("none")
    assert none.model.prompts == {"query": "", "document": ""}
    assert none.datasets[0].per_query != own.datasets[0].per_query
    arhn.works(model, "--data", folder, "-o", "same", *CPU, "--query-prompt", PROMPTS["query"])
    assert found("same").datasets[0].per_query == own.datasets[0].per_query


def test_a_recipes_prompts_stand_in_and_flags_overrule_them(arhn: Arhn, folder: Path, model: Path) -> None:
    Path("mine.toml").write_text('model = "x"\nbatch = 2\nlearning_rate = 1e-5\nquery_prompt = "query: "\n')
    arhn.works(model, "--data", folder, *OUT, *CPU, "--recipe", "mine.toml", "--document-prompt", "p ")
    assert found().model.prompts == {"query": "query: ", "document": "p "}
    assert found().model.recipe == "mine.toml"


def test_runs_measure_what_a_model_found(arhn: Arhn, folder: Path, model: Path) -> None:
    arhn.works(model, "--data", folder, *OUT, *CPU)
    arhn.works("--run", "out/words.trec", "--data", folder, "-o", "again")
    assert found("again").datasets[0].per_query == found().datasets[0].per_query
    assert found("again").model.name == "words"
    assert found("again").model.kind == "run"


def test_a_second_call_searches_nothing_twice(
    arhn: Arhn, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = beir(tmp_path / "other", **parts(seed=1))
    searched: list[str] = []
    original = retrievers.Bm25Retriever.run

    def run(self: retrievers.Bm25Retriever, asked: retrievers.SearchRequest) -> Run:
        searched.append(asked.name)
        return original(self, asked)

    monkeypatch.setattr(retrievers.Bm25Retriever, "run", run)
    arhn.works("bm25", "--data", folder, *OUT)
    first = found()
    arhn.works("bm25", "--data", folder, "--data", other, *OUT)
    assert searched == ["words", "other"]
    assert found().datasets[0] == first.datasets[0]
    Path("out", RESULTS).unlink()  # killed between a run and its results
    arhn.works("bm25", "--data", other, "--data", folder, *OUT)
    assert searched == ["words", "other"]
    assert [d.name for d in found().datasets] == ["other", "words"]
    assert found().dataset("words").per_query == first.dataset("words").per_query
    assert found().dataset("words").versions == {}  # nobody knows any more
    arhn.works("bm25", "--data", folder, *OUT, "--name", "lucene")
    assert found().model.name == "lucene"
    assert searched == ["words", "other"]
    arhn.works("bm25", "--data", folder, *OUT, "--overwrite")
    assert searched == ["words", "other", "words"]
    assert [d.name for d in found().datasets] == ["words"]


def test_what_is_there_of_another_model_stays(arhn: Arhn, folder: Path, model: Path) -> None:
    arhn.works("bm25", "--data", folder, *OUT)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    arhn.fails(OutputExists, model, "--data", folder, *OUT, *CPU, says="out: holds results with the model bm25")
    arhn.fails(OutputExists, "bm25", "--data", folder, *OUT, "--depth", "10", says="with the settings")
    Path("out", RESULTS).unlink()
    arhn.fails(OutputExists, model, "--data", folder, *OUT, *CPU, says="words.trec: is a run of other data, another")
    assert {path: path.read_bytes() for path in Path("out").iterdir()} | {Path("out", RESULTS): b""} == before | {
        Path("out", RESULTS): b""
    }
    arhn.works(model, "--data", folder, *OUT, *CPU, "--overwrite")


def test_other_data_of_the_same_name_is_noticed(arhn: Arhn, folder: Path) -> None:
    arhn.works("bm25", "--data", folder, *OUT)
    beir(folder, **parts(seed=5))
    arhn.fails(OutputExists, "bm25", "--data", folder, *OUT, says="is a run of other data")


def test_the_hash_of_the_data_is_of_its_content(folder: Path, tmp_path: Path) -> None:
    def data(of: dict[str, Any], name: str = "x") -> str:
        return BeirFolder(name=name, path=beir(tmp_path / name, **of)).open().data

    base = parts()
    backwards = base | {"queries": dict(reversed(base["queries"].items()))}
    assert data(base) == data(backwards, "backwards") == BeirFolder(name="words", path=folder).open().data
    query, passage = next(iter(base["queries"])), next(iter(base["corpus"]))
    changed = [
        base | {"queries": base["queries"] | {query: "other"}},
        base | {"corpus": base["corpus"] | {passage: ("", "other")}},
        base | {"qrels": base["qrels"] | {query: {"d9": 1}}},
        base | {"qrels": base["qrels"] | {query: {**base["qrels"][query], "d100": 0}}},
    ]
    assert len({data(base), *(data(each, f"c{i}") for i, each in enumerate(changed))}) == 5


def test_names_of_data_sets(arhn: Arhn, tmp_path: Path) -> None:
    beir(tmp_path / "xquad" / "beir", **parts())
    beir(tmp_path / "b", **parts(seed=1))
    arhn.works("bm25", "--data", "xquad/beir", "--data", "mine=b", *OUT)
    assert [d.name for d in found().datasets] == ["xquad", "mine"]
    assert {path.name for path in Path("out").iterdir()} >= {"xquad.trec", "mine.trec", RESULTS}
    twice = ("--data", "b", "--data", "B=xquad/beir")
    arhn.fails(UsageError, "bm25", *twice, "-o", "two", says="two data sets are called")
    arhn.fails(UsageError, "bm25", "--data", "a/b=b", "-o", "two", says="can't name a data set")


def test_a_folder_takes_the_place_of_a_public_set(arhn: Arhn, folder: Path) -> None:
    arhn.works("bm25", "--tasks", "NFCorpus", "--data", f"nfcorpus={folder}", *OUT)
    assert [d.name for d in found().datasets] == ["nfcorpus"]


def test_sets_that_nobody_may_hand_on_need_a_folder(arhn: Arhn, folder: Path) -> None:
    arhn.fails(UsageError, "bm25", "--tasks", "beir16", *OUT, says="trec-news, robust04, signal1m, bioasq: not public")
    some = [f"--data={name}={folder}" for name in ("trec-news", "Robust04")]
    arhn.fails(UsageError, "bm25", "--tasks", "beir16", *some, *OUT, says="arhn: signal1m, bioasq: not public")


def test_out_of_domain_is_worked_out_from_what_was_trained_on(arhn: Arhn, folder: Path, tmp_path: Path) -> None:
    fever = beir(tmp_path / "climate-fever", **parts(seed=1))
    shown = arhn.works("bm25", "--data", folder, "--data", fever, *OUT, "--trained-on", "FEVER_train, nq")
    assert found().model.training_sets == ("FEVER_train", "nq")
    assert found().out_of_domain == ("words",)
    assert found().out_of_domain_average == pytest.approx(dict(found().datasets[0].means))
    assert "out of domain (1)" in shown
    arhn.works("bm25", "--data", folder, "--data", fever, *OUT, "--trained-on", "none")
    assert found().out_of_domain == ("words", "climate-fever")
    content = json.loads(Path("out", RESULTS).read_bytes())
    assert content["out_of_domain"]["datasets"] == ["words", "climate-fever"]
    assert content["average"] == pytest.approx(found().average)


def manifest(folder: Path, sets: dict[str, int], unnamed: int = 0) -> None:
    """A training manifest in a model's folder."""
    from arhn.train.manifest import Manifest

    data = dict.fromkeys(("read", "used", "no_negatives", "contradicted_negatives", "positives", "negatives"), 2)
    rest = {"groups": {}, "content_sha256": "c", "filtered_passages": 0, "sets": sets, "unnamed": unnamed}
    Manifest.model_validate(
        {
            "recipe": "tiny", "settings": {"seed": 3, "epochs": 1}, "changed": [], "model": "m", "data": data | rest,
            "steps": 1, "epochs": 1, "steps_per_epoch": 1, "device": "cpu", "devices": 1, "seconds": 1, "versions": {},
            "losses": [{"step": 1, "loss": 2, "learning_rate": 0.1}],
        }
    ).write(folder)  # fmt: skip


def test_what_the_manifest_says(arhn: Arhn, folder: Path, tmp_path: Path) -> None:
    trained = invented.static_model(tmp_path / "trained")
    manifest(trained, {"fever": 1, "nq": 1})
    arhn.works(trained, "--data", f"fever={folder}", *OUT, *CPU)
    assert found().model.training_sets == ("fever", "nq")
    assert found().model.seed == 3
    assert found().out_of_domain == ()
    assert "losses" not in (found().model.manifest or {"losses": 1})
    manifest(trained, {"fever": 1}, unnamed=1234)
    assert "1,234 groups of its training name no data set" in arhn.works(trained, "--data", folder, "-o", "some", *CPU)
    manifest(trained, {})
    arhn.works(trained, "--data", f"fever={folder}", "-o", "unnamed", *CPU)
    assert found("unnamed").model.training_sets is None
    (trained / "arhn.train.json").write_text("{}")
    arhn.fails(BadJson, trained, "--data", folder, "-o", "bad", *CPU, says="isn't the record of a training run")


def test_queries_without_a_passage_in_the_run_score_0_and_are_said(arhn: Arhn, tmp_path: Path) -> None:
    of = parts()
    of["queries"]["q11"] = "unheard of"
    of["qrels"]["q10"] = {"d0": 0}
    beir(tmp_path / "x", **of)
    shown = arhn.works("bm25", "--data", "x", *OUT, "--no-positives", "keep")
    [dataset] = found().datasets
    assert dataset.missing == ("q11",)
    assert dataset.without_relevant == ("q10",)
    assert dataset.per_query[NDCG]["q11"] == dataset.per_query[NDCG]["q10"] == 0
    assert "queries without a passage in the run, which score 0: 1" in shown
    assert "queries without a relevant passage, which score 0: 1" in shown


def test_nothing_is_found_at_all(arhn: Arhn, tmp_path: Path) -> None:
    beir(tmp_path / "x", queries={"q": "unheard"}, corpus={"d": ("", "words")}, qrels={"q": {"d": 1}})
    arhn.fails(NothingLeft, "bm25", "--data", "x", *OUT, says="no passage was found for any of 1 queries")


def test_identical_ids(arhn: Arhn, tmp_path: Path) -> None:
    beir(tmp_path / "x", queries={"a": "w1 w2"}, corpus={"a": ("", "w1 w2"), "b": ("", "w1 w9")},
         qrels={"a": {"b": 1, "a": 1}})  # fmt: skip
    shown = arhn.works("bm25", "--data", "x", *OUT)
    assert list(read_run("out/x.trec")["a"]) == ["b"]
    assert found().datasets[0].identical_relevant == 1
    assert "relevant passages with their query's own id, which can't be found: 1" in shown
    arhn.works("bm25", "--data", "x", "-o", "kept", "--keep-identical-ids")
    assert list(read_run("kept/x.trec")["a"]) == ["a", "b"]
    assert found("kept").datasets[0].means[NDCG] == 1


def test_depth_and_split(arhn: Arhn, folder: Path) -> None:
    beir(folder, **parts(), split="dev")
    shown = arhn.works("bm25", "--data", folder, *OUT, "--depth", "7", "--split", "dev")
    assert {len(scores) for scores in read_run("out/words.trec").values()} == {7}
    assert "Runs end at rank 7 (--depth), before recall@100 does" in shown
    assert found().datasets[0].split == "dev"


def test_vectors_are_kept_where_asked(arhn: Arhn, folder: Path, model: Path) -> None:
    arhn.works(model, "--data", folder, *OUT, *CPU, "--embeddings", "kept")
    assert list(Path("kept").iterdir())
    before = found().datasets[0].per_query
    arhn.works(model, "--data", folder, *OUT, *CPU, "--embeddings", "kept", "--overwrite")
    assert found().datasets[0].per_query == before


# --- Bad input ------------------------------------------------------------------------------------


@contextmanager
def nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def run(*_: Any) -> None:
        pytest.fail("a search began")

    for kind in (retrievers.Bm25Retriever, retrievers.DenseRetriever):
        monkeypatch.setattr(kind, "run", run)
    yield


def spoil(path: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(text)

    return write


BAD_FOLDERS: dict[str, tuple[type[ArhnError], Callable[[Path], object], str]] = {
    "no folder": (FileMissing, lambda f: f.rename(f.with_name("gone")), "there is no such folder"),
    "no corpus": (FileMissing, lambda f: (f / "corpus.jsonl").unlink(), "holds no corpus.jsonl"),
    "no queries": (FileMissing, lambda f: (f / "queries.jsonl").unlink(), "holds no queries.jsonl"),
    "no such split": (FileMissing, lambda f: (f / "qrels/test.tsv").rename(f / "qrels/dev.tsv"), "there are dev"),
    "empty corpus": (EmptyCorpus, spoil("corpus.jsonl", ""), "holds no passage"),
    "not JSON": (BadJson, spoil("corpus.jsonl", '{"_id": "d0", "text": '), "corpus.jsonl, line 1"),
    "a grade in words": (BadRow, spoil("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq3\td0\tgood\n"), "'good'"),
    "passages that aren't there": (
        MissingPassages, spoil("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq3\tnowhere\t1\n"), "'nowhere'",
    ),
    "no positive": (NoPositives, spoil("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq3\td0\t0\n"), "'q3'"),
    "an id with a blank": (
        CannotHold, lambda f: beir(f, queries={"a b": "x"}, corpus={"d": ("", "x")}, qrels={"a b": {"d": 1}}),
        "'a b' has a blank in it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "damage", "says"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders(
    arhn: Arhn, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    error: type[ArhnError], damage: Callable[[Path], object], says: str,
) -> None:  # fmt: skip
    good = beir(tmp_path / "good", **parts())
    damage(folder)
    with nothing_is_searched(monkeypatch):
        arhn.fails(error, "bm25", "--data", good, "--data", folder, *OUT, says=says)
    assert not list(Path().glob("out/[!.]*"))


BAD_RUNS: dict[str, tuple[type[ArhnError], str, str]] = {
    "unknown queries": (RunMismatch, "q3 Q0 d1 1 2.0 t\nq99 Q0 d1 1 2.0 t\n", "1 of its 2 queries have no judgement"),
    "no number": (BadRow, "q3 Q0 d1 1 good t\n", "'good'"),
    "not a finite number": (BadRow, "q3 Q0 d1 1 nan t\n", "'nan'"),
    "other columns": (BadRow, "q3 d1 2.0\n", "six columns"),
    "a passage twice": (DuplicateId, "q3 Q0 d1 1 2.0 t\nq3 Q0 d1 2 1.0 t\n", "occurs twice"),
    "not UTF-8": (NotUtf8, "q3 Q0 d\udce9 1 2.0 t\n", "isn't UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "text", "says"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_bad_runs(arhn: Arhn, folder: Path, error: type[ArhnError], text: str, says: str) -> None:
    Path("bad.trec").write_text(text, errors="surrogateescape")
    arhn.fails(error, "--run", "bad.trec", "--data", folder, *OUT, says=says)


BAD_CALLS: dict[str, tuple[type[ArhnError], tuple[str, ...], str]] = {
    "nothing to evaluate": (UsageError, (), "give either a model or run files"),
    "both": (UsageError, ("bm25", "--run", "x.trec"), "give either a model or run files"),
    "no data": (UsageError, ("bm25",), "Give BEIR folders with --data"),
    "an unknown task": (UnknownTask, ("bm25", "--tasks", "nfcorpuss"), "Did you mean nfcorpus?"),
    "a model that isn't there": (ModelMissing, ("no/such/model/here", "--data", "words"), "no such folder"),
    "a folder without a model": (ModelMissing, ("words", "--data", "words"), "holds no modules.json"),
    "a run that isn't there": (FileMissing, ("--run", "x.trec", "--data", "words"), "x.trec"),
    "a run of another data set": (UsageError, ("--run", "other=x.trec", "--data", "words"), "found runs for other"),
    "prompts for BM25": (UsageError, ("bm25", "--data", "words", "--query-prompt", "x"), "--query-prompt: for emb"),
    "a device for runs": (UsageError, ("--run", "x", "--data", "words", "--device", "cpu"), "--device: for embedding"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "argv", "says"), BAD_CALLS.values(), ids=BAD_CALLS)
@pytest.mark.usefixtures("folder")
def test_bad_calls(
    arhn: Arhn, monkeypatch: pytest.MonkeyPatch, error: type[ArhnError], argv: tuple[str, ...], says: str
) -> None:
    with nothing_is_searched(monkeypatch):
        arhn.fails(error, *argv, *OUT, says=says)


def test_two_runs_need_names(arhn: Arhn, folder: Path, tmp_path: Path) -> None:
    other = beir(tmp_path / "other", **parts(seed=1))
    for name, of in (("words", parts()), ("other", parts(seed=1))):
        rows = [f"{q} Q0 {d} 1 {grade} t\n" for q, judged in of["qrels"].items() for d, grade in judged.items()]
        Path(f"{name}.trec").write_text("".join(rows))
    both = ("--data", folder, "--data", other, *OUT)
    arhn.fails(UsageError, "--run", "words.trec", "--run", "other.trec", *both, says="as DATASET=FILE: words, other")
    arhn.works("--run", "words=words.trec", "--run", "other=other.trec", *both, "--name", "oracle")
    assert found().average[NDCG] == pytest.approx(1)
    assert found().model.name == "oracle"


def test_a_gpu_that_isnt_there(arhn: Arhn, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with nothing_is_searched(monkeypatch):
        arhn.fails(DeviceMissing, model, "--data", folder, *OUT, "--device", "cuda", says="device 'cuda' can't be used")


def test_a_broken_model(arhn: Arhn, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = invented.static_model(tmp_path / "broken")
    for weights in broken.rglob("*.safetensors"):
        weights.write_bytes(b"not weights")
    with nothing_is_searched(monkeypatch):
        arhn.fails(ModelCorrupt, broken, "--data", folder, *OUT, *CPU, says="can't be loaded")


def test_two_at_once(arhn: Arhn, folder: Path) -> None:
    Path("out").mkdir()
    with locked(Path("out/.lock"), lambda: pytest.fail("nobody else is here")):
        arhn.fails(OutputLocked, "bm25", "--data", folder, *OUT, says="another 'arhn evaluate' writes there")
    arhn.works("bm25", "--data", folder, *OUT)


def test_an_output_that_is_a_file(arhn: Arhn, folder: Path) -> None:
    Path("out").write_text("")
    arhn.fails(OutputNotWritable, "bm25", "--data", folder, *OUT)


def test_results_of_something_else_arent_gone_on_with(arhn: Arhn, folder: Path) -> None:
    Path("out").mkdir()
    Path("out", RESULTS).write_text("{")
    arhn.fails(BadJson, "bm25", "--data", folder, *OUT, says="results.json: not valid JSON")


def test_what_isnt_installed(arhn: Arhn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytrec_eval", None)
        arhn.fails(MissingDependency, "bm25", "--data", folder, *OUT, says="pip install 'arhn[evaluate]'")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mteb", None)
        arhn.fails(MissingDependency, "bm25", "--tasks", "nfcorpus", *OUT, says="pip install 'arhn[evaluate]'")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "bm25s", None)
        arhn.fails(MissingDependency, "bm25", "--data", folder, *OUT, says="pip install 'arhn[mine]'")
    assert not Path("out").exists()


def test_an_unreachable_hub(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("mteb")

    def unreachable(*_: Any) -> None:
        raise ConnectionError("Couldn't reach 'mteb/nfcorpus' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "get_dataset_config_names", unreachable)
    with nothing_is_searched(monkeypatch):
        err = arhn.fails(TaskUnavailable, "bm25", "--tasks", "nfcorpus", *OUT)
    assert "data set 'nfcorpus' (mteb/nfcorpus on the hub) can't be fetched: Couldn't reach" in err
    assert "--data nfcorpus=FOLDER" in err


# --- Against other implementations ----------------------------------------------------------------


def test_bm25_is_an_independent_bm25(arhn: Arhn, folder: Path) -> None:
    """Lucene's formula over stemmed words; these words have no other stem, and none is a stop word."""
    arhn.works("bm25", "--data", folder, *OUT)
    of = parts()
    texts = {d: f"{title} {text}".split() for d, (title, text) in of["corpus"].items()}
    mean = sum(map(len, texts.values())) / len(texts)

    def score(query: str, words: list[str]) -> float:
        total = 0.0
        for word in query.split():
            frequency = sum(word in other for other in texts.values())
            idf = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
            count = words.count(word)
            total += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(words) / mean))
        return total

    for query_id, scores in read_run("out/words.trec").items():
        expected = {d: score(of["queries"][query_id], words) for d, words in texts.items() if d != query_id}
        assert scores == pytest.approx({d: s for d, s in expected.items() if s > 0}, rel=1e-4)


def test_values_are_the_same_in_every_order_of_the_files(arhn: Arhn, folder: Path, tmp_path: Path) -> None:
    arhn.works("bm25", "--data", folder, *OUT)
    of = parts()
    rng = random.Random(1)
    shuffled: dict[str, Any] = {what: dict(rng.sample(list(each.items()), len(each))) for what, each in of.items()}
    arhn.works("bm25", "--data", beir(tmp_path / "shuffled", **shuffled), "-o", "b")
    one, other = found().datasets[0].per_query, found("b").datasets[0].per_query
    for name in MEASURES:
        assert one[name] == pytest.approx(dict(other[name]))
