"""docs/reference/glossary.md: forty words at most, in order, all of them in use, and every kind whose name does not explain itself."""

from __future__ import annotations

import re
from pathlib import Path

from components.core import registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "glossary.md"
TERMS = dict(re.findall(r"^\*\*(.+?)\*\*: (.+)$", PAGE.read_text(encoding="utf8"), re.M))
# words that whoever trains models knows, and that mean the same here
PLAIN = {"tokenizer", "embedding", "attention", "norm", "ffn", "pooling", "init", "model", "loss", "optimizer", "data"}
PLAIN |= {"callback", "logger", "trainer", "strategy", "reward"}


def test_at_most_forty_terms_in_order():
    assert 30 <= len(TERMS) <= 40
    assert list(TERMS) == sorted(TERMS)
    lines = [line for line in PAGE.read_text(encoding="utf8").splitlines() if line.startswith("**")]
    assert len(lines) == len(TERMS)


def test_each_says_it_in_a_sentence_or_two():
    for term, text in TERMS.items():
        plain = re.sub(r"`[^`]*`|\([^)]*\)", "", text)
        assert text.endswith("."), term
        assert 1 <= len(re.findall(r"\.(?= |$)", plain)) <= 2, term


def test_every_term_is_in_use():
    pages = [f for f in (ROOT / "docs").rglob("*.md") if f != PAGE]
    used = "\n".join(f.read_text(encoding="utf8") for f in (*pages, *(ROOT / "src").rglob("*.py"))).lower()
    assert not [term for term in TERMS if not re.search(rf"\b{re.escape(term)}\b", used)]


def test_every_kind_that_needs_a_word_has_one():
    kinds = {name for name, kind in registry.kinds().items() if kind.origin.startswith("components")}
    assert len(kinds) > 30
    assert kinds - PLAIN <= {*TERMS}


def test_the_readme_leads_there():
    assert "docs/reference/glossary.md" in (ROOT / "README.md").read_text(encoding="utf8")
