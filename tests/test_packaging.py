"""What leaves the checkout: the wheel has its configs and works from any folder; make installs once and says what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import quick
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import components
from components.core.extras import EXTRA

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel unpacked, as pip leaves it in site-packages."""
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def python(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


def test_wheel_holds_everything_that_the_checkout_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    code = [
        f.relative_to(ROOT / "src") for kind in ("py", "txt", "js", "css", "html") for f in (ROOT / "src").rglob(f"*.{kind}")
    ]
    shared = [
        Path("components/_share") / f.relative_to(ROOT)
        for folder in ("conf", "recipes")
        for f in (ROOT / folder).rglob("*.yaml")
    ]
    assert len(code) > 80
    assert len(shared) > 5
    assert not {p.as_posix() for p in (*code, *shared)} - names
    assert "components/_share/conf/train.yaml" in names
    assert "components/_share/recipes/gpt_python.yaml" in names
    assert any(n.startswith("hydra_plugins/") and n.endswith(".py") for n in names)
    assert "hydra_plugins/__init__.py" not in names, "it is shared with other Hydra plug-ins"
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert not any("tests/" in n or n.endswith(".pyc") for n in names)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_comes_from_one_place(wheel):
    assert project()["dynamic"] == ["version"]
    assert "version" not in project()
    assert f"-{components.__version__}-" in wheel.name
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == components.__version__
    assert f"\n## {components.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_two_extras_exclude_each_other():
    ranges: dict[str, SpecifierSet] = {}
    lines = [*project()["dependencies"], *(line for lines in project()["optional-dependencies"].values() for line in lines)]
    for wanted in map(Requirement, lines):
        ranges[wanted.name] = ranges.get(wanted.name, SpecifierSet()) & wanted.specifier
    for name, both in ranges.items():
        lower = [s.version for s in both if s.operator == ">="]
        assert all(both.contains(max(lower, key=Version)) for _ in lower[:1]), f"{name}: nothing is in {both}"


def test_the_extra_that_an_error_names_brings_the_package():
    brought = {"pyarrow": "datasets", "sklearn": "scikit-learn"}
    for package, extra in EXTRA.items():
        names = {Requirement(line).name for line in project()["optional-dependencies"][extra]}
        assert brought.get(package, package) in names, package


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
