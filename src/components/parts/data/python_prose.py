"""English text without a download: the docstrings that are installed already."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.contents import hash_of
from components.corpus.document import Document
from components.corpus.store import key_of

SKIP = {"__pycache__", "site-packages", "dist-packages", "node_modules"}
# By pattern and not by parsing: parsing the larger packages takes half a minute.
DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.S)
BLANK = re.compile(r"\n[ \t]*\n")
OPENS = re.compile(r"[A-Z][a-z']*[ ,]")
CODE = re.compile(r">>>|::|[{}=<>|\\_-]{2}|\s[-*=|]\s|[;@#]|https?:|, optional\)")
HEADING = re.compile(r"[A-Z][\w ]* [-=~^]{3,} ")
LETTERS = re.compile(r"[A-Za-z ,.'`-]")


@register("data", "python_prose")
class PythonProse:
    """Paragraphs from docstrings of the standard library and of installed packages, each a document on one line: no download.

    Licences: those of the packages, which are read where they are installed.

    Args:
        packages: import names of packages to read besides the standard library.
        min_chars: shorter paragraphs are left out.
    """

    provides = ("text",)

    def __init__(
        self,
        *,
        packages: tuple[str, ...] = (
            "torch",
            "lightning",
            "torchmetrics",
            "numpy",
            "sympy",
            "networkx",
            "fsspec",
            "matplotlib",
            "hydra",
            "omegaconf",
            "rich",
            "tokenizers",
            "yaml",
        ),
        min_chars: Positive = 80,
    ) -> None:
        self.packages, self.min_chars = list(packages), min_chars
        self.roots = [sysconfig.get_paths()["stdlib"], *map(_root, self.packages)]
        self.notes = [f"docstrings of Python {sys.version.split()[0]} and of {', '.join(self.packages) or 'no package'}"]

    def files(self) -> Iterator[tuple[str, str]]:
        """(file, its name below the root's parent), in an order that depends on nothing but names."""
        for root in self.roots:
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(set(folders) - SKIP)
                for name in sorted(n for n in names if n.endswith((".py", ".pyi"))):
                    file = os.path.join(folder, name)
                    yield file, os.path.relpath(file, os.path.dirname(root))

    def documents(self) -> Iterator[Document]:
        for file, name in self.files():
            with open(file, encoding="utf8", errors="ignore") as f:
                source = f.read()
            for line, text in prose(source, self.min_chars):
                yield Document(text, name, line)

    def fingerprint(self) -> str:
        return key_of("python_prose", self.packages, self.min_chars, sys.version, hash_of(file for file, _ in self.files()))


def _root(package: str) -> str:
    found = find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UserError("data.packages", f"no installed package {package!r}", "give import names, such as torch")
    return found.submodule_search_locations[0]


def prose(source: str, min_chars: int) -> Iterator[tuple[int, str]]:
    """(line, text) of each paragraph of a docstring that reads as sentences: a capital first, an end last, hardly anything but letters."""
    line, at = 1, 0  # line of the place ``at``
    for docstring in DOCSTRING.finditer(source):
        for start, part in _parts(docstring):
            text = HEADING.sub("", " ".join(part.split()), count=1)
            if len(text) < min_chars or not text.endswith((".", "?", "!")) or not OPENS.match(text) or CODE.search(text):
                continue
            if len(LETTERS.findall(text)) >= 0.93 * len(text):
                line += source.count("\n", at, start)
                at = start
                yield line, text


def _parts(docstring: re.Match[str]) -> Iterator[tuple[int, str]]:
    """(place in the source of the first character other than a space, text) between the docstring's blank lines."""
    start, last = docstring.span(2)
    for end, following in [*(gap.span() for gap in BLANK.finditer(docstring.string, start, last)), (last, last)]:
        part = docstring.string[start:end]
        yield start + len(part) - len(part.lstrip()), part
        start = following
