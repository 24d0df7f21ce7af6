"""The house keeps its floors: who may import whom, how long a file may be, and what stands in none of them. Read from source."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from bench_scripts import script

from components.core import index, registry

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "components"
# of core/: what the command line reads before it knows whether a model is built
TORCHLESS = {
    *(
        "errors",
        "files",
        "weight_names",
        "paths",
        "signature",
        "option_types",
        "options",
        "aliases",
        "source",
        "entry",
        "cache_file",
        "registry",
        "kinds",
        "index",
        "groups",
    ),
    *(
        "plugins",
        "plugin_child",
        "makers",
        "slices",
        "resources",
        "exit",
        "config_types",
        "layout",
        "bar",
        "micro_batches",
        "moved",
    ),
}
BELOW_PARTS = {"core", "functional", "corpus"}
KIND_FOLDERS = {p.name for p in (SRC / "parts").iterdir() if p.is_dir() and p.name != "__pycache__"}
OF_TRAINING = {"task", "callback", "logger", "strategy", "trainer"}  # kinds that know Lightning
LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities"}
HYDRA = {"hydra", "omegaconf"}
MOST_ENTRIES = 18
MOST_WITH_ANY, MOST_PROBES = 350, 60  # in src/components: `ls` is the plan
MOST_LINES = 250
MEDIAN_LINES = 80  # of a part's file: a part is one idea


@pytest.fixture(scope="module")
def house():
    """bench/house.py, which measures what is held here."""
    return script("house")


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def home(file: Path) -> str:
    """The floor's name for a file: its folder, or its own name where it lies beside the folders."""
    first = file.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def imports(file: Path, *, whole: bool = True) -> set[str]:
    """Dotted names that a file imports, in functions too; ``whole=False``: only what its own import brings along."""
    tree = ast.parse(file.read_text(encoding="utf8"))
    found = set()
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


def third_party(names: set[str]) -> set[str]:
    return {n.split(".")[0] for n in names}


def test_every_entry_is_a_room(house):
    names = {n.removesuffix(".py") for n in house.entries()} - {"py.typed"}
    assert names == {*house.ROOMS, *house.FACE}
    assert len(house.entries()) <= MOST_ENTRIES
    assert len(sources()) > 500


def test_types_stand_where_names_were_asked_for(house):
    """A signature says a type, and an ability is a type: python bench/house.py counts."""
    assert house.functions_with_any() <= MOST_WITH_ANY
    assert house.probes() <= MOST_PROBES


def test_the_catalogue_is_the_kinds_and_nothing_else():
    assert {p.name for p in (SRC / "parts").iterdir()} - {"__pycache__"} == KIND_FOLDERS | {"__init__.py"}
    assert set(registry.KINDS) == KIND_FOLDERS | OF_TRAINING
    assert all((SRC / "training" / kind).is_dir() for kind in OF_TRAINING)


def test_no_import_runs_up(house):
    assert sum(house.arrows().values()) > 1000, "imports are found"
    assert house.up() == []


def test_no_file_is_part_of_a_circle(house):
    assert house.circles() == []


def test_a_circle_and_an_arrow_up_would_be_seen(house, monkeypatch):
    links = {"components.core.a": frozenset({"components.cli.b"}), "components.cli.b": frozenset({"components.core.a"})}
    monkeypatch.setattr(house, "graph", lambda: links)
    assert house.circles() == [["components.cli.b", "components.core.a"]]
    assert house.up() == [("components.core.a", "components.cli.b")]


@pytest.mark.parametrize("kind", sorted(KIND_FOLDERS))
def test_kinds_import_the_ground_floor_and_themselves(house, kind):
    own = f"components.parts.{kind}"
    files = {m: imported for m, imported in house.graph().items() if f"{m}.".startswith(f"{own}.")}
    assert files
    for module, imported in files.items():
        above = {m for m in imported if house.room(m) not in BELOW_PARTS and not f"{m}.".startswith(f"{own}.")}
        assert not above, f"{module} imports {above}"


def test_each_framework_has_its_place():
    seen = set()
    for file in sources():
        used = third_party(imports(file))
        seen |= used
        assert not used & LIGHTNING or home(file) == "training", f"{file}: only training/ imports lightning"
        assert not used & HYDRA or home(file) in ("cli", "compose"), f"{file}: only cli/ and compose/ import hydra"
    assert seen & LIGHTNING
    assert seen & HYDRA


def test_wandb_is_imported_by_one_file_of_the_training_room():
    users = [f for f in sources() if "wandb" in third_party(imports(f))]
    assert len(users) <= 1, users
    assert all(home(f) == "training" for f in users)


