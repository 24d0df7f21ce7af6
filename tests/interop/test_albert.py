"""ALBERT's bare class, the gradients of the layer that all share, and what its mapping refuses."""

from __future__ import annotations

import json

import oracles_albert
import pytest
import torch
from parity import Oracle, close, made
from safetensors.torch import load_file

from components.core.errors import UserError
from components.core.sockets import Batch
from components.interop import convert

transformers = pytest.importorskip("transformers")
CONFIG = oracles_albert.CONFIG


def test_a_bare_model_gives_hidden_vectors_and_leaves_its_pooler(tmp_path):
    pair = made(Oracle("bare", "AlbertModel", ("AlbertConfig", CONFIG)), tmp_path / "theirs")
    ids = pair.ids()
    with torch.no_grad():
        assert close(pair.ours(Batch(ids)), pair.theirs(input_ids=ids).last_hidden_state) <= 1e-5
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours")
    assert written.label == "AlbertModel"
    a, b = (load_file(tmp_path / f / "model.safetensors") for f in ("theirs", "ours"))
    assert a.keys() - b.keys() == {"pooler.weight", "pooler.bias"}
    assert all(torch.equal(t, a[n]) for n, t in b.items())


def test_the_layer_that_all_share_learns_from_every_pass(tmp_path):
    pair = made(oracles_albert.ORACLES[0], tmp_path)
    ids = pair.ids()
    pair.theirs(input_ids=ids).logits.square().mean().backward()
    pair.ours(Batch(ids)).square().mean().backward()
    theirs = pair.theirs.albert.encoder.albert_layer_groups[0].albert_layers[0]
    (layer,) = pair.ours.stack.layers
    assert close(layer.block.attention.q.weight.grad, theirs.attention.query.weight.grad) <= 1e-4
    assert close(layer.block.ffn.out.weight.grad, theirs.ffn_output.weight.grad) <= 1e-4
    table = pair.theirs.albert.embeddings.word_embeddings.weight
    assert close(pair.ours.embedding.inner.table.weight.grad, table.grad) <= 1e-4


def test_layers_in_groups_are_refused_by_name(tmp_path):
    made(oracles_albert.ORACLES[0], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_groups": 2}))
    with pytest.raises(UserError, match="num_hidden_groups=2: only 1 is supported"):
        convert.read_folder(tmp_path)
