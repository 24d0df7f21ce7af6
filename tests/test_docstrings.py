"""The docstring of a part's class begins with the catalogue's sentence; that of its module adds the idea and the source."""

from __future__ import annotations

import ast
import inspect
import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest

import components
from components.catalogue.page import SOURCE
from components.core.index import own_entries

ROOT = Path(inspect.getfile(components)).parent.parent
PARTS = [e for e in own_entries().values() if not e.preset_of]
ALIKE = 0.85  # two sentences that share more than this of their letters say the same

OWN_KINDS = {
    "callback",
    "data",
    "logger",
    "strategy",
    "task",
    "trainer",
}  # the user's data, Lightning's features, our own tasks
MODEL_CARDS = re.compile("Gemma|Llama|OpenAI")  # published without a paper
WITHOUT_SOURCE = {  # too plain to have one, or ours
    "adapter/none",
    "attention/none",
    "decoding/greedy",
    "decoding/sample",
    "embedding/number",
    "ffn/none",
    "init/rules",
    "mask/full",
    "schedule/sequence",
    "stack/layers",
    "tokenizer/char",
    "tokenizer/none",
    "tokenizer/of_run",
    "tokenizer/word",
    "tuning/all",
}


def documented(entry) -> tuple[str, str]:
    """The docstrings of the module and of the class or function."""
    tree = ast.parse((ROOT / Path(*entry.module.split("."))).with_suffix(".py").read_text())
    found = next(n for n in tree.body if getattr(n, "name", "") == entry.qualname)
    return ast.get_docstring(tree) or "", ast.get_docstring(found) or ""


def opening(doc: str) -> str:
    """The first sentence, without the name before its colon."""
    text = re.split(r"(?<=\.)\s", " ".join(doc.split("\n\n", 1)[0].split()))[0]
    return re.sub(r"^[^:.]{2,60}: ", "", text).lower().rstrip(".")


def label(doc: str) -> str:
    found = re.match(r"([^:.,;]{2,60}): ", doc)
    return found[1].lower() if found else ""


@pytest.mark.parametrize("entry", PARTS, ids=lambda e: e.label)
def test_module_and_class_do_not_say_the_same(entry):
    module, own = documented(entry)
    assert module, "the module says the idea and the source"
    assert own, "the class says what the catalogue shows"
    assert not label(own) or label(module) != label(own)
    assert SequenceMatcher(None, opening(module), opening(own), autojunk=False).ratio() < ALIKE


@pytest.mark.parametrize(
    "entry", [e for e in PARTS if e.kind not in OWN_KINDS and e.label not in WITHOUT_SOURCE], ids=lambda e: e.label
)
def test_a_part_names_its_source(entry):
    doc = entry.signature.doc
    assert SOURCE.search(doc) or MODEL_CARDS.search(doc), "name the paper, its year and its arXiv number"
