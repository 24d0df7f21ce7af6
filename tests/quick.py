"""``make quick``: the tests of the files touched since the branch began (and not yet committed), in at most a minute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALWAYS = ("tests/test_floors.py", "tests/test_signatures.py")
LIMIT = 55  # seconds; the rest of the minute is pytest's start


def git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line] if done.returncode == 0 else []


def touched() -> set[str]:
    """Uncommitted and untracked files, and those of this branch since it left main; on a clean main, the last commit's."""
    base = next((b for name in ("origin/main", "main") for b in git("merge-base", "HEAD", name)), "HEAD")
    files = {*git("diff", "--name-only", base), *git("ls-files", "--others", "--exclude-standard")}
    return files or set(git("diff", "--name-only", "HEAD~1"))


def mirrors(file: str, root: Path = ROOT) -> set[str]:
    """Test files for one touched file: itself, its mirror, or else all tests of the folder that mirrors its own."""
    path = Path(file)
    if path.parts[0] == "tests":
        return {file} if path.name.startswith("test_") and (root / file).is_file() else set()
    if path.parts[0] in ("conf", "recipes"):
        return {
            str(t.relative_to(root)) for t in [*root.glob("tests/test_every_recipe.py"), *root.glob("tests/compose/test_*.py")]
        }
    if path.parts[:2] != ("src", "components") or path.suffix != ".py":
        return set()
    folder = root.joinpath("tests", *path.parts[2:-1])
    mirror = folder / f"test_{path.stem.lstrip('_')}.py"
    if mirror.is_file():
        return {str(mirror.relative_to(root))}
    deep = len(path.parts) > 3  # a file beside the folders has no folder of tests but its own file
    return {str(t.relative_to(root)) for t in folder.glob("test_*.py")} if deep else set()


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
        *sorted(chosen),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
