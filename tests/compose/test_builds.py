"""What composes is what is built: slices, inheritance and presets reach the modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.makers import make

CWD = Path(__file__).parent


def built(*overrides: str, recipe: str = "llama_tiny") -> Any:
    config = compose(recipe, ["model.n_layers=4", *overrides], cwd=CWD).config
    with torch.device("meta"):
        return make(config["model"], "model", vocab_size=300)


def blocks(model: Any) -> list[Any]:
    return [layer.block for layer in model.stack.layers]


def attentions(model: Any) -> list[Any]:
    return [next(m for m in b.modules() if type(m).__name__ == "GroupedQueryAttention") for b in blocks(model)]


def test_slices_reach_their_layers() -> None:
    model = built(
        "model.layers.every2.attention=sliding_window",
        "model.layers.every2.attention.mask.window=8",
        "model.layers.last.attention.n_heads=2",
    )
    assert [type(a.mask).__name__ for a in attentions(model)] == [
        "SlidingWindowMask",
        "FullMask",
        "SlidingWindowMask",
        "FullMask",
    ]
    assert [a.head_dim for a in attentions(model)] == [16, 16, 16, 32]


def test_positions_differ_by_layer() -> None:
    model = built("model.layers.last.position=none", "model.layers.0.attention.position.base=77.0")
    bases = [getattr(a.position, "base", None) for a in attentions(model)]
    assert bases[1] == bases[2] == 10000.0
    assert bases[0] == 77.0
    assert type(attentions(model)[3].position).__name__ != type(attentions(model)[1].position).__name__


def test_norms_inherit() -> None:
    model = built("model.norm=layer", "model.final_norm=rms")
    names = {type(m).__name__ for b in blocks(model) for m in b.children() if "Norm" in type(m).__name__}
    assert names == {"LayerNorm"}
    assert type(model.stack.final_norm).__name__ == "RMSNorm"


def test_the_sides_of_an_encoder_decoder_have_layers_of_their_own() -> None:
    model = built(
        "model=encoder_decoder",
        "model.encoder.n_layers=2",
        "model.decoder.layers.last.ffn=mlp",
        "model.encoder.attention.n_heads=2",
    )
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 4)
    ffns = [
        [type(m).__name__ for m in layer.modules() if type(m).__name__ in ("MLP", "GLU", "GatedLinearUnit")]
        for layer in model.decoder.layers
    ]
    assert ffns[0] == ffns[1] == ffns[2] != ffns[3]


def test_sizes_that_do_not_divide_are_said_with_their_path() -> None:
    with pytest.raises(UserError, match=r"attention: n_heads=5 does not divide d_model=64"):
        built("model.attention.n_heads=5", "model.attention.n_kv_heads=1")


SMALL = {"vocab_size": 30, "d_model": 16, "n_layers": 1, "context_length": 8}


def _weights(**options):
    made = build("model", "decoder", **SMALL, attention={"name": "gqa", "n_heads": 2}, **options)
    return torch.cat([p.detach().flatten() for p in made.parameters()])


def test_a_model_draws_from_its_seed_and_from_nothing_else() -> None:
    torch.manual_seed(1)
    first = _weights()
    torch.manual_seed(2)
    assert torch.equal(_weights(), first)
    assert torch.equal(_weights(seed=0), first)
    assert not torch.equal(_weights(seed=7), first)
    assert torch.equal(_weights(seed=7), _weights(seed=7))


def test_a_seed_is_a_models_or_a_parts_own() -> None:
    assert build("evaluation", "cloze", seed=5).seed == 5
    with pytest.raises(UserError, match=r"attention/gqa.seed: only a model draws"):
        build("attention", "gqa", d_model=16, n_heads=2, position="rope", seed=5)
    with pytest.raises(UserError, match="no number from 0 on"):
        _weights(seed=-1)
