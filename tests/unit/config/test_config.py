"""Settings from files, `--set` and flags: who wins, who is refused, and what a person is told."""

from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import annotated_types as at
import pytest
from pydantic import ValidationError

from arhn.config.catalogue import find_setting, list_settings, write_key
from arhn.config.problems import check, require_known
from arhn.config.reference import make_page, show, to_toml
from arhn.config.settings import FittingSettings, RunConfig
from arhn.config.values import Given, Values, gather, parse_set
from arhn.engines import ENGINES
from arhn.errors import CalibrationError, UsageError

ROOT = Path(__file__).parents[3]


def flag(option: str, value: str) -> Given:
    return Given(key=tuple(option.split(".")), value=value, source=f"--{option} {value}", bare=True)


def read(*sets: str) -> RunConfig:
    return check(RunConfig, gather(None, sets))


def refused(*sets: str, flags: Sequence[Given] = (), path: Path | None = None) -> str:
    with pytest.raises(UsageError) as error:
        check(RunConfig, gather(path, sets, flags))
    return str(error.value)


# --- The default similarity ------------------------------------------------------------------------


def named_similarity(*sets: str, of: type[RunConfig] | type[FittingSettings] = RunConfig) -> str | None:
    found = check(of, gather(None, sets)).similarity
    return None if found is None else str(found.model)


def test_an_llm_in_this_process_has_similarities_beside_it() -> None:
    pytest.importorskip("onnxruntime")
    assert named_similarity() == "all-minilm-l6-v2-int8"
    assert named_similarity("calibrations=auto") == "all-minilm-l6-v2-int8"
    assert named_similarity("similarity.model=other") == "other"


@pytest.mark.parametrize(
    "sets",
    [
        ("similarity=none",),
        ("similarity.model=none",),
        ("engine.name=openai", "engine.model=m"),
        ("engine.name=vllm", "engine.model=m"),
        ("calibrations=none",),
        ("calibrations=shipped",),
        ("samples=1",),
        ("method=none",),
    ],
)
def test_where_none_is_wanted_or_nothing_is_assumed_there_is_none(sets: tuple[str, ...]) -> None:
    assert named_similarity(*sets) is None


def test_none_is_added_to_ones_own_calibrations(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('[{"model": "m", "prompt": "p"}]')
    assert named_similarity(f"calibrations=['{path}']") is None
    assert named_similarity(of=FittingSettings) is None, "or its calibration would be for it"


# --- Who gives what -------------------------------------------------------------------------------


def test_a_file_is_under_sets_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('mode = "R"\nfloor = 3\n[ranker]\nname = "consistent"\nshuffles = 4\n')
    values = gather(path, ["ranker.shuffles=8"], [flag("mode", "F")])
    found = check(RunConfig, values)
    assert (found.mode, found.floor, found.ranker.name, found.ranker.shuffles) == ("F", 3, "consistent", 8)
    assert values.find_source(("floor",)) == f"{path}, line 2"
    assert values.find_source(("ranker", "name")) == f"{path}, line 4"
    assert values.find_source(("ranker", "shuffles")) == "--set ranker.shuffles=8"
    assert values.find_source(("mode",)) == "--mode F"
    assert values.find_source(("margin", "rule")) == ""


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("ranker.name=pivot", ("ranker", "name"), "pivot"),
        ("floor = 3", ("floor",), 3),
        ("precision=.9", ("precision",), ".9"),
        ("precision=0.9", ("precision",), 0.9),
        ("show_answer=false", ("show_answer",), False),
        ("engine.urls=['http://a', 'http://b']", ("engine", "urls"), ["http://a", "http://b"]),
        ("engine.urls=http://a?x=1", ("engine", "urls"), "http://a?x=1"),
        ('families."a.b"=claim', ("families", "a.b"), "claim"),
        ("families.*=claim", ("families", "*"), "claim"),
        ("engine.body={top_k = 3}", ("engine", "body"), {"top_k": 3}),
        ("engine.model=", ("engine", "model"), ""),
        ("engine.model=a\nfloor=2", ("engine", "model"), "a\nfloor=2"),
    ],
)
def test_a_set(text: str, key: tuple[str, ...], value: Any) -> None:
    given = parse_set(text)
    assert (given.key, given.value) == (key, value)
    assert given.source == "--set " + text.replace("\n", "\\n")


