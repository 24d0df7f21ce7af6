"""ELECTRA's other classes, the discriminator and the bare model, at a width of its own and at the model's; what its class cannot say."""

from __future__ import annotations

import oracles_electra
import pytest
import torch
from parity import Oracle, close, made
from safetensors.torch import load_file

from components.core.errors import UserError
from components.core.sockets import Batch
from components.interop import convert

transformers = pytest.importorskip("transformers")
SHAPES = {o.config[1]["embedding_size"]: o.config for o in oracles_electra.ORACLES}


@pytest.mark.parametrize("width", SHAPES)
@pytest.mark.parametrize("cls", ["ElectraForPreTraining", "ElectraModel"])
def test_scores_and_hidden_vectors(cls, width, tmp_path):
    config, fields = SHAPES[width]
    pair = made(Oracle(cls, cls, (config, {**fields, "hidden_act": "relu", "type_vocab_size": 3})), tmp_path / "theirs")
    ids, types = pair.ids(), pair.ids(seed=3) % 3
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    with torch.no_grad():
        theirs = pair.theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
        ours = pair.ours(Batch(ids, valid=mask.bool(), token_types=types))
    ours = ours.squeeze(-1) if theirs.ndim == 2 else ours
    assert ours.shape == theirs.shape
    assert close(ours[mask.bool()], theirs[mask.bool()]) <= 1e-5
    written = convert.write_folder(pair.imported.config, pair.imported.weights, pair.vocab, tmp_path / "ours", prefer=cls)
    assert written.label == cls
    a, b = (load_file(tmp_path / f / "model.safetensors") for f in ("theirs", "ours"))
    assert a.keys() == b.keys()
    assert all(torch.equal(t, b[n]) for n, t in a.items())


def test_a_projection_between_equal_widths_has_no_place_in_the_class(tmp_path):
    pair = made(oracles_electra.ORACLES[0], tmp_path / "theirs")
    config = {**pair.imported.config, "model": {**pair.imported.config["model"]}}
    config["model"]["embedding"] = {**config["model"]["embedding"], "width": 48}
    with pytest.raises(UserError, match=r"model\.embedding\.width=48"):
        convert.write_folder(config, pair.imported.weights, pair.vocab, tmp_path / "ours", prefer="ElectraForMaskedLM")
