"""The command line itself: help, completion, mistakes, start-up, settings used again, engines from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from arhn import cli, formats, weights
from arhn.cli.app import COMMANDS
from arhn.config.reference import make_page
from arhn.engines import ENGINES, Engine
from arhn.engines.fake import FakeEngine
from arhn.engines.settings import EngineSettings
from arhn.errors import OutputExists, UsageError
from tests.conftest import answer_by_marks, many, put_in

SRC = Path(__file__).parents[3] / "src"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with groups, and a scripted engine in the place of llama.cpp."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for engine in ("ctranslate2", "llamacpp"):
        monkeypatch.setattr(f"arhn.engines.{engine}.settings.Settings.open", lambda *_: FakeEngine(answer_by_marks))
    with formats.GroupWriter("train.jsonl", "tevatron") as writer:
        for group in many(12, 5):
            writer.write(group)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    """What a command prints, errors included."""
    capsys.readouterr()
    assert cli.main(argv) == code
    found = capsys.readouterr()
    return found.out + found.err


def python(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    env = {**os.environ, "PYTHONPATH": str(SRC), **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout


# --- Help -----------------------------------------------------------------------------------------


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE), text


def test_help_is_found_in_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    assert said(capsys, "-h") == said(capsys) == text
    assert said(capsys, "clean", "-h") == said(capsys, "clean", "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits_a_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, command, "--help")
    assert COMMANDS[command] in text or command == "config"
    assert max(map(len, text.splitlines())) <= 80


def test_help_of_clean_is_short_and_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "clean", "--help")
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)
    assert len(options) <= 20
    assert len(set(options)) == len(options)
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == [
        "Arguments",
        "Files",
        "Models",
        "Decisions",
        "Run",
        "Settings",
        "Options",
    ]


def test_help_says_what_settings_say(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(said(capsys, "clean", "--help").split())
    assert "--mode R|F|R+F|drop Which actions are taken." in text
    assert "Default: R+F." in text
    assert "--engine ctranslate2|llamacpp|openai|vllm" in text


def test_defaults_are_shown_in_one_way_and_ranges_of_counts_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        text = said(capsys, command, "--help")
        assert "[default" not in text
        assert "2147483647" not in text
    assert "At a row that is no group. Default: fail." in said(capsys, "convert", "--help")
    assert "Resamples of the test. Default: 10000." in said(capsys, "compare", "--help")


@pytest.mark.parametrize("argv", [("convert", "train.jsonl", "-o", "out.jsonl"), ("mine", "folder", "-o", "out.jsonl")])
def test_an_unknown_format_is_named_as_every_other_choice(
    argv: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, *argv, "--to", "tevatrn", code=2)
    *names, last = formats.FORMATS.built_in
    allowed = f"{', '.join(names)} or {last}"
    assert text.splitlines()[0] == f"arhn: --to: found 'tevatrn', allowed: {allowed}. Did you mean tevatron?"


def test_help_calls_values_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "clean", "--help")
    assert "--url URL " in text
    assert "--ray ADDRESS  The Ray cluster to use: " in text
    assert "Needed." not in make_page()


def test_models_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = said(capsys, "models")
    for name in weights.MODELS:
        assert re.search(rf"^│ {re.escape(name)} .*(yes|no) +│$", text, re.MULTILINE), text
        assert re.search(rf"^{re.escape(name)}( \(starter\))?: from ", text, re.MULTILINE), text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"arhn \d+\.\d+.*\n", said(capsys, "--version"))


def test_python_m() -> None:
    command = [sys.executable, "-m", "arhn", "models", "--help"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SRC)}, check=True, capture_output=True, text=True
    )
    assert "Usage: arhn models" in done.stdout


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["clean", "x", "-o", "y", "--precison", "1"], ["No such option: --precison. Did you mean --precision?",
                                                        "See 'arhn clean --help'"]),
        (["clena"], ["No such command 'clena'. Did you mean 'clean'?", "See 'arhn --help'"]),
        (["config", "shw"], ["No such command 'shw'. Did you mean 'show'?", "See 'arhn config --help'"]),
        (["clean", "x"], ["Missing option '-o' / '--output'.", "See 'arhn clean --help'"]),
        (["clean", "x", "-o", "y", "--threads", "4"], [
            "No such option: --threads. It is a setting: --set engine.threads=VALUE, or in the file of --config",
            "See 'arhn clean --help'"]),
        (["agree", "a", "b", "--show", "0"], ["Invalid value for '--show': Input should be greater than or equal to 1",
                                              "See 'arhn agree --help'"]),
        (["store", "a", "--prune", "x"], ["--prune: found 'x', allowed: unused or all",
                                          "See 'arhn store --help'"]),
        (["convert", "x", "-o", "y", "--on-bad-row", "skp"], [
            "--on-bad-row: found 'skp', allowed: fail or skip. Did you mean skip?", "See 'arhn convert --help'"]),
        (["clean", "x", "-o", "y", "--treshold", "4"], ["No such option: --treshold", "See 'arhn clean --help'"]),
        (["clean", "x", "-o", "y", "--shufles", "4"], [
            "No such option: --shufles. Did you mean the setting ranker.shuffles? Give --set ranker.shuffles=VALUE",
            "See 'arhn clean --help'"]),
        (["--show-completion", "tcsh"], [
            "--show-completion: found 'tcsh', allowed: bash, zsh, fish, powershell or pwsh", "See 'arhn --help'"]),
        (["models", "x"], ["Got unexpected extra argument(s) (x)", "See 'arhn models --help'"]),
    ],
)  # fmt: skip
def test_mistakes_take_two_lines(argv: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, *argv, code=2).splitlines() == [f"arhn: {lines[0]}", *lines[1:]]


@pytest.mark.parametrize("argv", [["evaluate", "bm25", "--data", "beir", "-o", "out"], ["compare", "a", "b"]])
def test_what_measures_needs_numpy(argv: list[str]) -> None:
    hide = "import sys; sys.modules['numpy'] = None; sys.stderr = sys.stdout"
    assert python(f"{hide}; from arhn import cli; print(cli.main({argv}))") == (
        "arhn: numpy is needed for this and isn't installed. Run: pip install 'arhn[evaluate]'\n50\n"
    )


@pytest.mark.parametrize("option", ["--mode", "--config"])
def test_no_option_has_two_values(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "clean", "x", option, "R", option, "F", code=2)
    assert text == f"arhn: {option}: given twice. Keep one of them\n"


def test_an_interrupt_while_a_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("arhn.cli._prepare", interrupt)
    assert said(capsys, "models", code=130) == "arhn: interrupted. Run the same command again\n"


def test_no_error_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a\\x1b[2J.summary.json: " in said(capsys, "inspect", "a\x1b[2J.jsonl", "--query-id", "q", code=11)


# --- Completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shell", "holds"), [("bash", "complete -o"), ("zsh", "#compdef arhn"), ("fish", "complete ")])
def test_completion_scripts(shell: str, holds: str) -> None:
    script = python("import sys; from arhn.cli import main; sys.exit(main([]))", _ARHN_COMPLETE=f"source_{shell}")
    assert holds in script
    assert f"_ARHN_COMPLETE=complete_{shell}" in script


@pytest.mark.parametrize(("shell", "holds"), [("bash", "complete -o"), ("zsh", "#compdef arhn"), ("fish", "complete ")])
def test_a_completion_script_can_be_shown(shell: str, holds: str) -> None:
    assert holds in python(f"from arhn.cli import main; main(['--show-completion', '{shell}'])")


@pytest.mark.parametrize(
    ("words", "finds"),
    [
        ("arhn cl", {"clean"}),
        ("arhn clean --pre", {"--precision"}),
        ("arhn clean --s", {"--store", "--small-model", "--similarity", "--set"}),
        ("arhn clean --mode R", {"R", "R+F"}),
        ("arhn clean --engine o", {"openai"}),
        ("arhn clean --set ranker.n", {"ranker.name="}),
        ("arhn config s", {"show"}),
        ("arhn mine --sampling ", {"top", "random"}),
    ],
)
def test_completion(words: str, finds: set[str]) -> None:
    count = len(words.split()) - (not words.endswith(" "))
    code = "import sys; from arhn.cli import main; sys.exit(main([]))"
    found = python(code, _ARHN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(count))
    assert set(found.split()) == finds


# --- Start-up -------------------------------------------------------------------------------------

HEAVY = {"pyarrow", "pydantic", "httpx", "numpy", "rich", "xllamacpp", "aiohttp", "torch", "orjson"}


@pytest.mark.parametrize("code", ["import arhn", "from arhn.cli import main; main(['--help'])"])
def test_nothing_heavy_is_imported(code: str) -> None:
    loaded = python(f"import sys; {code}; print('\\n', *sys.modules)").splitlines()[-1]
    assert not HEAVY & {name.partition(".")[0] for name in loaded.split()}


def test_public_names_are_found_when_asked_for() -> None:
    import arhn

    assert all(getattr(arhn, name) is not None for name in arhn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        arhn.nonsense  # noqa: B018


# --- Settings -------------------------------------------------------------------------------------


def test_config_show_and_use_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text("floor = 2\n[engine]\nslots = 2\n")
    shown = said(capsys, "config", "show", "--config", "run.toml", "--mode", "R", *put_in("ranker.name=pivot"))
    assert re.search(r"^floor = 2 +# run.toml, line 1$", shown, re.MULTILINE)
    assert re.search(r'^mode = "R" +# --mode R$', shown, re.MULTILINE)
    assert re.search(r'^name = "pivot" +# --set ranker.name=pivot$', shown, re.MULTILINE)
    assert re.search(r"^slots = 2 +# requests; run.toml, line 3$", shown, re.MULTILINE)
    assert re.search(r"^context = 4096 +# tokens; default$", shown, re.MULTILINE)
    Path("all.toml").write_text(shown)
    again = said(capsys, "config", "show", "--config", "all.toml")
    assert tomllib.loads(again) == tomllib.loads(shown)
    said(capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--config", "all.toml")
    assert json.loads(Path("out.summary.json").read_bytes())["config"]["ranker"]["name"] == "pivot"


def test_config_show_refuses_what_clean_would(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "config", "show", *put_in("engine.url=x"), code=UsageError.exit_code)
    assert "engine.url (--set engine.url=x): there is no such setting" in text


def test_config_docs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "config", "docs") == make_page()
    said(capsys, "config", "docs", "-o", "settings.md")
    assert Path("settings.md").read_text("utf-8") == make_page()
    said(capsys, "config", "docs", "-o", "settings.md", code=OutputExists.exit_code)
    said(capsys, "config", "docs", "-o", "settings.md", "--overwrite")


SETTINGS = (
    "negatives=4",
    "ranker.name=consistent",
    "ranker.shuffles=4",
    "families.nq=claim",
    "files.limit=9",
    "floor=2",
)


def test_a_summary_runs_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--mode", "F", *put_in(*SETTINGS))
    said(capsys, "clean", "train.jsonl", "-o", "again.jsonl", "--config", "out.summary.json")
    for name in ("jsonl", "decisions.jsonl"):
        assert Path(f"again.{name}").read_bytes() == Path(f"out.{name}").read_bytes()
    first, second = (json.loads(Path(f"{name}.summary.json").read_bytes()) for name in ("out", "again"))
    assert second["config"] == first["config"]
    assert second["settings"] == first["settings"]
    assert first["config"]["mode"] == "F"
    # What is given stands over it.
    said(capsys, "clean", "train.jsonl", "-o", "r.jsonl", "--config", "out.summary.json", "--mode", "R")
    assert json.loads(Path("r.summary.json").read_bytes())["config"] == {**first["config"], "mode": "R"}


@pytest.mark.parametrize("method", ["arhn", "rlhn", "none"])
def test_the_summary_of_every_method_can_be_read(here: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--method", method)
    said(capsys, "config", "show", "--config", "out.summary.json")


# --- Engines from outside -------------------------------------------------------------------------


class Toy(EngineSettings):
    """An engine that another package brings."""

    name: Literal["toy"] = Field(default="toy", description="Answers by marks.")
    marks: int = Field(default=3, ge=1, description="How many marks it knows.")

    def open(self, budget: object = None) -> Engine:
        return FakeEngine(answer_by_marks, model=f"toy {self.model} {self.marks}")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[str, Any] = dict(ENGINES._loaded)
    monkeypatch.setattr(ENGINES, "_loaded", loaded)
    ENGINES.register("toy", Toy)


@pytest.mark.usefixtures("toy")
def test_a_toy_engine_cleans(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(
        capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--engine", "toy", "--model", "m", *put_in("engine.marks=5")
    )
    summary = json.loads(Path("out.summary.json").read_bytes())
    assert summary["model"] == "toy m 5"
    assert summary["config"]["engine"] == {"name": "toy", "model": "m", "context": None, "marks": 5}
    said(capsys, "clean", "train.jsonl", "-o", "again.jsonl", "--config", "out.summary.json")
    assert Path("again.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    assert "Answers by marks." in make_page()
    bad = said(capsys, "clean", "train.jsonl", "-o", "x.jsonl", "--engine", "toy", *put_in("engine.slots=2"), code=2)
    assert "engine.slots (--set engine.slots=2): belongs to the engine llamacpp, and this is toy (--engine toy)" in bad
    assert "found 0, allowed: a whole number from 1" in said(
        capsys, "config", "show", "--engine", "toy", *put_in("engine.marks=0"), code=2
    )


@pytest.mark.usefixtures("toy")
def test_a_toy_engine_is_estimated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "estimate", "train.jsonl", "--engine", "toy", "--json", "e.json")
    content = json.loads(Path("e.json").read_bytes())
    assert any("characters a token" in str(assumed["value"]) for assumed in content["assumptions"])


def test_a_run_ends_in_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--calibration", "none")
    counts = json.loads((here / "out.summary.json").read_text())["negatives"]["action"]
    relabelled, filtered = counts["relabel"], counts["filter"]
    words = f"Of {sum(counts.values())} negatives, {relabelled} became positives, {filtered} were dropped"
    assert words in text
    assert "surest relabelled: question" in text
    assert "surest dropped: question" in text
    assert "»ANSWER0«" in text
    assert "confidence 0.91, needed 0.50" in text
    for command in ("diff", "report", "review"):
        assert f": arhn {command} out.jsonl\n" in text


def test_a_run_without_changes_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "clean", "train.jsonl", "-o", "out.jsonl", "--method", "none")
    assert "Of 60 negatives, none became positives, none were dropped" in text
    assert "surest" not in text