@pytest.mark.parametrize("text", ["", "x", "=3", "a..b=1", ".a=1", "a.=1"])
def test_a_set_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE, such as ranker"):
        parse_set(text)


def test_a_number_without_a_nought() -> None:
    assert read("precision=.9").precision == 0.9


@pytest.mark.parametrize(
    ("sets", "flags", "says"),
    [
        (("floor=1", "floor=2"), (), "floor: given twice, by --set floor=1 and by --set floor=2. Keep one"),
        (("mode=R",), (flag("mode", "F"),), "mode: given twice, by --set mode=R and by --mode F"),
        (("ranker={name = 'pivot'}", "ranker.by=both"), (), "ranker: given twice, by --set ranker={name = 'pivot'}"),
    ],
)
def test_two_sources_for_one_value(sets: Sequence[str], flags: Sequence[Given], says: str) -> None:
    assert says in refused(*sets, flags=flags)


def test_two_values_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("floor = 1\nfloor = 2\n")
    assert "run.toml: not TOML (" in refused(path=path)


# --- What is wrong --------------------------------------------------------------------------------

BAD: dict[str, tuple[str, str]] = {
    "unknown key": (
        "[ranker]\nnme = 'pivot'",
        "ranker.nme (run.toml, line 2): there is no such setting. Did you mean ranker.name? Keys of [ranker]: name, by",
    ),
    "key of a section at the top": ("shuffles = 4", "there is no such setting. Did you mean ranker.shuffles? Keys: "),
    "unknown section": ("[enginge]\nname = 'openai'", "enginge (run.toml, line 2): there is no such setting. Did you "
                        "mean engine?"),
    "nothing like it": ("zzzz = 1", "zzzz (run.toml, line 1): there is no such setting. Keys: method, mode,"),
    "wrong type": ("floor = 'few'", "floor (run.toml, line 1): found 'few', allowed: a whole number from 0"),
    "wrong type of a list": ("[engine]\nname='openai'\nurls = 'x'", "engine.urls (run.toml, line 3): found 'x', "
                             "allowed: a list of text"),
    "wrong item": ("[engine]\nname='openai'\nurls = [1]", "engine.urls[0] (run.toml, line 3): found 1, allowed: a li"),
    "a value for a table": ("ranker = 'pivot'", "ranker (run.toml, line 1): found 'pivot', allowed: a table"),
    "a name for a table": ("ranker = 'pivot'", "allowed: a table. Did you mean ranker.name=pivot?"),
    "a model for a table": ("similarity = 'm'", "allowed: a table. Did you mean similarity.model=m?"),
    "a date": ("floor = 2026-01-02", "found 2026-01-02, allowed: a whole"),
    "no calibrations": ("calibrations = 'x.json'", "found 'x.json', allowed: auto, shipped, none, or a list"),
    "a table for a value": ("[floor]\nx = 1", "floor (run.toml, line 2): found {'x': 1}, allowed: a whole number"),
    "out of range": ("precision = 1.5", "precision (run.toml, line 1): found 1.5, allowed: a number above 0, at most"),
    "no multiple": ("ranker = {name = 'consistent', shuffles = 5}",
                    "ranker.shuffles (run.toml, line 1): found 5, allowed: a whole number from 2 to 64, a multiple of"),
    "no choice": ("mode = 'X'", "mode (run.toml, line 1): found 'X', allowed: R, F, R+F or drop"),
    "no format": ("[files]\nformat = 'csv'", "files.format (run.toml, line 2): found 'csv', allowed: tevatron,"),
    "another engine's key": (
        "[engine]\nslots = 2\nname = 'openai'",
        "engine.slots (run.toml, line 2): belongs to the engine llamacpp, and this is openai (run.toml, line 3)",
    ),
    "two other engines' key": ("[engine]\nconcurrency = 2", "engine.concurrency (run.toml, line 2): belongs to the "
                               "engine openai and vllm, and this is llamacpp"),
    "no engine's key": ("[engine]\nslot = 2", "there is no such setting. Did you mean engine.slots? Keys of [engine]"),
    "unknown engine": ("[engine]\nname = 'opnai'", "engine.name (run.toml, line 2): 'opnai' is no engine. Did you mean "
                       "'openai'?"),
    "within a refresh": ("[refresh]\nevery = 1\n[refresh.cleaning.engine]\nslots = 0",
                         "refresh.cleaning.engine.slots (run.toml, line 4): found 0, allowed: a whole number from 1"),
    "a refresh without its number": ("[refresh.mining]\nnegatives = 3", "refresh.every: is missing. Epochs between"),
    "another ranker's key": ("[ranker]\nname = 'pivot'\nshuffles = 4",
                             "ranker.shuffles (run.toml, line 3): does nothing with ranker pivot, only with"),
    "another method's key": ("method = 'none'\n[ranker]\nname = 'pivot'", "ranker (run.toml, line 3): does nothing "
                             "with method none, only with arhn"),
    "a model that isn't asked": ("method = 'margin'\n[engine]\nmodel = 'x'", "engine.model (run.toml, line 3): does "
                                 "nothing with method margin, only with arhn, rlhn"),
    "a similarity that isn't used": ("method = 'rlhn'\n[similarity]\nmodel = 'x'", "similarity (run.toml, line 3): "
                                     "does nothing with method rlhn"),
    "a similarity of nothing": ("[similarity]\ndevice = 'cpu'", "similarity.model: is missing. A"),
    "triage by nothing": ("triage = 0.98\nsimilarity = 'none'",
                          "triage (run.toml, line 1): needs something to tell likely from unlikely"),
    "a small model for nothing": (
        "triage = 1.0\n[small_model]\nmodel = 'm'",
        "small_model (run.toml, line 3): does nothing with method arhn where all negatives are asked about",
    ),
    "a small model without a name": ("triage = 0.9\n[small_model]\nthreads = 2", "small_model.model: names no model."),
    "a budget for nothing": ("engine.name = 'llamacpp'\nbudget.calls = 3", "budget (run.toml, line 2): does "
                             "nothing with the engine llamacpp"),
    "money without prices": ("[engine]\nname='openai'\n[budget]\nmoney = 3", "budget (run.toml, line 4): money: needs "
                             "prices"),
    "a cluster without an address": ("[cluster]\nworkers = 2", "cluster (run.toml, line 2): workers: does nothing "
                                     "without an address (--ray)"),
    "a store on a cluster": ("store = 's'\n[cluster]\naddress = 'local'", "store (run.toml, line 1): on a cluster the "
                             "answers are kept by partition"),
    "a budget on a cluster": ("engine.name = 'openai'\nbudget.calls = 3\ncluster.address = 'local'",
                              "budget (run.toml, line 2): isn't kept to on a cluster"),
    "a margin out of range": ("method = 'margin'\n[margin]\nvalue = 1.5", "margin.value: with rule 'perc', 1.5 is not"),
    "a range that holds too few": ("[mine]\nrange_min = 99", "Range 99:100 holds 1 passage,"),
    "a retriever that isn't used": ("[mine]\nretrievers = ['x']\n[mine.bm25]\nk1 = 2.0", "bm25.k1: does nothing "
                                    "without bm25 among the retrievers (x)"),
    "a family that there isn't": ("[families]\nnq = 'claims'", "'claims' isn't a family of prompts (for subset 'nq')"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "says"), BAD.values(), ids=BAD)
