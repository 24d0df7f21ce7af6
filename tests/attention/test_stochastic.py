"""Stochastic mixer: what is drawn and how often, that each mixer is the plain one, which of them learn, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mixer_tools import D, check_documents_and_padding, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.compose import compose
from components.core import registry
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, Place, Terms, name_parts
from components.core.traits import lacks

PLAIN = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "position": {"name": "rope", "layout": "half"}}
DELTA = {"name": "gated_delta_net", "n_heads": 4, "position": "none"}
MIXERS = [PLAIN, DELTA, {"name": "lstm"}]
MODEL = {
    "vocab_size": 40,
    "d_model": D,
    "n_layers": 3,
    "context_length": 32,
    "position": "none",
    "ffn": {"name": "mlp", "d_ff": 24},
}


def stochastic(**options):
    return drawn("stochastic", **{"mixers": MIXERS, **options})


def model(**options):
    made = build("model", "decoder", **MODEL, attention={"name": "stochastic", "mixers": MIXERS, **options}).double()
    name_parts(made)
    return made


def loss_of(made):
    def objective(hidden, head, _):
        return Terms({"loss": (head(hidden).square().sum(), torch.ones(()))})

    return made(Batch(torch.arange(24).view(2, 12) % 40), objective).losses["loss"][0]


def parts_of(made):
    return [layer.block.attention for layer in made.stack.layers]


def layouts(made, steps, seed=0):
    """What the layers draw, for each of so many steps."""
    parts, found = parts_of(made), []
    for step in range(steps):
        for part in parts:
            part.begin_step(seed, step)
        found.append(tuple(part.drawn for part in parts))
    return found


def test_each_is_drawn_as_often_as_its_weight_says():
    weights = (5.0, 3.0, 2.0)
    found = layouts(model(weights=weights), 2000)
    for layer in zip(*found, strict=True):
        counts = Counter(layer)
        for index, weight in enumerate(weights):  # 4 standard deviations of 2000 draws
            assert counts[index] / 2000 == pytest.approx(weight / 10, abs=4 * (weight / 10 * (1 - weight / 10) / 2000) ** 0.5)
    mixtures = Counter(found)
    assert len(mixtures) == 27  # layers draw for themselves: every mixture over depth comes up
    assert mixtures[0, 1, 2] / 2000 == pytest.approx(0.5 * 0.3 * 0.2, abs=0.016)


def test_a_draw_is_a_function_of_seed_step_and_place():
    one, other = model(), model()
    assert layouts(one, 50) == layouts(other, 50)
    assert layouts(one, 50) != layouts(other, 50, seed=1)
    assert layouts(one, 50)[30:] == [layouts(other, 50)[step] for step in range(30, 50)]


def test_all_layers_draw_as_one_where_they_are_told_to():
    found = layouts(model(draws="model"), 60)
    assert all(len(set(layout)) == 1 for layout in found)
    assert {layout[0] for layout in found} == {0, 1, 2}


@pytest.mark.parametrize("main", [0, 1, 2])
def test_outside_of_training_it_is_the_plain_model_of_the_mixer_that_is_named(main):
    """Logits, and token by token with a cache."""
    made = model(main=main).eval()
    plain = build("model", "decoder", **MODEL, attention=MIXERS[main]).double().eval()
    held = made.state_dict()
    plain.load_state_dict({n: held[n.replace("attention.", f"attention.mixers.{main}.", 1)] for n in plain.state_dict()})
    ids = torch.arange(24).view(2, 12) % 40
    assert torch.equal(made(ids), plain(ids))
    written = [
        build("decoding", "greedy").generate(m.eval(), Batch(ids), cache=build("cache", "growing"), max_new_tokens=8)
        for m in (made, plain)
    ]
    assert torch.equal(*written)


@pytest.mark.parametrize("main", [0, 1, 2])
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_padding_and_caches_of_every_mixer(main, chunk):
    part = stochastic(main=main)
    check_documents_and_padding(part, chunk)
    torch.testing.assert_close(stepwise(part, inputs(), chunk or 7), part(inputs(), info()))


def test_in_training_it_reads_with_the_drawn_one_and_only_that_one_learns():
    part = stochastic().train()
    for step in range(12):
        part.begin_step(3, step)
        x = inputs(seed=step)
        out = part(x, info())
        assert torch.equal(out, part.mixers[part.drawn](x, info()))
        part.zero_grad(set_to_none=True)
        out.square().sum().backward()
        learnt = {n.split(".")[1] for n, p in part.named_parameters() if p.grad is not None}
        assert learnt == {str(part.drawn)}


def test_where_nobody_counts_steps_it_draws_from_torchs_generator():
    part = stochastic().train()
    torch.manual_seed(0)
    first = [part.taken() for _ in range(40)]
    torch.manual_seed(0)
    assert first == [part.taken() for _ in range(40)]
    assert set(first) == {0, 1, 2}


def test_flops_are_those_of_the_main_mixer_and_in_training_the_mean():
    for main in (0, 1):
        part = stochastic(main=main)
        assert reported(part, 9).executed == counted(part, 9)
    part = stochastic(weights=(2.0, 1.0, 1.0)).train()
    each = [flops_of(m, Work(9)).executed for m in part.mixers]
    assert flops_of(part, Work(9)).executed == round(0.5 * each[0] + 0.25 * each[1] + 0.25 * each[2])
    assert len(set(each)) == 3


def test_what_a_mixer_hands_on_is_read_by_its_like_where_all_layers_draw_as_one():
    with pytest.raises(ValueError, match=r"mixer 1 hands on rwkv7_first_value to later layers \(RWKV7\).*draws=model"):
        build("attention", "stochastic", d_model=D, mixers=[PLAIN, "rwkv7"])
    shared = {**PLAIN, "sharing": {"name": "groups", "every": 2}}
    made = build("model", "decoder", **MODEL, attention={"name": "stochastic", "mixers": ["rwkv7", shared], "draws": "model"})
    name_parts(made)
    seen = set()
    for step in range(8):
        for part in parts_of(made.double().train()):
            part.begin_step(0, step)
        seen.add(parts_of(made)[0].drawn)
        loss_of(made).backward()
    assert seen == {0, 1}


@pytest.mark.parametrize(
    "name", [e.name for e in registry.entries("attention").values() if e.name != "stochastic" and not e.preset_of]
)
def test_every_mixer_of_the_shelf_takes_its_turn(name):
    """Alone it is what it would be without the others, and it learns when it was drawn."""
    one = {"name": name, "attention_mixer": PLAIN} if name == "parallel_hybrid" else {"name": name}
    options = {"position": "disentangled"} if name == "disentangled" else {"position": "none"}
    sizes = {**MODEL, "d_model": 32, **options}
    wiring = "encoder" if lacks(registry.find("attention", name), "causal") else "decoder"
    held = {"name": "stochastic", "mixers": [{**PLAIN, "n_heads": 2}, one], "draws": "model"}
    made, plain = (build("model", wiring, **sizes, attention=part) for part in (held, one))
    whole = made.state_dict()
    plain.load_state_dict({n: whole[n.replace("attention.", "attention.mixers.1.", 1)] for n in plain.state_dict()})
    for part in parts_of(made.train()):
        part.take(1)
    first, second = (loss_of(m) for m in (made, plain.train()))
    assert torch.equal(first, second)
    for loss in (first, second):
        loss.backward()
    assert torch.equal(made.embedding.table.weight.grad, plain.embedding.table.weight.grad)


def test_a_position_is_heard_where_one_of_the_mixers_hears_it():
    made = compose("llama_tiny", ["model/attention=stochastic", "model.attention.mixers=[gqa,lstm]"]).config["model"]
    assert [m["name"] for m in made["attention"]["mixers"]] == ["gqa", "lstm"]
    inner = parts_of(build("model", made.pop("name"), vocab_size=40, **made))[0].mixers[0]
    assert type(inner.position).__name__ == "RotaryPosition"  # inherited in a list too
    with pytest.raises(UserError, match=r"position/rope needs rotates of its attention, and attention/stochastic"):
        compose("llama_tiny", ["model/attention=stochastic", "model.attention.mixers=[mamba2,lstm]"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mixers": [PLAIN]}, "1 mixers and 1 weights"),
        ({"weights": (1.0,)}, "3 mixers and 1 weights"),
        ({"main": 3}, "main=3: the 3 mixers are counted from 0"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        build("attention", "stochastic", d_model=D, place=Place(0, 1), **{"mixers": MIXERS, **options})
