"""Every known architecture: the same logits, the same greedy text, weights in and out byte for byte, and the published sizes.

``python tests/interop/test_every_architecture.py`` writes docs/architectures.md, the spelled-out forms of the recipes, and the list of mappings that have
a row; with names of rows it measures these alone.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from parity import (
    Oracle,
    Pair,
    close,
    logits_of_ours,
    logits_of_theirs,
    made,
    published_parameters,
    quoted,
    source_ids,
    target_ids,
)

from components import build
from components.compose import compose
from components.core.sockets import Batch
from components.interop import convert
from components.interop.architecture import Architecture, Rule
from components.interop.architectures._held import HELD
from components.interop.compare import explicit
from components.interop.config import architecture_of, at, recipe_of
from components.interop.tensors import steps

pytest.importorskip("transformers")

HERE = Path(__file__).parent
ORACLES = [o for f in sorted(HERE.glob("oracles_*.py")) for o in import_module(f.stem).ORACLES]
CLOSE = 1e-5
APPLIED: dict[str, tuple[Architecture, list[Rule]]] = {}  # the mapping of each row, and the rules that its model needs
every = pytest.mark.parametrize("oracle", ORACLES, ids=str)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """The models of each row, made once."""
    known: dict[str, Pair] = {}

    def pair(oracle: Oracle) -> Pair:
        if oracle.name not in known:
            known.clear()  # rows come one after another
            known[oracle.name] = made(oracle, tmp_path_factory.mktemp("theirs"))
        return known[oracle.name]

    return pair


def test_there_are_rows():
    assert len({o.name for o in ORACLES}) == len(ORACLES) >= 3


@every
def test_logits_agree(oracle, pairs):
    pair = pairs(oracle)
    ids = pair.ids(length=oracle.length)
    assert close(logits_of_ours(oracle, pair, ids), logits_of_theirs(oracle, pair, ids)) <= CLOSE
    config, shapes = explicit(pair.imported.config), {n: t.shape for n, t in pair.imported.weights.items()}
    applied = steps(pair.imported.architecture, shapes, lambda path: at(config, path))
    APPLIED[oracle.name] = (pair.imported.architecture, [step.rule for step in applied])


@every
def test_logits_agree_with_padding_on_the_left(oracle, pairs):
    if not oracle.padded:
        pytest.skip("its class does not take left padding as documented in the row")
    pair = pairs(oracle)
    ids = pair.ids()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    if oracle.source:
        _padded_source_and_target(pair, ids, mask)
        return
    theirs = logits_of_theirs(oracle, pair, ids, attention_mask=mask, **_positions(pair, positions + oracle.first_position))
    ours = logits_of_ours(oracle, pair, ids, valid=mask.bool(), positions=positions)
    assert close(ours[mask.bool()], theirs[mask.bool()]) <= CLOSE


def _padded_source_and_target(pair: Pair, ids: torch.Tensor, mask: torch.Tensor) -> None:
    """The source on either side, the target on the left; their classes count padding as positions."""
    source = source_ids(pair)
    for padding in (slice(None, 3), slice(-3, None)):
        seen = torch.ones_like(source)
        seen[0, padding] = 0
        given = {"attention_mask": seen, "decoder_input_ids": ids, "decoder_attention_mask": mask}
        counted = [torch.arange(x.shape[1]).expand_as(x) for x in (source, ids)]
        with torch.no_grad():
            theirs = pair.theirs(input_ids=source, **given).logits
            read = Batch(source, valid=seen.bool(), positions=counted[0])
            ours = pair.ours(Batch(ids, valid=mask.bool(), positions=counted[1], source=read))
        assert close(ours[mask.bool()], theirs[mask.bool()]) <= CLOSE


def _positions(pair: Pair, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """Classes that do not take position_ids count them from the attention mask."""
    import inspect

    return {"position_ids": positions} if "position_ids" in inspect.signature(pair.theirs.forward).parameters else {}


@every
def test_logits_agree_with_padding_on_the_right(oracle, pairs):
    pair = pairs(oracle)
    if oracle.source or "causal" not in getattr(pair.ours, "lacks", ()):
        pytest.skip("no position of a decoder sees what is on its right; sources are padded there in the test above")
    ids = pair.ids()
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    theirs = logits_of_theirs(oracle, pair, ids, attention_mask=mask)
    ours = logits_of_ours(oracle, pair, ids, valid=mask.bool())
    assert close(ours[mask.bool()], theirs[mask.bool()]) <= CLOSE


@every
def test_segments_make_the_same_difference(oracle, pairs):
    pair = pairs(oracle)
    embedding = pair.imported.config["model"]["embedding"]
    types = embedding.get("inner", embedding).get("n_types", 1)  # where it is projected, what is inside has them
    if types < 2:
        pytest.skip("its class knows no segments")
    ids = pair.ids()
    segments = (torch.arange(ids.shape[1]) * types // ids.shape[1]).expand_as(ids)
    theirs = logits_of_theirs(oracle, pair, ids, token_type_ids=segments)
    assert close(logits_of_ours(oracle, pair, ids, token_types=segments), theirs) <= CLOSE
    assert close(logits_of_ours(oracle, pair, ids), theirs) > CLOSE


@every
def test_documents_are_as_if_alone(oracle, pairs):
    if oracle.source:
        pytest.skip("an encoder-decoder's target is one document")
    pair = pairs(oracle)
    ids = pair.ids(rows=1)
    documents = torch.zeros_like(ids)
    documents[:, 10:] = 1
    packed = logits_of_ours(oracle, pair, ids, documents=documents)
    alone = torch.cat([logits_of_theirs(oracle, pair, part) for part in (ids[:, :10], ids[:, 10:])], 1)
    assert close(packed, alone) <= CLOSE


@every
def test_greedy_text_is_the_same(oracle, pairs):
    if not oracle.generates:
        pytest.skip("it does not generate")
    pair = pairs(oracle)
    new = 12
    if oracle.source:
        start = target_ids(pair)
        theirs = pair.theirs.generate(input_ids=source_ids(pair), decoder_input_ids=start, **_greedy(new))
        batch = Batch(start, source=Batch(source_ids(pair)))
    else:
        ids = pair.ids()
        theirs = pair.theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **_greedy(new))
        batch = Batch(ids)
    greedy = build("decoding", "greedy")
    made_ = greedy.generate(pair.ours, batch, cache=build("cache", "growing"), max_new_tokens=new)
    assert torch.equal(made_, theirs)


def _greedy(new: int) -> dict:
    return {
        "max_new_tokens": new,
        "min_new_tokens": new,
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": -1,
        "pad_token_id": 0,
    }


@every
def test_weights_come_out_as_they_went_in(oracle, pairs, tmp_path):
    import transformers
    from safetensors.torch import load_file

    pair = pairs(oracle)
    label = pair.imported.architecture.label
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "out", prefer=label)
    assert written.label == label
    before, after = (load_file(f / "model.safetensors") for f in (pair.folder, tmp_path / "out"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name]), name
    again = getattr(transformers, oracle.cls).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    if oracle.prepare is not None:
        oracle.prepare(again)
    ids = pair.ids()
    with torch.no_grad():
        more = {"decoder_input_ids": ids, "input_ids": source_ids(pair)} if oracle.source else {"input_ids": ids}
        assert torch.equal(again(**more).logits, pair.theirs(**more).logits)


PUBLISHED = [(o, r) for o in ORACLES for r in o.recipes]


@pytest.mark.parametrize(("oracle", "recipe"), PUBLISHED, ids=lambda x: str(x))
def test_published_sizes(oracle, recipe):
    source = quoted(recipe)
    architecture = architecture_of(source, recipe)
    nodes, _ = recipe_of(architecture, source, recipe)
    composed = compose(recipe).config
    assert not convert.differences(composed["model"], convert.spelled_out(nodes)["model"])
    model = convert.on_meta(composed, nodes["vocab_size"])
    assert sum(p.numel() for p in model.parameters()) == published_parameters(oracle, source)


# what models of these classes may have, and the tiny ones here have not: heads of their own, biases, Mamba's D, queries in one matrix
UNSEEN = re.compile(r"head\..*|.*\.bias|.*\.attention\.D|.*\.attention\.q\.(weight|\{p\})")


def test_no_rule_of_a_mapping_is_idle():
    """A rule that matches nothing in any row is a typo, or not needed."""
    if len(APPLIED) < len(ORACLES):
        pytest.skip("rows are left out")
    dead = {}
    for architecture in {id(a): a for a, _ in APPLIED.values()}.values():
        used = [id(rule) for a, rules in APPLIED.values() if a is architecture for rule in rules]
        idle = [r.our_names for r in architecture.tensors if id(r) not in used and not UNSEEN.fullmatch(r.our_names[0])]
        dead |= {architecture.label: idle} if idle else {}
    assert not dead


def test_the_page_is_as_the_rows():
    page = (HERE.parent.parent / "docs" / "architectures.md").read_text(encoding="utf8")
    for oracle in ORACLES:
        assert f"| {oracle.name} |" in page, "python tests/interop/test_every_architecture.py writes it anew"


def test_the_held_are_those_with_a_row():
    assert set(HELD) == {o.label for o in ORACLES}, "python tests/interop/test_every_architecture.py writes the list anew"


if __name__ == "__main__":
    from page import write, write_goldens, write_held

    write(ORACLES, sys.argv[1:])
    write_held(ORACLES)
    write_goldens(ORACLES)