def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(file)
    assert says in refused(path=Path("run.toml"))


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (
            ("ranker.nme=pivot",),
            "ranker.nme (--set ranker.nme=pivot): there is no such setting. Did you mean ranker.na",
        ),
        (("floor=few",), "floor (--set floor=few): found 'few', allowed: a whole number from 0"),
        (("engine.urls=['http://h']",), "belongs to the engine openai, and this is llamacpp"),
        (("precision=0",), "found 0, allowed: a number above 0, at most 1"),
        (("precision=nan",), "found nan, allowed: a number above 0, at most 1"),
        (("engine.model=7",), "engine.model (--set engine.model=7): found 7, allowed: text"),
    ],
)
def test_bad_sets(sets: Sequence[str], says: str) -> None:
    assert says in refused(*sets)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("negatives = '8'", "found '8', allowed: a whole number from 1"),
        ("negatives = true", "found true, allowed: a whole number from 1"),
        ("negatives = 8.0", "found 8.0, allowed: a whole number from 1"),
        ("show_answer = 1", "found 1, allowed: true or false"),
        ("show_answer = 'yes'", "found 'yes', allowed: true or false"),
        ("precision = '0.9'", "found '0.9', allowed: a number above 0, at most 1"),
        ("floor = 99999999999999999999999", "allowed: a whole number from 0, at most 2147483647"),
        ("mine.seed = 99999999999999999999999", "allowed: a whole number, at most 2147483647"),
    ],
)
def test_values_of_another_type(tmp_path: Path, file: str, says: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(file)
    assert says in refused(path=path)
    with pytest.raises(ValidationError):
        RunConfig(**tomllib.loads(file))


def test_texts_of_a_command_line_become_what_their_setting_is() -> None:
    flags = [flag("negatives", "8"), flag("precision", ".9"), flag("show_answer", "yes")]
    found = check(RunConfig, gather(None, ["engine.name=openai", "engine.urls=http://a"], flags))
    assert (found.negatives, found.precision, found.show_answer) == (8, 0.9, True)
    assert found.engine.model_dump()["urls"] == ("http://a",)
    assert "found '8', allowed: a whole number from 1" in refused("negatives='8'")


def test_every_integer_has_bounds() -> None:
    for setting in list_settings(RunConfig):
        if "whole number" in setting.allowed:
            assert any(isinstance(limit, at.Le) for limit in setting.field.metadata), setting.path


DEEP = 3000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.toml", f"a = {'[' * DEEP}{']' * DEEP}"),
        ("x.toml", f"{'a.' * DEEP}a = 1"),
        ("x.toml", f"a = {'9' * 5000}"),
        ("x.json", '{"a":' * DEEP + "1" + "}" * DEEP),
        ("x.json", '{"a":' + "[" * 100 + "]" * 100 + "}"),
    ],
)
def test_files_that_are_too_deep(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    message = refused(path=path)
    assert message.startswith(f"--config {path}: ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("text", [f"{'a.' * DEEP}a=1", f"engine.body.a={'[' * DEEP}{']' * DEEP}", f"{'k' * 99_999}=1",
                                  f"method={'x' * 99_999}", f"engine.name={'x' * 99_999}", "x" * 99_999,
                                  f"floor={'9' * 5000}"])  # fmt: skip
