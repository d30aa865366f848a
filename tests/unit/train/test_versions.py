"""Whether libraries fit together, told from what is written in their installed folders: here, folders of a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arhn.errors import IncompatibleVersions
from arhn.train import base_model, recipe
from arhn.train.versions import TESTED, require_versions

pytest.importorskip("packaging")

ROOT = Path(__file__).parents[3]


class Site:
    """A folder of installed libraries, of which only what they say about themselves is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, version: str, *requires: str, **files: str) -> None:
        """`files`: modules in its package, `_` for a slash."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for module, text in files.items():
            path = self.folder / name / f"{module.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def refuses(self, *, adapters: bool = False) -> str:
        with pytest.raises(IncompatibleVersions) as caught:
            require_versions(adapters=adapters, path=[str(self.folder)])
        return str(caught.value)

    def accepts(self, *, adapters: bool = False) -> None:
        require_versions(adapters=adapters, path=[str(self.folder)])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_installed_here_fits_together() -> None:
    pytest.importorskip("sentence_transformers")
    require_versions(adapters=True)


def test_a_requirement_in_the_metadata(site: Site) -> None:
    site.install("transformers", "5.23.0", "tokenizers<0.24.0,>=0.23.1")
    site.install("tokenizers", "0.24.0")
    assert site.refuses() == (
        "transformers 5.23.0 needs tokenizers<0.24.0,>=0.23.1, and 0.24.0 is installed. "
        f"Versions that work together: pip install transformers=={TESTED['transformers']}"
    )


def test_every_pair_is_told_and_every_library_that_is_there_is_in_the_command(site: Site) -> None:
    site.install("accelerate", "1.1.0", "torch>=2.0.0")
    site.install("torch", "1.9.0+cu111")
    site.install("sentence-transformers", "6.2.0", "transformers<6.0.0,>=5.0.0", 'accelerate>=1.3.0; extra == "train"')
    site.install("transformers", "4.57.0")
    said = site.refuses()
    for part in ("accelerate 1.1.0 needs torch>=2.0.0", "needs transformers<6.0.0", "needs accelerate>=1.3.0"):
        assert part in said
    assert "peft" not in said
    assert said.endswith(
        "pip install "
        + " ".join(
            f"{name}=={TESTED[name]}" for name in ("accelerate", "sentence-transformers", "torch", "transformers")
        )
    )


def test_torch_is_left_alone_where_it_fits(site: Site) -> None:
    site.install("torch", "2.9.0", "nvidia-cublas==13.1.1.3", "numpy>=99")
    site.install("numpy", "2.4.6")
    site.accepts()
    site.install("accelerate", "1.15.0", "numpy>=3")
    assert "torch" not in site.refuses()


def test_what_transformers_looks_for_when_it_runs(site: Site) -> None:
    table = 'deps = {\n    "peft": "peft>=0.22.0",\n    "ruff": "ruff==0.9.10",\n}\n'
    site.install("transformers", "5.24.0", dependency_versions_table=table)
    site.install("peft", "0.21.2")
    site.accepts()  # no adapters, no peft
    assert site.refuses(adapters=True) == (
        "transformers 5.24.0 needs peft>=0.22.0, and 0.21.2 is installed. Versions that work together: "
        f"pip install peft=={TESTED['peft']} transformers=={TESTED['transformers']}"
    )


def test_the_version_of_peft_that_transformers_raises_on(site: Site) -> None:
    code = 'import broken_if_run\n\nMIN_PEFT_VERSION = "0.18.2"\nMORE = broken_if_run.now()\n'
    site.install("transformers", "5.10.0", dependency_versions_table='deps = {"peft": "peft>=0.18.0"}')
    (site.folder / "transformers" / "integrations").mkdir()
    (site.folder / "transformers" / "integrations" / "peft.py").write_text(code, encoding="utf-8")
    site.install("peft", "0.18.1")
    assert site.refuses(adapters=True).startswith("transformers 5.10.0 needs peft>=0.18.2, and 0.18.1 is")


@pytest.mark.parametrize(
    "table", ["deps = (", "deps = other()", "deps = 3", "", 'deps = {"peft": 1, "x": "not / one"}']
)
def test_a_table_that_cannot_be_read_says_nothing(site: Site, table: str) -> None:
    site.install("transformers", "6.0.0", dependency_versions_table=table)
    site.install("peft", "0.1")
    site.accepts(adapters=True)


def test_other_extras_other_systems_and_libraries_that_are_not_there_do_not_count(site: Site) -> None:
    site.install(
        "sentence-transformers",
        "6.2.0",
        'transformers>=9; extra == "dev"',
        'transformers>=9; sys_platform == "amiga"',
        "huggingface_hub>=1",
        "pandas>=99",
    )
    site.install("transformers", "5.23.0")
    site.install("pandas", "1.0")
    site.accepts()


@pytest.mark.parametrize("version", ["2.6.0a0+ecf3bae40a.nv25.1", "2.6.0.dev20250101", "2.6.0+cpu", "what"])
def test_builds_of_ones_own_count_as_the_release_they_are_named_after(site: Site, version: str) -> None:
    site.install("accelerate", "1.15.0", "torch>=2.6")
    site.install("torch", version)
    site.accepts()


def test_arhns_own_ranges_count(site: Site) -> None:
    site.install("arhn", "0.1.0", 'sentence-transformers>=6.2; extra == "train"')
    site.install("sentence-transformers", "6.1.0")
    assert site.refuses().startswith("arhn 0.1.0 needs sentence-transformers>=6.2, and 6.1.0 is")


def test_training_asks_before_anything_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sentence_transformers", "accelerate", "datasets", "peft"):
        pytest.importorskip(module)
    asked = []
    monkeypatch.setattr(base_model, "require_versions", lambda *, adapters: asked.append(adapters))
    base_model.require_libraries(recipe.load("tiny", []))
    base_model.require_libraries(recipe.load("tiny", ["lora.r=2"]))
    assert asked == [False, True]


def test_the_versions_in_the_command_are_those_of_the_lock() -> None:
    held = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("locks/dev.txt", "constraints.txt"))
    pinned = dict(re.findall(r"^([a-z-]+)==([\w.]+)", held, flags=re.MULTILINE))
    assert {name: pinned[name] for name in TESTED} == TESTED
