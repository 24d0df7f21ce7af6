"""Instructions and answers from the running Python's standard library: a docstring asks, its function answers."""

from __future__ import annotations

import ast
import os
import sys
import textwrap
from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import Positive
from components.corpus.contents import hash_of
from components.corpus.example import Example, Message
from components.corpus.store import key_of
from components.parts.data._python import blocks, library_files, library_root, parsed


@register("data", "python_instructions")
class PythonInstructions:
    """Functions of the standard library as instructions: no download; licence: PSF.

    The user says the docstring's first paragraph and the function's first line, the assistant the function without its docstring.
    The set depends on the Python version, which the report names.

    Args:
        min_chars: functions that are shorter, without their docstring, are left out.
        max_chars: functions that are longer are left out.
        max_prompt: longer instructions are left out.
    """

    provides = ("conversations",)

    def __init__(self, *, min_chars: Positive = 30, max_chars: Positive = 400, max_prompt: Positive = 300) -> None:
        if min_chars > max_chars:
            raise ValueError(f"min_chars={min_chars} is more than max_chars={max_chars}")
        self.min_chars, self.max_chars, self.max_prompt = min_chars, max_chars, max_prompt
        self.notes = [f"functions with a docstring of the standard library of Python {sys.version.split()[0]}"]

    def fingerprint(self) -> str:
        held = [self.min_chars, self.max_chars, self.max_prompt, sys.version]
        return key_of("python_instructions", *held, hash_of(library_files()))

    def judge(self, text: str) -> bool:
        """ast.parse reads it as one function."""
        tree = parsed(text)
        return tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.FunctionDef)

    def examples(self) -> Iterator[Example]:
        root = library_root()
        for file in library_files():
            with open(file, encoding="utf8", errors="ignore") as f:
                source = f.read()
            for line, asked, answer in instructions(source, self.min_chars, self.max_chars):
                if len(asked) <= self.max_prompt:
                    said = (Message(role="user", content=asked), Message(role="assistant", content=answer))
                    yield Example(said, None, os.path.relpath(file, root), line)


def instructions(source: str, low: int, high: int) -> Iterator[tuple[int, str, str]]:
    """(line, instruction, function without its docstring) of each function that has one, none within another."""
    tree = parsed(source)
    if tree is not None:
        yield from _within(tree, source.split("\n"), low, high)  # not splitlines: a form feed ends no line for the parser


def _within(tree: ast.AST, lines: list[str], low: int, high: int) -> Iterator[tuple[int, str, str]]:
    if isinstance(tree, ast.FunctionDef):
        found = _told(tree, lines, high)
        if found is not None and low <= len(found[1]) <= high:
            yield tree.lineno, *found
            return
    for statement in blocks(tree):
        yield from _within(statement, lines, low, high)


def _told(node: ast.FunctionDef, lines: list[str], high: int) -> tuple[str, str] | None:
    """(instruction, answer). None without a docstring on its own lines and statements after it, or if they are clearly too long."""
    told = ast.get_docstring(node)
    if not told or len(node.body) < 2:
        return None
    docstring, after = node.body[0], node.body[1]
    if not node.lineno < docstring.lineno <= (docstring.end_lineno or 0) < after.lineno:
        return None
    head = lines[node.lineno - 1 : docstring.lineno - 1]
    rest = lines[docstring.end_lineno : node.end_lineno]
    if sum(len(line) - node.col_offset for line in (*head, *rest) if line.strip()) > high:
        return None
    while rest and not rest[0].strip():
        rest = rest[1:]
    answer = textwrap.dedent("\n".join([*head, *rest])) + "\n"
    made = parsed(answer)
    if made is None or len(made.body) != 1:  # a string of several lines that stands further left than its function
        return None
    paragraph = " ".join(told.split("\n\n", 1)[0].split())
    return f"{paragraph}\n\n{textwrap.dedent(chr(10).join(head)).strip()}", answer
