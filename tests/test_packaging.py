"""What leaves the checkout: the wheel has its configs and works from any folder; make installs once and says what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import quick
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import components
from components.cli import main
from components.core.extras import EXTRA, EXTRAS

ROOT = Path(__file__).parent.parent


def built(kind: str, source: Path, out: Path) -> Path:
    """What ``python -m build`` makes of the sources: ``kind`` is wheel or sdist."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist unpacked."""
    made = built("sdist", ROOT, tmp_path_factory.mktemp("dist"))
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(made) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # not in 3.11.0 to 3.11.3
    return folder / made.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel unpacked, as pip leaves it in site-packages."""
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def python(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


def test_wheel_holds_everything_that_the_checkout_has_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    code = [f.relative_to(ROOT / "src") for f in (ROOT / "src").rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    shared = [
        Path("components/_share") / f.relative_to(ROOT)
        for folder in ("conf", "recipes")
        for f in (ROOT / folder).rglob("*.yaml")
    ]
    assert len(code) > 80
    assert len(shared) > 5
    assert {p.as_posix() for p in (*code, *shared)} == names
    for file in ("py.typed", "_share/conf/train.yaml", "_share/recipes/gpt_python.yaml", "explain/assets/page.html"):
        assert f"components/{file}" in names
    assert "components/cli/templates/parts/norm.py.txt" in names, "components new copies it"
    assert any(n.startswith("hydra_plugins/") and n.endswith(".py") for n in names)
    assert "hydra_plugins/__init__.py" not in names, "it is shared with other Hydra plug-ins"
    assert not any("tests/" in n for n in names)


def metadata_of(wheel: Path) -> Message:
    (name,) = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".dist-info/METADATA")]
    return Parser().parsestr(zipfile.ZipFile(wheel).read(name).decode())


def test_the_metadata_says_what_the_registry_shows(wheel):
    said = metadata_of(wheel)
    assert (said["Name"], said["Version"]) == ("lightning-components", components.__version__)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == project()["requires-python"]
    assert said["Description-Content-Type"] == "text/markdown"
    assert (ROOT / "README.md").read_text().strip() in said.get_payload()
    assert set(said.get_all("Provides-Extra", [])) == set(project()["optional-dependencies"])
    files = zipfile.ZipFile(wheel).namelist()
    assert any(n.endswith("licenses/LICENSE") for n in files)
    (entry,) = [n for n in files if n.endswith("entry_points.txt")]
    assert "components = components.cli:command" in zipfile.ZipFile(wheel).read(entry).decode()


def test_the_sdist_holds_every_file_and_makes_the_same_wheel(sdist, wheel, tmp_path):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:  # not in an unpacked sdist
        tracked = {n for n in listed.stdout.splitlines() if (ROOT / n).is_file()}
        assert not {n for n in tracked if not (sdist / n).is_file()}
    for needed in ("tests/test_packaging.py", "examples", "bench", "mkdocs.yml", "Makefile", ".ci/run", "CITATION.cff"):
        assert (sdist / needed).exists(), needed
    one, other = (zipfile.ZipFile(w) for w in (wheel, built("wheel", sdist, tmp_path / "again")))
    assert {n: one.read(n) for n in one.namelist()} == {n: other.read(n) for n in other.namelist()}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_comes_from_one_place(wheel):
    assert project()["dynamic"] == ["version"]
    assert "version" not in project()
    assert f"-{components.__version__}-" in wheel.name
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == components.__version__
    assert f"\n## {components.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_the_command_says_its_version(word, capsys):
    assert main([word]) == 0
    assert capsys.readouterr().out == f"lightning-components {components.__version__}\n"


# what https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema.json requires, and the types of what is used here
CITED = {"cff-version": str, "message": str, "title": str, "authors": list}
CITED_TOO = {
    "type": str,
    "abstract": str,
    "version": (str, int, float),
    "license": str,
    "keywords": list,
    "repository-code": str,
}


def test_the_citation_is_what_cff_asks_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert not CITED.keys() - cited.keys()
    assert not cited.keys() - (CITED | CITED_TOO).keys()
    for key, value in cited.items():
        assert isinstance(value, (CITED | CITED_TOO)[key]), key
        assert value, key
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] in ("software", "dataset")
    assert cited["license"] == project()["license"]
    assert cited["title"] == project()["name"]
    for author in cited["authors"]:  # a person has given and family names, an entity a name
        assert author.keys() <= {"name", "given-names", "family-names", "affiliation", "orcid", "website"}
        assert "name" in author or {"given-names", "family-names"} <= author.keys()
        assert all(isinstance(v, str) for v in author.values())


def test_no_two_extras_exclude_each_other():
    ranges: dict[str, SpecifierSet] = {}
    lines = [*project()["dependencies"], *(line for lines in project()["optional-dependencies"].values() for line in lines)]
    for wanted in map(Requirement, lines):
        ranges[wanted.name] = ranges.get(wanted.name, SpecifierSet()) & wanted.specifier
    for name, both in ranges.items():
        lower = [s.version for s in both if s.operator == ">="]
        assert all(both.contains(max(lower, key=Version)) for _ in lower[:1]), f"{name}: nothing is in {both}"


def test_the_extra_that_an_error_names_brings_the_package():
    brought = {"pyarrow": "datasets", "sklearn": "scikit-learn", "lm_eval": "lm-eval"}
    for package, extra in EXTRA.items():
        names = {Requirement(line).name for line in project()["optional-dependencies"][extra]}
        assert brought.get(package, package) in names, package


def test_every_extra_is_described_and_the_page_on_installing_has_them_all():
    extras = project()["optional-dependencies"]
    assert set(EXTRAS) == set(extras)
    assert set(EXTRA.values()) <= set(EXTRAS)
    page = (ROOT / "docs" / "how_to" / "install.md").read_text()
    rows = [f"| `{name}` | {what} | {brought(name, extras[name])} |" for name, what in EXTRAS.items()]
    table = "\n".join(["| extra | for | brings |", "| --- | --- | --- |", *rows])
    assert table in page, f"docs/how_to/install.md should have this table:\n\n{table}"


def brought(extra: str, lines: list[str]) -> str:
    own = [Requirement(line) for line in lines if not line.startswith("lightning-components[")]
    return "what `make test` runs" if extra == "dev" else ", ".join(r.name for r in own)


def test_only_one_file_says_which_extra_to_install():
    said = [f for f in (ROOT / "src" / "components").rglob("*.py") if "lightning-components[" in f.read_text()]
    assert [f.name for f in said] == ["extras.py"]


def test_github_files_are_valid_yaml_and_run_what_ci_runs():
    for file in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(file.read_text())["name"], file
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]
    assert jobs["test"]["strategy"]["matrix"]["python"][0] == project()["requires-python"].removeprefix(">=")


def test_the_installed_package_reads_its_own_configs(installed, tmp_path):
    done = python(
        installed,
        tmp_path,
        "-c",
        "from components.core import resources; print(resources.PACKAGE, resources.conf_folder(), *resources.recipe_files())",
    )
    package, conf, *recipes = done.stdout.split()
    assert Path(package) == installed / "components"
    assert Path(conf) == installed / "components" / "_share" / "conf"
    assert "gpt_python" in recipes


def test_the_installed_command_works_from_any_folder_with_the_users_own_recipes(installed, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("# My own.\ndefaults:\n  - gpt_python\n")
    done = python(installed, tmp_path, "-m", "components", "list", "--json")
    data = json.loads(done.stdout)
    assert data["recipe"]["mine"]["origin"] == "here"
    assert data["recipe"]["gpt_python"]["origin"] == "components"
    assert data["attention"]["gqa"]["file"].startswith(str(installed))
    checked = python(installed, tmp_path, "-m", "components", "validate", "recipe=mine", "model.n_layers=1")
    assert checked.returncode == 0, checked.stderr
    assert "recipe mine" in checked.stdout


def test_the_checkout_reads_its_live_configs():
    from components.core import resources

    assert resources.conf_folder() == ROOT / "conf"
    assert resources.shipped("recipes") == ROOT / "recipes"


# make


def fake_venv(folder: Path, *, installed: bool) -> None:
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").write_text("")
    os.utime(folder / "pyproject.toml", (1, 1))
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    if installed:
        (folder / ".venv" / ".installed").touch()


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=60)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@needs_make
@pytest.mark.parametrize("target", ["train", "test", "quick"])
def test_make_installs_once(tmp_path, target):
    fake_venv(tmp_path, installed=True)
    assert "pip install" not in make(tmp_path, "-n", target).stdout
    os.utime(tmp_path / ".venv" / ".installed", (0, 0))  # older than pyproject.toml, which has changed since
    said = make(tmp_path, "-n", target).stdout
    assert said.index("torch==2.13.0") < said.index("-e '.[dev]'"), "torch first"


@needs_make
def test_make_says_which_python_it_needs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    none = make(tmp_path, "setup", "PYTHON=")
    assert none.returncode != 0
    assert "no Python 3.11 or later found" in none.stderr
    old = tmp_path / "oldpython"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert "is too old: 3.11 or later is needed" in make(tmp_path, "setup", f"PYTHON={old}").stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_make_test_and_gives_its_exit_code(tmp_path):
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    fake = tmp_path / "make"
    fake.write_text('#!/bin/sh\necho "$PWD $@"\nexit 7\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [script], capture_output=True, text=True, cwd="/", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )
    assert (done.returncode, done.stdout.strip()) == (7, f"{ROOT} test")


def test_quick_finds_the_tests_of_a_file(tmp_path):
    for f in (
        "tests/norm/test_rms.py",
        "tests/norm/test_layer.py",
        "tests/test_slices.py",
        "tests/compose/test_swap.py",
        "tests/corpus/test_a.py",
    ):
        (tmp_path / f).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f).touch()
    assert quick.mirrors("src/components/parts/norm/rms.py", tmp_path) == {"tests/norm/test_rms.py"}
    assert quick.mirrors("src/components/parts/norm/new.py", tmp_path) == {"tests/norm/test_rms.py", "tests/norm/test_layer.py"}
    assert quick.mirrors("src/components/core/slices.py", tmp_path) == {"tests/test_slices.py"}
    assert quick.mirrors("src/components/other.py", tmp_path) == set()
    assert quick.mirrors("conf/train.yaml", tmp_path) == {"tests/compose/test_swap.py"}
    assert quick.mirrors("tests/norm/test_rms.py", tmp_path) == {"tests/norm/test_rms.py"}
    assert quick.mirrors("tests/norm/test_gone.py", tmp_path) == set()
    assert quick.mirrors("CHANGELOG.md", tmp_path) == set()


def test_quick_finds_tests_for_every_file_of_the_library_and_for_the_tests_own_helpers():
    listed = [
        f for folder in ("src", "tests") for f in (ROOT / folder).rglob("*.py") if f.name not in ("__init__.py", "slow.py")
    ]
    assert not [f for f in listed if not quick.mirrors(str(f.relative_to(ROOT)))]
    assert not [t for tests in quick.BESIDE.values() for t in tests if not quick.found(ROOT, t)]
    assert quick.mirrors("src/components/core/makers.py") >= {"tests/test_contracts.py", "tests/test_every_part.py"}
    assert "tests/test_contracts.py" in quick.mirrors("tests/contract_parts.py")
    assert "tests/test_sockets.py" in quick.mirrors("tests/hosts.py")
    assert quick.mirrors("tests/training/conftest.py") >= {"tests/training/test_runs.py"}
    assert quick.mirrors("pyproject.toml") == {"tests/test_packaging.py"}


def test_the_installed_command_trains_on_a_users_own_text(installed, tmp_path):
    (tmp_path / "book.txt").write_text("".join(f"Page {i} of a small book has words in it.\n\n" for i in range(400)))
    small = ["model.n_layers=1", "model.d_model=32", "model.attention.n_heads=2", "tokenizer=byte", "model.context_length=32"]
    words = ["data=text", "data.path=book.txt", *small, "trainer.max_steps=2", "paths.cache=cache"]
    done = python(installed, tmp_path, "-m", "components", "train", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs" / "gpt_python").iterdir()
    assert json.loads((run / "summary.json").read_text())["step"] == 2
    assert (run / "checkpoints" / "last.ckpt").is_file()