def test_a_module_of_the_tests_has_a_name_of_its_own():
    """Folders of tests are put on the path: of two modules with one name, whoever asks second gets the other's."""
    names = Counter(f.name for f in (ROOT / "tests").rglob("*.py") if f.name != "conftest.py")
    assert not [name for name, n in names.items() if n > 1]
    # and a conftest.py is pytest's alone, since several folders have one
    assert not [f for f in (ROOT / "tests").rglob("*.py") if re.search(r"^ *(from|import) conftest\b", f.read_text(), re.M)]


def test_what_the_command_line_reads_imports_no_torch():
    named = [SRC / "core" / f"{name}.py" for name in sorted(TORCHLESS)]
    for file in [*named, SRC / "__init__.py", SRC / "__main__.py"]:
        assert "torch" not in third_party(imports(file)), file


def test_no_file_is_long():
    long = {
        str(f.relative_to(ROOT)): n for f in sources() if (n := len(f.read_text(encoding="utf8").splitlines())) > MOST_LINES
    }
    assert not long


def test_half_of_the_parts_are_short():
    files = {e.file for e in index.own_entries().values() if not e.preset_of}
    assert len(files) > 120, "one file, one part"
    median = statistics.median(len(Path(f).read_text(encoding="utf8").splitlines()) for f in files)
    assert median <= MEDIAN_LINES, median


def test_kind_folders_have_no_code_in_init():
    files = [f for f in sources() if f.name == "__init__.py" and f.parent.parent == SRC / "parts"]
    assert len(files) == len(KIND_FOLDERS), "each is a package"
    for file in files:
        body = ast.parse(file.read_text(encoding="utf8")).body
        assert all(isinstance(n, ast.Expr) for n in body if not isinstance(n, ast.ImportFrom)), file


def test_parts_list_their_parameters():
    seen = 0
    for file in (f for f in sources() if f.parent.name in registry.KINDS):
        for node in ast.parse(file.read_text(encoding="utf8")).body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or not any(
                "register" in ast.unparse(d) for d in node.decorator_list
            ):
                continue
            made = (
                [node] if isinstance(node, ast.FunctionDef) else [n for n in node.body if getattr(n, "name", "") == "__init__"]
            )
            seen += 1
            for function in made:
                assert function.args.kwarg is None, f"{file}: {node.name} takes **{function.args.kwarg.arg}"
                assert function.args.vararg is None, f"{file}: {node.name} takes *{function.args.vararg.arg}"
    assert seen > 30


def test_a_part_is_where_its_name_says():
    parts = [e for e in index.own_entries().values() if not e.preset_of]
    assert len(parts) > 30
    for e in parts:
        assert Path(e.file).parent.name == e.kind
        assert Path(e.file).stem == e.name


def test_composer_and_registry_name_no_kind_and_no_part():
    names = {n for key in index.own_entries() for n in key} | set(registry.KINDS)
    # words of the config's own grammar, or of Python, that happen to be a part's name as well
    names -= {"none", "text", "all", "layer", "layers", "value", "group"}
    files = [SRC / "core" / "registry.py", SRC / "core" / "entry.py", *sorted((SRC / "compose").rglob("*.py"))]
    assert len(files) > 5
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf8"))
        said = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value in names]
        assert not said, f"{file}:{said[0].lineno}: {said[0].value!r}"


def test_annotations_are_not_evaluated():
    for file in sources():
        tree = ast.parse(file.read_text(encoding="utf8"))
        if any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in tree.body):
            assert "__future__.annotations" in imports(file), file


def test_no_machine_of_ours_in_the_tree():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / f for f in listed.stdout.split("\n") if f and (ROOT / f).is_file()]
    assert len(files) > 80
    # a leading slash that no other path element precedes; pieced together, so that this file does not hold them
    forbidden = re.compile(
        "|".join([r"(?<![\w.}])/" + "(work|root|home/(?!you/)[a-z]+)/", r"\.\./" + "shared", "TO" + "DO", "FIX" + "ME"])
    )
    for file in files:
        try:
            text = file.read_text(encoding="utf8")
        except UnicodeDecodeError:
            continue
        found = forbidden.search(text)
        assert not found, f"{file.relative_to(ROOT)}: {found[0]!r}"


def test_the_picture_and_the_walks_show_the_house_as_it_is(house):
    stale = "python bench/house.py --picture docs/architecture.svg draws it anew"
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf8") == house.picture(), stale
    text = (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf8")
    named = set(re.findall(r"`([a-z_]+/(?:[a-z_]+/)*(?:[a-z_]+\.py)?)`", text))
    assert len(named) > 30
    assert not [name for name in named if not (SRC / name).exists() and not (ROOT / name).exists()]
    assert all(f"`{room}/`" in text or f"`{room}.py`" in text for room in house.ROOMS)
