"""Plug-ins: seen without being imported here, never stale, and a bad one hurts nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PART = '''"""Fancy: a part of another package."""
from __future__ import annotations

from components import register


@register("norm", "{name}")
class Fancy:
    """{sentence}

    Args:
        alpha: how fancy.
    """

    def __init__(self, dim: int, *, alpha: float = 0.5) -> None:
        self.dim, self.alpha = dim, alpha
'''


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on PYTHONPATH that stands for site-packages, and a cache of its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "cache"))
    return folder


def install(site: Path, dist: str, package: str, files: dict[str, str], recipes: str = "") -> Path:
    """As pip leaves it: the package and its dist-info."""
    info = site / f"{dist}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[components]\nparts = {package}\n" + (f"[components.recipes]\nr = {recipes}\n" if recipes else "")
    )
    (info / "RECORD").write_text("")
    (site / package).mkdir()
    for name, text in files.items():
        (site / package / name).parent.mkdir(exist_ok=True)
        (site / package / name).write_text(text)
    return site / package


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "components", *words], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def listed() -> dict:
    return json.loads(run("list", "--json"))


def python(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_listed_with_origin_shown_and_used(site):
    install(site, "fancy-parts", "fancy", {"__init__.py": PART.format(name="fancy", sentence="A fancy norm.")})
    entry = listed()["norm"]["fancy"]
    assert (entry["sentence"], entry["origin"]) == ("A fancy norm.", "fancy-parts")
    assert "[fancy-parts]" in run("list", "norm")
    assert "how fancy" in run("show", "norm/fancy")
    assert (
        python("import components; p = components.build('norm', 'fancy', dim=3, alpha=0.25); print(p.dim, p.alpha)") == "3 0.25"
    )


def test_editing_and_adding_files_shows_at_the_next_list(site):
    package = install(
        site, "fancy-parts", "fancy", {"__init__.py": "import fancy.one", "one.py": PART.format(name="one", sentence="First.")}
    )
    assert listed()["norm"]["one"]["sentence"] == "First."
    (package / "one.py").write_text(PART.format(name="one", sentence="Second, and edited."))
    assert listed()["norm"]["one"]["sentence"] == "Second, and edited."
    (package / "one.py").write_text(PART.format(name="uno", sentence="Renamed."))
    assert {"uno"} == {n for n in listed()["norm"] if n in ("one", "uno")}
    (package / "__init__.py").write_text(
        "import pkgutil, importlib\nfor m in pkgutil.iter_modules(__path__): importlib.import_module(f'fancy.{m.name}')\n"
    )
    assert "two" not in listed()["norm"]
    (package / "two.py").write_text(PART.format(name="two", sentence="Added."))
    assert listed()["norm"]["two"]["sentence"] == "Added."


def test_nothing_is_imported_again_while_nothing_changes(site):
    trace = site / "trace"
    count = f"open({str(trace)!r}, 'a').write('x')\n"
    install(
        site,
        "fancy-parts",
        "fancy",
        {"__init__.py": PART.format(name="fancy", sentence="A norm.").replace("from components", count + "from components")},
    )
    for _ in range(3):
        assert "fancy" in listed()["norm"]
    assert trace.read_text() == "x"


def test_a_broken_plugin_is_named_with_its_error_and_hurts_nobody(site):
    package = install(site, "bad-parts", "bad", {"__init__.py": "x = 1\nraise RuntimeError('no good')\n"})
    install(site, "fancy-parts", "fancy", {"__init__.py": PART.format(name="fancy", sentence="A norm.")})
    found = listed()
    assert "fancy" in found["norm"]
    (text,) = found["broken"]["bad-parts"]["errors"]
    assert "RuntimeError: no good" in text
    assert f"{package / '__init__.py'}:2" in text
    assert "broken plug-in bad-parts" in run("list")
    assert "bad-parts" in run("show", "norm/better", code=2), "who asks for its part learns why it is not there"
    (package / "__init__.py").write_text(PART.format(name="better", sentence="Mended."))
    found = listed()
    assert "better" in found["norm"]
    assert "broken" not in found


def test_one_that_lacks_a_package_is_tried_again_when_something_is_installed(site):
    install(
        site,
        "bad-parts",
        "bad",
        {"__init__.py": "import later\n" + PART.format(name="late", sentence="Late.").split("\n", 2)[2]},
    )
    assert "ModuleNotFoundError" in listed()["broken"]["bad-parts"]["errors"][0]
    (site / "later.py").write_text("")
    assert "late" in listed()["norm"]


@pytest.mark.parametrize(
    ("source", "said"),
    [("import os\nos._exit(7)\n", "exit code 7"), ("raise SystemExit(3)\n", "SystemExit"), ("def f(:\n", "SyntaxError")],
)
def test_even_one_that_ends_the_process(site, source, said):
    install(site, "bad-parts", "bad", {"__init__.py": source})
    assert said in listed()["broken"]["bad-parts"]["errors"][0]


def test_what_a_plugin_prints_is_no_part_of_the_answer(site):
    install(
        site,
        "fancy-parts",
        "fancy",
        {"__init__.py": "print('hello')\n" + PART.format(name="fancy", sentence="A norm.").split("\n", 2)[2]},
    )
    assert "fancy" in listed()["norm"]


def test_a_name_taken_twice_is_refused_naming_both(site):
    other = PART.format(name="other", sentence="Fine.").replace("class Fancy", "class Other")
    both = PART.format(name="same", sentence="Second.") + other.split("from components import register\n")[1]
    install(site, "alpha-parts", "alpha", {"__init__.py": PART.format(name="same", sentence="First.")})
    install(site, "beta-parts", "beta", {"__init__.py": both})
    found = listed()
    assert found["norm"]["same"]["origin"] == "alpha-parts"
    (text,) = found["broken"]["beta-parts"]["errors"]
    assert "norm/same" in text
    assert "alpha-parts" in text
    assert "beta-parts" in text
    use = "import components; print(type(components.build('norm', '{}', dim=1)).__module__)"
    assert python(use.format("other")) == "beta", "the rest of it works"
    assert python(use.format("same")) == "alpha"


def test_a_name_of_ours_is_refused(site):
    ours, origin = next((n, e["origin"]) for n, e in listed()["optimizer"].items())
    assert origin == "components"
    source = (
        PART.format(name=ours, sentence="Mine.")
        .replace('"norm"', '"optimizer"')
        .replace("dim: int, *, ", "weights: list, *, ")
        .replace("self.dim, ", "self.w, ")
        .replace("= dim,", "= weights,")
    )
    install(site, "rude-parts", "rude", {"__init__.py": source})
    found = listed()
    assert found["optimizer"][ours]["origin"] == "components"
    assert f"optimizer/{ours}: the name is taken twice, by components" in found["broken"]["rude-parts"]["errors"][0]


def test_kinds_presets_and_parts_that_build_on_another_plugin(site):
    kind = 'from components import declare_kind\ndeclare_kind("antenna", "receives", ("dim",))\n'
    part = PART.format(name="yagi", sentence="Directed.").replace('"norm"', '"antenna"').split("\n", 2)[2]
    install(site, "zeta-parts", "zeta", {"__init__.py": kind + part})
    dipole = PART.format(name="dipole", sentence="Plain.").replace('"norm"', '"antenna"').split("\n", 2)[2]
    install(
        site,
        "alpha-parts",
        "alpha",
        {
            "__init__.py": "import zeta\nfrom components import preset\n"
            + dipole
            + '\npreset("antenna", "long", of="yagi", alpha=0.9)\n'
        },
    )
    found = listed()
    assert {n: e["origin"] for n, e in found["antenna"].items()} == {
        "yagi": "zeta-parts",
        "dipole": "alpha-parts",
        "long": "alpha-parts",
    }
    assert "[zeta-parts]" in run("list")
    assert "broken" not in found
    assert (
        python(
            "import components; print(components.build('antenna', 'long', dim=1).alpha, type(components.build('antenna', 'dipole', dim=1)).__module__)"
        )
        == "0.9 alpha"
    )


def test_a_kind_declared_otherwise_by_two_is_refused(site):
    for dist, package, offers in (("alpha-parts", "alpha", '"dim"'), ("beta-parts", "beta", '"d_model"')):
        kind = f'from components import declare_kind\ndeclare_kind("antenna", "receives", ({offers},))\n'
        part = (
            PART.format(name=package, sentence="Plain.")
            .split("\n", 2)[2]
            .replace('"norm"', '"antenna"')
            .replace("dim", offers.strip('"'))
        )
        install(site, dist, package, {"__init__.py": kind + part})
    found = listed()
    assert set(found["antenna"]) == {"alpha"}
    (text,) = found["broken"]["beta-parts"]["errors"]
    assert "alpha-parts" in text
    assert "beta-parts" in text


def test_a_kind_of_ours_is_refused(site):
    install(
        site, "rude-parts", "rude", {"__init__.py": 'from components import declare_kind\ndeclare_kind("norm", "mine", ())\n'}
    )
    found = listed()
    assert "declared twice, by components" in found["broken"]["rude-parts"]["errors"][0]
    assert found["norm"]


def test_a_package_elsewhere_on_the_path_as_editable_installs_have_it(site, tmp_path, monkeypatch):
    package = install(site, "fancy-parts", "fancy", {"__init__.py": PART.format(name="fancy", sentence="First.")})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    package.rename(elsewhere / "fancy")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{elsewhere}")
    assert listed()["norm"]["fancy"]["sentence"] == "First."
    (elsewhere / "fancy" / "__init__.py").write_text(PART.format(name="fancy", sentence="Second."))
    assert listed()["norm"]["fancy"]["sentence"] == "Second."


def test_the_prompt_stays_quick_and_torchless_with_a_plugin_that_imports_torch(site):
    install(
        site,
        "fancy-parts",
        "fancy",
        {"__init__.py": "import torch\n" + PART.format(name="fancy", sentence="A norm.").split("\n", 2)[2]},
    )
    assert "fancy" in listed()["norm"], "fills the cache"
    probe = "import sys\nfrom components.cli import main\nmain(['list', 'norm'])\nassert 'torch' not in sys.modules"
    assert "fancy" in python(probe)


def test_recipes_of_a_plugin_are_found(site):
    package = install(
        site, "fancy-parts", "fancy", {"__init__.py": PART.format(name="fancy", sentence="A norm.")}, recipes="fancy.recipes"
    )
    (package / "recipes").mkdir()
    (package / "recipes" / "fancy_run.yaml").write_text("# A run with the fancy norm.\nseed: 1\n")
    recipe = listed()["recipe"]["fancy_run"]
    assert (recipe["sentence"], recipe["origin"]) == ("A run with the fancy norm.", "fancy-parts")


def test_a_cache_that_cannot_be_written_costs_only_time(site, tmp_path):
    install(site, "fancy-parts", "fancy", {"__init__.py": PART.format(name="fancy", sentence="A norm.")})
    (tmp_path / "file").write_text("")
    os.environ["COMPONENTS_CACHE"] = str(tmp_path / "file")
    assert "fancy" in listed()["norm"]
