"""``make quick``: the tests of the files touched since the branch began (and not yet committed), in at most a minute.

What compiles, or starts processes of its own, takes half of the time of the common tests: ``make test`` has it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALWAYS = ("tests/test_floors.py", "tests/test_signatures.py")
# rooms that runs are tested through
ROOMS = dict.fromkeys(("training", "training/task", "runs", "generation", "evaluating"), "training")
LIMIT = 55  # seconds; the rest of the minute is pytest's start
MODELS = ("test_contracts.py", "test_every_part.py", "test_without_hydra.py")
NAMES = ("test_signatures.py", "test_without_hydra.py", "cli/test_list_and_show.py", "compose/test_choices.py")
# what no folder of tests mirrors
BESIDE = {
    "bench/house.py": ("test_floors.py",),
    **{f"src/components/core/{name}.py": MODELS for name in ("makers", "sockets", "weights", "flops")},
    **{
        f"src/components/core/{name}.py": NAMES
        for name in (
            "entry",
            "registry",
            "kinds",
            "index",
            "signature",
            "option_types",
            "options",
            "aliases",
            "source",
            "docstrings",
        )
    },
    **{f"src/components/core/{name}.py": ("test_plugins.py",) for name in ("plugins", "plugin_child", "cache_file", "moved")},
    **{f"src/components/core/{name}.py": ("compose/test_messages.py", "compose/test_paths.py") for name in ("errors", "paths")},
    **{
        f"src/components/core/{name}.py": ("test_inheriting.py", "compose/test_tree.py")
        for name in ("inheriting", "config_types")
    },
    "src/components/core/memory.py": ("test_content.py", "training/test_within_memory.py"),
    "src/components/core/micro_batches.py": ("training/test_steps.py", "training/test_objectives.py"),
    "tests/single_device.py": ("training/test_without_doubles.py",),
    "src/components/core/weight_names.py": ("tuning/test_tunings.py", "training/test_starting.py"),
    "src/components/core/resources.py": ("compose/test_recipes.py", "cli/test_list_and_show.py"),
    "src/components/training/run.py": ("training/test_runs.py", "test_docs.py"),
    "src/components/__init__.py": ("test_without_hydra.py", "cli/test_answers_at_once.py"),
    "src/components/__main__.py": ("cli/test_main.py",),
    "src/components/check": ("test_every_part.py", "check/test_teeth.py"),
    "src/components/catalogue": ("test_catalogue.py",),
    "src/components/explain/assets": ("explain/test_page.py",),
    "src/hydra_plugins": ("compose/test_multirun.py",),
    "README.md": ("test_docs.py",),
    "docs": ("test_docs.py", "test_site.py", "test_walks.py"),
    "mkdocs.yml": ("test_site.py",),
    "pyproject.toml": ("test_packaging.py",),
    "Makefile": ("test_packaging.py", "test_docs.py"),
    ".ci": ("test_packaging.py",),
}


def git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line] if done.returncode == 0 else []


def touched() -> set[str]:
    """Uncommitted and untracked files, and those of this branch since it left main; on a clean main, the last commit's."""
    base = next((b for name in ("origin/main", "main") for b in git("merge-base", "HEAD", name)), "HEAD")
    files = {*git("diff", "--name-only", base), *git("ls-files", "--others", "--exclude-standard")}
    return files or set(git("diff", "--name-only", "HEAD~1"))


def mirrors(file: str, root: Path = ROOT) -> set[str]:
    """Test files for one touched file: itself, its mirror, all tests of the folder that mirrors its own, or what BESIDE says."""
    path = Path(file)
    named = next((tests for name, tests in BESIDE.items() if path.is_relative_to(name)), None)
    if named is not None:
        return found(root, *named)
    if path.parts[0] == "tests":
        return of_tests(path, root)
    if path.parts[0] in ("conf", "recipes"):
        return found(root, "test_every_recipe.py", "compose/test_*.py")
    if path.parts[:2] != ("src", "components") or path.suffix != ".py":
        return set()
    inside = path.parts[2:-1]
    if inside[:1] in (("core",), ("parts",)):  # the tests of these rooms lie one folder higher
        inside = inside[1:]
    folder = ROOMS.get("/".join(inside), "/".join(inside))
    mirror = found(root, f"{folder}/test_{path.stem.lstrip('_')}.py".lstrip("/"))
    deep = len(path.parts) > 3  # a file beside the folders has no folder of tests but its own file
    return mirror or ((found(root, f"{folder}/test_*.py") or found(root, *MODELS)) if deep else set())


def found(root: Path, *patterns: str) -> set[str]:
    return {str(t.relative_to(root)) for pattern in patterns for t in root.glob(f"tests/{pattern}")}


def of_tests(path: Path, root: Path) -> set[str]:
    """A test is its own; a conftest.py belongs to its folder; what else lies here, to the tests that name it."""
    if path.name.startswith("test_"):
        return {str(path)} if (root / path).is_file() else set()
    if path.name == "conftest.py":
        return found(root, "/".join((*path.parts[1:-1], "test_*.py"))) if len(path.parts) > 2 else found(root, *MODELS)
    name = re.compile(rf"\b{re.escape(path.stem if len(path.parts) == 2 else path.parts[1])}\b")
    return {t for t in found(root, "test_*.py", "*/test_*.py") if name.search((root / t).read_text(encoding="utf8"))}


def main(arguments: list[str]) -> int:
    chosen = {t for f in touched() for t in mirrors(f)} | {t for t in ALWAYS if (ROOT / t).is_file()}
    print(f"{len(chosen)} test files:", *sorted(chosen), sep="\n  ", flush=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        f"--session-timeout={LIMIT}",
        "-m",
        "not slow",
        "-k",
        "not compiles and not fsdp",
        *sorted(chosen),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
