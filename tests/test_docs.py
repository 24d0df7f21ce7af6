"""What README and docs claim is run: Python blocks as they stand, commands that only look as they stand, training commands composed and built."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from components.check.cases import PROPERTIES
from components.cli import main, parser_of
from components.cli.verbs import verbs
from components.compose import compose
from components.core import registry
from components.studies.asked import WORDS
from components.studies.metrics import apart, metrics_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
READ = [
    p for p in PAGES if "<!-- walked" not in p.read_text(encoding="utf8")
]  # test_walks.py runs the others, whole and in order
LOOKING = {
    name for name, verb in verbs().items() if verb.group in ("look", "extend", "set up")
}  # need no run, and take no time


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf8"), re.M | re.S)


COMMANDS = [
    (p, line[2:]) for p in READ for block in blocks(p, "console") for line in block.splitlines() if line.startswith("$ ")
]
PYTHON = [(p, block) for p in READ for block in blocks(p, "python")]


def test_pages_have_commands_and_code():
    assert len(COMMANDS) >= 15
    assert len(PYTHON) >= 2


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[c for _, c in COMMANDS])
def test_commands(page, command, tmp_path, monkeypatch, capsys):  # noqa: ARG001  the page shows in a failure
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M)
        return
    assert program == "components"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("A page.\n\n" * 50)
    (tmp_path / "reviews.tsv").write_text("text\tlabel\n")
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n")
    (tmp_path / "iris.csv").write_text("petal,species\n")
    (tmp_path / "chat.jsonl").write_text("")
    (tmp_path / "posts.jsonl").write_text("")
    (tmp_path / "pairs.jsonl").write_text("")
    (tmp_path / "judged.jsonl").write_text("")
    if "runs/mine/config.yaml" in command:  # what an import leaves
        (tmp_path / "runs" / "mine").mkdir(parents=True)
        (tmp_path / "runs" / "mine" / "config.yaml").write_text(yaml.safe_dump(compose("llama_tiny").config))
    if words[0] in LOOKING:
        assert main(words) in (0, None)
    elif words[0] in ("train", "prepare", "ablate", "scale"):
        if words[0] == "ablate":
            metric = next((w.partition("=")[2] for w in words if w.startswith("metric=")), "val_loss")
            metrics_of(metric.split(","), [w for w in words[1:] if w.partition("=")[0] not in WORDS and "=" in w], tmp_path)
            words = [*apart(words)[0]]  # the rest is said of runs
        words = [w for w in words if w.partition("=")[0] not in verbs()[words[0]].words and w != "dry"]
        sweep = "--multirun" in words or words[0] == "ablate"
        words = [w for w in words[1:] if w != "--multirun" and not w.endswith("=RUN")]  # there is no such run here
        plain = [w.split(",")[0] if sweep else w for w in words]
        assert main(["validate", *plain]) in (0, None)
    else:
        asked = parser_of(words[0]).parse_intermixed_args(words[1:])  # UserError for a flag that the command does not take
        assert getattr(asked, {"import": "path", "explain": "subjects", "merge": "runs"}.get(words[0], "run"))
        own = words[0] if (ROOT / "conf" / f"{words[0]}.yaml").is_file() else ""  # groups of the command's own
        compose(None, getattr(asked, "overrides", []), cwd=tmp_path, command=own)
    capsys.readouterr()


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{p.name}-{i}" for i, (p, _) in enumerate(PYTHON)])
def test_python(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, kinds, properties = set(registry.entries()), dict(registry.KINDS), list(PROPERTIES)
    file = tmp_path / "page.py"
    file.write_text(code)
    exec(compile(code, str(file), "exec"), {"__name__": f"page_{page.stem}"})
    for kind, name in set(registry.entries()) - before:
        registry.unregister(kind, name)
    registry.KINDS.clear()
    registry.KINDS.update(kinds)
    PROPERTIES[:] = properties


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


CHOICE = re.compile(r"(?:^|[\s`])(?:[a-z_]+/)*([a-z_]+)=([a-z][a-z0-9_]*)(?=[\s`,]|$)")


def test_parts_that_pages_name_exist():
    """In running text and tables too: ``model/attention=mla``, ``loss=masked_lm``."""
    unknown, seen = [], 0
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf8")):
            for kind, name in CHOICE.findall(code):
                if kind in registry.KINDS and name not in ("null", "inherit", "mine", "my_attention", "true", "false"):
                    seen += 1
                    if (kind, name) not in registry.entries():
                        unknown.append(f"{page.relative_to(ROOT)}: {kind}={name}")
    assert not unknown, "\n".join(unknown)
    assert seen > 50
