"""Begin a package with a part of your own: it installs, its test passes, and from then on it is one of the choices.

components new attention my_attention
components new norm my_norm --to ~/work
"""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from components import __version__
from components.cli import templates
from components.core import registry, terminal
from components.core.errors import UserError, nearest
from components.core.files import make_folder, whole_folder, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=", ".join(templates.PARTS))
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
    """UserError for what would not become a part: no template, a name that is taken, a folder that exists."""
    if kind not in registry.kinds():
        raise UserError(kind, "unknown kind", nearest(kind, templates.PARTS, called="kinds with a template"))
    if kind not in templates.PARTS:
        raise UserError(kind, "there is no template for this kind", f"there are: {', '.join(templates.PARTS)}")
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
    sentence, imports, body = templates.PARTS[kind]
    words = {
        "KIND": kind,
        "NAME": name,
        "CLASS": "".join(word.capitalize() for word in name.split("_")),
        "DIST": name.replace("_", "-"),
        "SENTENCE": sentence,
        "IMPORTS": imports,
        "VERSION": __version__,
    }
    texts = {
        "pyproject.toml": templates.PYPROJECT,
        "README.md": templates.README,
        f"src/{name}/__init__.py": templates.INIT,
        f"src/{name}/part.py": (templates.HEAD + body),
        f"tests/test_{name}.py": templates.TEST,
    }
    return {path: filled(text, words) for path, text in texts.items()}


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
