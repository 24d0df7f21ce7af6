"""The wirings: what each sees, what is shared, which layer gets which part."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from components import build
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo
from components.parts.attention.gqa import GroupedQueryAttention
from components.parts.norm.layer import LayerNorm

SIZES = dict(vocab_size=30, d_model=32, context_length=12)
IDS = torch.randint(0, 30, (2, 10), generator=torch.Generator().manual_seed(0))


def scrambled(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3)
    return model.double().eval()


def test_published_parameter_counts_on_meta():
    with torch.device("meta"):
        heads = {"name": "gqa", "n_heads": 12}
        sizes = dict(vocab_size=50257, d_model=768, n_layers=12, context_length=1024, position="learned", norm="layer")
        ffn = {"name": "mlp", "bias": True}
        gpt2 = build("model", "decoder", **sizes, ffn=ffn, head="tied", attention={**heads, "bias": ["q", "k", "v", "out"]})
        listing = build("model", "decoder", **sizes, ffn=ffn, attention={**heads, "bias": ["out"]})
    assert sum(p.numel() for p in gpt2.parameters()) == 124_439_808
    assert sum(p.numel() for p in listing.parameters()) == 163_009_536


def test_an_encoder_sees_both_ways_and_a_decoder_does_not():
    for name, sees in (("encoder", True), ("decoder", False)):
        model = scrambled(build("model", name, **SIZES))
        changed = IDS.clone()
        changed[:, -1] = (changed[:, -1] + 1) % 30
        assert torch.equal(model(IDS)[:, 0], model(changed)[:, 0]) is not sees


def test_encoder_decoder():
    model = scrambled(build("model", "encoder_decoder", **SIZES, n_layers=2, encoder={"name": "layers", "n_layers": 3}))
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (3, 2)
    source = IDS[:, :7]
    out = model(Batch(IDS, source=Batch(source)))
    later = IDS.clone()
    later[:, -1] = (later[:, -1] + 1) % 30
    assert torch.equal(out[:, :-1], model(Batch(later, source=Batch(source)))[:, :-1])
    other = source.clone()
    other[:, -1] = (other[:, -1] + 1) % 30
    assert not torch.allclose(out[:, 0], model(Batch(IDS, source=Batch(other)))[:, 0])
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[:, 7:] = False
    padded = torch.cat((source, source[:, :2]), 1)
    torch.testing.assert_close(model(Batch(IDS, source=Batch(padded, valid=valid))), out, rtol=1e-6, atol=1e-6)
    cache = build("cache", "growing")
    steps = [model(Batch(IDS[:, i : i + 1], source=Batch(source) if i == 0 else None), cache=cache) for i in range(10)]
    torch.testing.assert_close(torch.cat(steps, 1), out, rtol=1e-6, atol=1e-6)


def test_layers_that_differ_and_the_last_slice_wins():
    layers = {"every2": {"attention": "sliding_window"}, "last2": {"position": "none"}, "3": {"ffn": "glu", "norm": "layer"}}
    model = build("model", "decoder", **SIZES, n_layers=4, layers=layers)
    blocks = [layer.block for layer in model.stack.layers]
    assert [type(b.attention.mask).__name__ for b in blocks] == ["SlidingWindowMask", "FullMask"] * 2
    assert [type(b.attention.position).__name__ for b in blocks] == ["RotaryPosition"] * 2 + ["NoPosition"] * 2
    assert [type(b.ffn).__name__ for b in blocks] == ["MLP"] * 3 + ["GLU"]
    assert [type(b.ffn_norm).__name__ for b in blocks] == ["RMSNorm"] * 3 + ["LayerNorm"]
    assert type(model.stack.final_norm).__name__ == "RMSNorm"


def test_one_position_module_for_each_entry_of_a_pattern():
    layers = {"far": {"position": {"name": "rope", "base": 1e6}}}
    model = build("model", "decoder", **SIZES, n_layers=6, pattern=["near", "near", "far"], layers=layers)
    positions = [layer.block.attention.position for layer in model.stack.layers]
    assert [p.base for p in positions] == [1e4, 1e4, 1e6] * 2
    assert len({id(p) for p in positions}) == len(model.stack.positions) == 2


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
@pytest.mark.parametrize(
    "chosen",
    [
        {"pattern": ["a", "b"], "layers": {"b": {"ffn": "glu"}}},
        {"layers": {"last": {"attention": {"name": "gqa", "n_heads": 2}}}},
        {"layers": {"0": {"attention": {"name": "gqa", "n_heads": 8}}, "last": {"ffn": "glu"}}, "pattern": ["a", "b", "c"]},
    ],
    ids=["pattern", "heads", "both"],
)
def test_absolute_positions_are_added_once(position, chosen):
    model = build("model", "decoder", **SIZES, n_layers=4, position=position, **chosen)
    assert len(model.stack.positions) == 1
    entered = model.stack.enter(torch.zeros(1, 4, 32), SequenceInfo.of(Batch(IDS[:1, :4]), causal=True))
    alone = model.stack.positions[0].embed(torch.zeros(1, 4, 32), SequenceInfo.of(Batch(IDS[:1, :4]), causal=True))
    assert torch.equal(entered, alone)


def test_positions_are_told_apart_by_the_sizes_that_they_take():
    layers = {
        "last": {"attention": {"name": "gqa", "n_heads": 8, "head_dim": 8}}
    }  # as wide heads as the others, and more of them
    for position, count in (("rope", 1), ("alibi", 2)):
        model = build("model", "decoder", **SIZES, n_layers=3, position=position, layers=layers)
        assert len(model.stack.positions) == count


class Silent(torch.nn.Module):
    """An embedding that says nothing of dropout."""

    axes = {"table": ("vocab", "d_model")}

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(vocab_size, d_model)

    def forward(self, ids, _):
        return self.table(ids)


def test_an_embedding_without_dropout_will_do():
    for name in ("decoder", "encoder", "encoder_decoder"):
        model = build("model", name, **SIZES, embedding=Silent).train()
        batch = Batch(IDS, source=Batch(IDS)) if name == "encoder_decoder" else IDS
        assert model(batch).shape == (2, 10, 30)


def test_the_deeper_side_decides_how_small_branches_start():
    for sides in ({"encoder": 8, "decoder": 2}, {"encoder": 2, "decoder": 8}, {"encoder": 8, "decoder": 8}):
        nodes = {side: {"name": "layers", "n_layers": n} for side, n in sides.items()}
        model = build("model", "encoder_decoder", **SIZES, n_layers=2, **nodes)
        assert model.init.out_std == pytest.approx(model.init.std / 4)


def test_a_shared_position_is_once_in_the_state_dict():
    model = build("model", "decoder", **SIZES, n_layers=3, position="learned")
    assert [n for n in model.state_dict() if "table" in n] == ["embedding.table.weight", "stack.positions.0.table.weight"]


def test_classes_and_partials_are_makers_too():
    attention = partial(GroupedQueryAttention, n_heads=2, qk_norm=partial(LayerNorm, eps=0.1))
    model = build("model", "decoder", **SIZES, attention=attention, norm=LayerNorm)
    assert model.stack.layers[0].block.attention.q_norm.eps == 0.1
    assert isinstance(model.stack.final_norm, LayerNorm)


def test_dropout_of_the_embedding_acts_after_the_positions():
    model = build("model", "decoder", **SIZES, position="learned", embedding={"name": "token", "dropout": 0.999})
    nn.init.zeros_(model.embedding.table.weight)
    entered = []
    model.stack.layers[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    model.train()(IDS)
    assert (entered[0] == 0).float().mean() > 0.9


def test_a_fault_names_its_path():
    with pytest.raises(UserError, match=r"model\.layers\.3\.attention: n_heads=5 does not divide"):
        build("model", "decoder", **SIZES, layers={"last": {"attention": {"name": "gqa", "n_heads": 5}}})
