"""docs/how_to/hydra_app.md: its files are written as they stand, its commands run in that folder, and print what it shows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm_processes")

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "hydra_app.md").read_text(encoding="utf8")
# all commands in one process, since importing torch takes seconds: [[word, ...], ...] -> [[what is printed, exit code], ...]
RUN = """
import contextlib, io, json, runpy, sys
from hydra.core.global_hydra import GlobalHydra
said = []
for words in json.loads(sys.argv[1]):
    GlobalHydra.instance().clear()
    sys.argv, out, err, code = words, io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as e:
            code = e.code
    said.append([out.getvalue() or err.getvalue(), code])
print(json.dumps(said))
"""


def commands() -> Iterator[tuple[str, str]]:
    """(command, what it prints)"""
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S):
        for said in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = said.partition("\n")
            yield command, output


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, tuple[str, int]]:
    folder = tmp_path_factory.mktemp("page")
    files = re.findall(r'^```yaml title="(.*?)"\n(.*?)^```', PAGE, re.M | re.S)
    files += re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", PAGE, re.M | re.S)
    assert len(files) == 6
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    words = [shlex.split(command)[1:] for command, _ in commands()]
    command = [sys.executable, "-c", RUN, json.dumps(words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {command: tuple(said) for (command, _), said in zip(commands(), json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize(("command", "output"), commands(), ids=[c for c, _ in commands()])
def test_a_command_prints_what_the_page_shows(printed, command, output) -> None:
    said, code = printed[command]
    if "--multirun" in command:
        assert re.findall(r"^(gqa|mla) \d+$", said, re.M) == ["gqa", "gqa", "mla", "mla"]
    else:
        assert said == output
        assert code == (2 if "; " in output else 0), "a mistake"


def test_every_kind_of_command_is_there() -> None:
    assert len([*commands()]) >= 9
