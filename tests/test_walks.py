"""Pages that are walked as a reader walks them: in one fresh folder, from top to bottom, files written, commands run, code executed.

``<!-- walked -->`` on a page says that it is. A fence with a title is a file of that name. ``<!-- walked with: WORDS -->`` before a block of commands shortens
each training in it: the words take the place of those for the same option. What a page shows below a command must come, in this order: digits may differ,
``...`` stands for lines left out, and lines that a model wrote (``    | ``) are its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import warm_server

from components.cli import main

pytestmark = pytest.mark.usefixtures("warm_processes")

ROOT = Path(__file__).parents[1]
WALKED = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "<!-- walked" in p.read_text(encoding="utf8")]
FENCE = re.compile(
    r"(?:<!-- walked with: (?P<words>[^>]*?) -->\n\n?)?^```(?P<language>\w+)(?P<title> title=\"[^\"]+\")?\n(?P<text>.*?)^```",
    re.M | re.S,
)
BOOK = "ROMEO:\nThe quick brown fox number {i} jumps over the lazy dog, {i} times.\n\n"


def masked(line: str) -> str:
    """Without what differs from run to run: digits, and with them paths of times; how wide a column is."""
    line = re.sub(r"(/[\w.-]+)+/(?=bo?o?k\.txt|runs)", "", line)
    line = re.sub(r"\d[\d,.:_-]*(e-\d+)?", "0", line)
    return re.sub(r"\s+", " ", line).strip()


def must_come(shown: list[str], said: str, command: str) -> None:
    lines = [masked(line) for line in said.splitlines()]
    at = 0
    for line in shown:
        if line.strip() in ("", "...") or line.startswith("    | "):
            continue
        if re.search(r"  finished  |^ +\w+ seed=\d", line):
            continue  # how a row of a sweep's table wraps depends on the width of its figures
        want = masked(line)
        assert want in lines[at:], f"{command}\nshows: {line}\nsaid:\n{said}"
        at = lines.index(want, at) + 1


def shortened(words: list[str], instead: list[str]) -> list[str]:
    names = {word.split("=")[0] for word in instead}
    return [word for word in words if word.split("=")[0] not in names] + instead


def run(command: str, instead: list[str]) -> str:
    """What a command says, errors too; in this process, where that is possible."""
    program, *words = shlex.split(command)
    if program == "python":
        environment = {**os.environ, "PYTHONPATH": warm_server.on_path(str(ROOT / "src"))}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
    assert program == "components", command
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([words[0], *shortened(words[1:], instead)] if words[0] == "train" else words)
    assert code in (0, None, 2), said.getvalue()
    assert (code == 2) == ("\nerror: " in f"\n{said.getvalue()}"), said.getvalue()
    return said.getvalue()


def walk(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for fence in FENCE.finditer(page.read_text(encoding="utf8")):
        text, instead = fence["text"], shlex.split(fence["words"] or "")
        if fence["title"]:
            file = Path(fence["title"].split('"')[1])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf8")
        elif fence["language"] == "python":
            exec(compile(text, str(page), "exec"), names)
        elif fence["language"] == "console":
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, *shown = part.splitlines()
                said = run(command, instead)
                if command.startswith(("components generate", "components chat")):
                    continue  # a model's own words
                must_come(shown, said, command)


# trainings of a few steps, and an import of transformers: up to 15 s a page; compare sweeps four runs, each a process of its own: 28 s
@pytest.mark.parametrize("page", WALKED, ids=[p.stem for p in WALKED])
def test_walk(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("".join(BOOK.format(i=i) for i in range(2000)))
    walk(page)


def test_what_does_not_come_is_told():
    must_come(["step 10  loss 3.2", "..."], "one\nstep 4  loss 99.1\n", "x")
    with pytest.raises(AssertionError, match="shows: step 10"):
        must_come(["step 10 loses 3.2"], "step 10  loss 3.2\n", "x")
    assert shortened(["a=1", "b=2"], ["b=3", "c=4"]) == ["a=1", "b=3", "c=4"]
