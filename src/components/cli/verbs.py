"""The commands. Each module that is one says so itself in a literal ``VERB``, which is read here without importing the module.

``sentence``: what the overview says. ``group``: where it stands there. ``takes``: which words it reads, of ``recipe`` (``recipe=NAME``), ``run``
(a run's folder, its time, a checkpoint) and ``overrides`` (``path.option=value``); completion offers them. ``words``: what it takes as
``word=value`` beside overrides.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GROUPS = ("train", "use", "exchange", "look", "extend", "set up")  # in the order of the overview
LITERAL = re.compile(r"^VERB = (\{.*?\})$", re.M | re.S)


@dataclass(frozen=True)
class Verb:
    """One command, as its module says it."""

    name: str
    sentence: str
    group: str
    takes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@cache
def verbs() -> dict[str, Verb]:
    """{name: command}, by group, the one that the group is called after first, then by name."""
    found = [(f.stem, LITERAL.search(f.read_text(encoding="utf8"))) for f in sorted(Path(__file__).parent.glob("*.py"))]
    made = [Verb(name, **ast.literal_eval(literal[1])) for name, literal in found if literal is not None]
    return {
        verb.name: verb
        for verb in sorted(made, key=lambda verb: (GROUPS.index(verb.group), verb.name != verb.group, verb.name))
    }
