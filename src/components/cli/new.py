"""Start a package with a part of your own. It installs, its test passes, and its part can be chosen like any other.

components new attention my_attention
components new norm my_norm --to ~/work
"""

from __future__ import annotations

import argparse
import keyword
import re
from functools import cache
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path

from components import __version__
from components.core import registry, terminal
from components.core.errors import UserError, nearest
from components.core.files import make_folder, whole_folder, write_text

VERB = {
    "sentence": "begin a package with a part of your own",
    "group": "extend",
}

# what the package is made of: a small part of each kind that works and holds its contract, to be changed into one's own
TEMPLATES = resources("components.cli") / "templates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=", ".join(kinds()))
    parser.add_argument("name", metavar="NAME", help="of the part and of its package: letters, digits and _")
    parser.add_argument("--to", metavar="FOLDER", default=".", help="where the package's folder is made (here)")


def run(args: argparse.Namespace) -> int:
    folder = Path(args.to).expanduser() / args.name
    check(args.kind, args.name, folder)
    texts = files(args.kind, args.name)
    with whole_folder(folder) as part:
        for path, text in texts.items():
            make_folder((part / path).parent)
            write_text(part / path, text)
    for path in texts:
        terminal.show(folder / path)
    label = f"{args.kind}/{args.name}"
    terminal.show(
        f"\nnext: pip install -e {folder}   then: components check {label}   and: components train model/{args.kind}={args.name}"
    )
    return 0


def check(kind: str, name: str, folder: Path) -> None:
    """UserError if no part can come of it: no template, a taken name, an existing folder."""
    if kind not in registry.kinds():
        raise UserError(kind, "unknown kind", nearest(kind, kinds(), called="kinds with a template"))
    if kind not in kinds():
        raise UserError(kind, "there is no template for this kind", f"there are: {', '.join(kinds())}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(name, "the name becomes a package's", "lower-case letters, digits and _, a letter first")
    if taken := registry.entries(kind).get((kind, name)):
        whose = "lightning-components" if taken.origin == "components" else taken.origin
        raise UserError(
            f"{kind}/{name}",
            f"{whose} has a part of this name ({taken.module}), and {name} would be a second",
            "choose another",
        )
    if folder.exists():
        raise UserError(str(folder), "it exists already", "choose another name, or another folder with --to")
    if find_spec(name) is not None:
        raise UserError(name, "there is a Python package of this name, which yours would hide", "choose another")


def files(kind: str, name: str) -> dict[str, str]:
    """{path: text} of the package."""
    part = template(f"parts/{kind}.py")
    words = {
        "KIND": kind,
        "NAME": name,
        "CLASS": "".join(word.capitalize() for word in name.split("_")),
        "DIST": name.replace("_", "-"),
        "SENTENCE": part.splitlines()[0].partition(": ")[2],  # its first line says what the part does
        "VERSION": __version__,
    }
    texts = {
        "pyproject.toml": template("pyproject.toml"),
        "README.md": template("README.md"),
        f"src/{name}/__init__.py": template("__init__.py"),
        f"src/{name}/part.py": part,
        f"tests/test_{name}.py": template("test.py"),
    }
    return {path: filled(text, words) for path, text in texts.items()}


@cache
def kinds() -> tuple[str, ...]:
    """The kinds with a template."""
    return tuple(sorted(f.name.partition(".")[0] for f in TEMPLATES.joinpath("parts").iterdir() if f.name.endswith(".py.txt")))


def template(path: str) -> str:
    """The text of a file in ``templates/``, with ``@WORDS@`` to fill in."""
    return TEMPLATES.joinpath(f"{path}.txt").read_text(encoding="utf8")


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
