"""What is read from source is what the live class has: for every part of ours, so that help and completion never lie."""

from __future__ import annotations

import ast

import pytest

from components.core import registry
from components.core.index import own_entries
from components.core.signature import Signature
from components.core.source import Module, Sources

ENTRIES = own_entries()


def test_parts_are_found():
    assert len(ENTRIES) > 40
    assert {kind for kind, _ in ENTRIES} == set(registry.KINDS)


@pytest.mark.parametrize("entry", [e for e in ENTRIES.values() if not e.preset_of], ids=lambda e: e.label)
def test_source_and_class_agree(entry):
    target = registry.find(entry.kind, entry.name)
    assert (target.__module__, target.__qualname__) == (entry.module, entry.qualname)
    live = Signature.of_class(target)
    assert live == entry.signature
    registered = registry.LIVE[entry.kind, entry.name]
    assert (registered.was, registered.renamed) == (entry.was, entry.renamed)


@pytest.mark.parametrize("entry", [e for e in ENTRIES.values() if e.preset_of], ids=lambda e: e.label)
def test_presets_agree(entry):
    base = registry.find(entry.kind, entry.preset_of)
    assert registry.find(entry.kind, entry.name) is base
    live = Signature.of_class(base)
    assert set(live.options) == set(entry.signature.options)
    other = {n for n, o in live.options.items() if o.default != entry.signature.options[n].default}
    assert entry.sets, "a preset that sets nothing is another name for its base"
    assert other <= set(entry.sets) <= set(live.options)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda e: e.label)
def test_every_part_says_what_it_is(entry):
    signature = entry.signature
    assert signature.sentence.endswith("."), signature.sentence
    assert len(signature.sentence) < 200, "one sentence"
    silent = [n for n, o in signature.options.items() if not o.doc]
    assert not silent, f"no Args: line for {silent}"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda e: e.label)
def test_sizes_are_offered_and_defaults_allowed(entry):
    assert set(entry.signature.sizes) <= set(registry.KINDS[entry.kind].sizes)
    for option in entry.signature.options.values():
        if option.default != "<required>":
            assert option.type.fault(option.default) is None


@pytest.mark.parametrize("word", ["name", "preset"])
def test_an_option_cannot_take_a_word_of_the_nodes(word):
    """An option ``name`` would replace the part's own name in every composed config, and nothing could be composed."""
    text = f"class Part:\n    def __init__(self, *, {word}: str | None = None) -> None: ...\n"
    with pytest.raises(ValueError, match=f"{word}: no option can be called so"):
        Signature.of_node(ast.parse(text).body[0], Module("part", ast.parse(text), Sources({})))
