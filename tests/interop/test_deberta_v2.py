"""DeBERTa-v2's other shapes: one term alone, buckets far away, the newer head, the bare class; and what its mapping refuses by name."""

from __future__ import annotations

import json

import oracles_deberta_v2
import pytest
import torch
from parity import Oracle, close, logits_of_ours, logits_of_theirs, made
from safetensors.torch import load_file, save_file

from components.core.errors import UserError
from components.core.sockets import Batch
from components.interop import convert

transformers = pytest.importorskip("transformers")
CONFIG, OWN = oracles_deberta_v2.CONFIG, oracles_deberta_v2.OWN
SHAPES = {
    "c2p alone": {"pos_att_type": "c2p"},
    "p2c alone, matrices of its own": {**OWN, "pos_att_type": ["p2c"]},
    "a width of heads that is said": {"attention_head_size": 12},
    "buckets that grow soon": {"position_buckets": 4, "max_relative_positions": 20},
    "gradients in every part": {},
}


def deberta(name: str = "v3", cls: str = "DebertaV2ForMaskedLM", **fields) -> Oracle:
    return Oracle(name, cls, ("DebertaV2Config", {**CONFIG, **fields}))


@pytest.mark.parametrize("name", SHAPES)
def test_logits_gradients_and_files(name, tmp_path):
    oracle = deberta(name, **SHAPES[name])
    pair = made(oracle, tmp_path / "theirs")
    ids = pair.ids(length=50)
    assert close(logits_of_ours(oracle, pair, ids), logits_of_theirs(oracle, pair, ids)) <= 1e-5
    pair.theirs(input_ids=ids).logits.square().mean().backward()
    pair.ours(Batch(ids)).square().mean().backward()
    theirs, (position,) = pair.theirs.deberta, pair.ours.stack.positions
    assert close(position.table.weight.grad, theirs.encoder.rel_embeddings.weight.grad) <= 1e-4
    own, layer = pair.ours.stack.layers[1].block.attention, theirs.encoder.layer[1].attention.self
    for a, b in ((own.q, layer.query_proj), (own.k, layer.key_proj), (own.v, layer.value_proj)):
        assert close(a.weight.grad, b.weight.grad) <= 1e-4
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours")
    assert written.label == oracle.cls
    a, b = (load_file(tmp_path / f / "model.safetensors") for f in ("theirs", "ours"))
    assert a.keys() == b.keys()
    assert all(torch.equal(t, b[n]) for n, t in a.items())


def test_the_newer_head_is_the_same_under_other_names(tmp_path):
    """As files of v3 lie on the hub: the newer names under a config that does not say so, and what belonged to the discriminator."""
    pair = made(deberta(legacy=False), tmp_path)
    ids = pair.ids()
    with torch.no_grad():
        theirs = pair.theirs(input_ids=ids).logits
    assert close(logits_of_ours(deberta(), pair, ids), theirs) <= 1e-5
    config, weights = json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors")
    for name in ("legacy", "architectures"):
        del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    more = {"mask_predictions.dense.weight": torch.zeros(4), "deberta.embeddings.position_embeddings.weight": torch.zeros(4)}
    save_file({**weights, **more}, tmp_path / "model.safetensors")
    again = convert.read_folder(tmp_path)
    assert all(torch.equal(t, again.weights[n]) for n, t in pair.imported.weights.items())
    convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours")
    older = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        assert close(older(input_ids=ids).logits, theirs) <= 1e-6


def test_a_bare_model_gives_hidden_vectors(tmp_path):
    pair = made(deberta(cls="DebertaV2Model"), tmp_path / "theirs")
    ids = pair.ids()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        hidden = pair.theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = pair.ours(Batch(ids, valid=mask.bool()))
    assert close(found[mask.bool()], hidden[mask.bool()]) <= 1e-5
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours")
    assert written.label == "DebertaV2Model"


REFUSED = {
    "conv_kernel_size=3: only 0 is supported": {"conv_kernel_size": 3},
    "position_biased_input=True: only False is supported": {"position_biased_input": True},
    "relative_attention=False: only True is supported": {"relative_attention": False},
    "norm_rel_ebd='rms'": {"norm_rel_ebd": "rms"},
    r"pos_att_type=\['p2p'\]": {"pos_att_type": ["p2p"]},
    "embedding_size=24: not known": {"embedding_size": 24},
    "attention_head_size=8": {"attention_head_size": 8},
}


def test_what_it_has_no_part_for_is_refused_by_name(tmp_path):
    made(deberta(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for said, fields in REFUSED.items():
        (tmp_path / "config.json").write_text(json.dumps({**config, **fields}))
        with pytest.raises(UserError, match=said):
            convert.read_folder(tmp_path)