def test_sets_that_are_too_deep_or_too_long(text: str) -> None:
    message = refused(text)
    assert len(message.splitlines()) == 1
    assert len(message) < 700


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (r'"a\u001b[31mb" = 1', r'"a\U0000001b[31mb" (run.toml, line 1): there is no such setting'),
        ('method = "a\\u202eb\\n"', r"method (run.toml, line 1): 'a\u202eb\n' is no method"),
        ('mode = "\\u0007"', r"mode (run.toml, line 1): found '\x07', allowed"),
        ('[families]\nnq = "\\u001b"', r"'\x1b' isn't a family"),
    ],
)
def test_no_character_of_a_file_reaches_the_terminal_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(file)
    message = refused(path=Path("run.toml"))
    assert says in message
    assert message.isprintable()
    assert refused("zz=\x1b[2J").isprintable()
    assert refused(path=Path("a\x1b\nb.toml")).isprintable()


def test_a_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbffloor = 3\n")
    assert check(RunConfig, gather(path)).floor == 3


def test_every_problem_is_told_at_once() -> None:
    assert len(refused("floor=-1", "mode=X", "engine.slots=0").splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.toml", None, "can't be read (No such file or directory). Check the path"),
        ("x.toml", b"a = ", "not TOML ("),
        ("x.toml", b"a = '\xe9'", "isn't UTF-8"),
        ("x.json", b"{", "not JSON ("),
        ("x.json", b"[1]", "expected an object of settings, found a list"),
        ("x.json", b'{"schema": 1, "settings": {}}', "a summary that holds no settings of its run"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    said = refused(path=path)
    assert said.startswith(f"--config {path}: ")
    assert says in said


def test_calibrations_are_read_from_their_files(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="can't be read"):
        read(f"calibrations=['{tmp_path / 'none.json'}']")


def test_a_command_reads_its_own_part(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("precision = 0.9\n[mine]\nnegatives = 3\n")
    mine = gather(path).only(["mine"], "mine")
    assert check(RunConfig, mine).precision is None
    assert check(RunConfig, mine).mine.negatives == 3
    with pytest.raises(UsageError, match=r"precision \(--set precision=0.9\): 'arhn mine' makes no use of it"):
        gather(path, ["precision=0.9"]).only(["mine"], "mine")
    path.write_text("[mien]\nnegatives = 3\n")
    with pytest.raises(UsageError, match=r"Did you mean mine\?"):
        require_known(RunConfig, gather(path))


# --- The tree -------------------------------------------------------------------------------------


def test_the_small_model_is_served_as_the_other_one() -> None:
    urls = "engine.urls=['http://a']"
    found = read("method=rlhn", "engine.name=openai", urls, "engine.attempts=2", "small_model.model=m")
    assert found.small_model is not None
    assert found.small_model.model_dump() == {**found.engine.model_dump(), "model": "m"}
    other = read("method=rlhn", "engine.name=openai", urls, "small_model.model=m", "small_model.name=llamacpp")
    assert other.small_model is not None
    assert other.small_model.name == "llamacpp"


def test_a_small_model_may_be_calibrated_before_it_is_used() -> None:
    values = gather(None, ["small_model.model=m"])
    small = check(FittingSettings, values).small_model
    assert small is not None
    assert small.model == "m"


def test_the_whole_tree_can_be_written_and_read() -> None:
    found = read("triage=0.98", "small_model.model=x", "refresh.every=2", "families.nq=claim", 'engine.model="a\\tb"')
    content = json.loads(json.dumps(found.model_dump(mode="json")))
    assert RunConfig.model_validate(content) == found
    assert pickle.loads(pickle.dumps(found)) == found
    assert set(found.record) == set(RunConfig.model_fields) - {"mine", "refresh"}


def test_every_setting_is_described() -> None:
    for setting in list_settings(RunConfig):
        assert setting.description.endswith("."), setting.path
        assert setting.allowed, setting.path
        if setting.section is None and isinstance(setting.field.default, int | float):
            assert find_setting(RunConfig, setting.key, {}) is not None or setting.engine or len(setting.key) > 2


def test_keys_are_written_as_they_can_be_read() -> None:
    assert write_key(("a", "b", 0)) == "a.b[0]"
    assert parse_set(f"{write_key(('families', 'a b.c'))}=claim").key == ("families", "a b.c")


@pytest.mark.parametrize(
    "value", [True, 3, -0.5, 1e-9, float("inf"), 'a"\\\n\x7f', [1, "x"], {"a b": {"c": [True]}}, []]
)
def test_values_are_written_as_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {to_toml(value)}")["x"] == value


def test_what_is_shown_can_be_used_again(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("floor = 2\n")
    values = gather(path, ["small_model.model=x", "engine.slots=2", "refresh.every=1"], [flag("triage", "0.9")])
    found = check(RunConfig, values)
    shown = show(found, values)
    assert check(RunConfig, Values(tree=tomllib.loads(shown))) == found
    lines = {line.split(" ")[0]: line for line in reversed(shown.splitlines())}
    assert lines["floor"].endswith(f"# {path}, line 1")
    assert lines["triage"].endswith("# --triage 0.9")
    assert lines["max_failures"].endswith("# share; default")
    assert "requests; as engine.slots" in shown
    assert "requests; --set engine.slots=2" in shown
    assert "# precision =" in shown
    assert 'model = "all-minilm-l6-v2-int8"' in shown


def test_the_page_names_every_setting() -> None:
    text = make_page()
    for setting in list_settings(RunConfig):
        if setting.section is None and setting.key[0] not in ("small_model", "refresh"):
            assert f"| `{setting.key[-1]}` |" in text, setting.path
    for name in ENGINES.names():
        assert f'### `name = "{name}"`' in text
    assert "| `every` | none: needed |" in text


def test_the_reference_in_the_docs_is_what_the_command_writes() -> None:
    written = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert written == make_page(), "run: arhn config docs -o docs/settings.md --overwrite"
