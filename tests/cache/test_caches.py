"""Every cache equals the full pass where it is exact, for every way in which a prompt can come; memory is what the formulas say."""

from __future__ import annotations

import copy

import pytest
import torch

from components import build
from components.check.host import scramble
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo

V, D, H, T = 40, 32, 4, 80
SLIDING = {"name": "sliding_window", "window": 5}
MODELS = {
    "full": {},
    "sliding": {"attention": {"name": "gqa", "n_kv_heads": 2, "mask": SLIDING}},
    "dilated": {"attention": {"name": "gqa", "mask": {"name": "dilated", "window": 7}}},
    "chunked": {"attention": {"name": "gqa", "mask": {"name": "chunked", "size": 5}}},
    "blocks": {"attention": {"name": "gqa", "mask": {"name": "blocks", "size": 4}}},
    "first_and_window": {"attention": {"name": "gqa", "mask": {"name": "first_and_window", "first": 2, "window": 4}}},
    "one": {"attention": {"name": "gqa", "mask": {"name": "sliding_window", "window": 1}}},
    "both": {"n_layers": 4, "layers": {"every2": {"attention": {"name": "gqa", "mask": SLIDING}}}},
    "lending": {
        "attention": {"name": "gqa", "sharing": "groups"},
        "layers": {"0": {"attention": {"name": "gqa", "sharing": "groups", "mask": SLIDING}}},
    },
    "mla": {"attention": {"name": "mla", "mask": SLIDING}},
    "forgetting": {"attention": {"name": "forgetting", "mask": SLIDING}, "position": "none"},
    "alibi": {"position": "alibi", "attention": {"name": "gqa", "mask": SLIDING}},
    "recurrent": {"attention": "gla", "position": "none"},
}
EXACT = ("growing", "static", "ring")


def model(name="full", dtype=torch.float64):
    options = {"n_layers": 2, **MODELS[name]}
    made = build("model", "decoder", vocab_size=V, d_model=D, context_length=128, **options)
    return scramble(made.eval(), 0.3).to(dtype)


def ids(rows=2, length=T, seed=0):
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def in_pieces(network, cache, batch, cuts):
    """Logits of all positions, read up to each cut in turn."""
    out, start = [], 0
    for end in cuts:
        out.append(network(batch(slice(start, end)), cache=cache))
        start = end
    return torch.cat(out, 1)


CUTS = {"token by token": [20, *range(21, T + 1)], "in chunks": [30, 31, 38, 70, T], "a long piece later": [3, T]}


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cache", EXACT)
def test_equals_the_full_pass(cache, name, how):
    network, values = model(name), ids()
    found = in_pieces(network, build("cache", cache), lambda c: Batch(values[:, c]), CUTS[how])
    with torch.no_grad():
        assert torch.allclose(found, network(values), rtol=0, atol=1e-9)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cache", EXACT)
def test_padding_before_and_between_changes_nothing(cache, name, how):
    """Padding between valid positions must not push any of them out of a ring."""
    network, values = model(name), ids()
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[0, :7], valid[1, 22:30] = False, False
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)

    def batch(c):
        return Batch(values[:, c], valid=valid[:, c], positions=positions[:, c])

    found = in_pieces(network, build("cache", cache), batch, CUTS[how])
    with torch.no_grad():
        whole = network(batch(slice(0, T)))
    assert torch.allclose(found[valid], whole[valid], rtol=0, atol=1e-9)


@pytest.mark.parametrize("cache", EXACT)
@pytest.mark.parametrize("name", ["full", "sliding", "chunked"])
def test_documents_stay_apart(cache, name):
    network, values = model(name), ids()
    documents = torch.zeros(2, T, dtype=torch.long)
    documents[:, 25:] = 1
    positions = torch.cat((torch.arange(25), torch.arange(T - 25)))[None].expand(2, -1)

    def batch(c):
        return Batch(values[:, c], documents=documents[:, c], positions=positions[:, c])

    with torch.no_grad():
        whole = network(batch(slice(0, T)))
    assert torch.allclose(in_pieces(network, build("cache", cache), batch, CUTS["in chunks"]), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cache", EXACT)
@pytest.mark.parametrize("name", ["full", "sliding", "recurrent", "mla"])
@torch.no_grad()
def test_goes_back_and_forth_and_changes_rows(cache, name):
    network, values, other = model(name), ids(), ids(seed=5)
    whole, kept = network(values), build("cache", cache)
    empty = kept.snapshot()
    network(values[:, :20], cache=kept)
    early = kept.snapshot()
    network(values[:, 20:30], cache=kept)
    late = kept.snapshot()
    kept.restore(early)  # what is written now may not spoil the later snapshot
    network(other[:, :70], cache=kept)
    kept.restore(late)
    assert torch.allclose(network(values[:, 30:40], cache=kept), whole[:, 30:40], rtol=0, atol=1e-9)
    kept.restore(early)
    kept.reorder(torch.tensor([1, 0, 1]))
    rows = values[[1, 0, 1]]
    assert torch.allclose(network(rows[:, 20:], cache=kept), whole[[1, 0, 1], 20:], rtol=0, atol=1e-9)
    kept.restore(empty)
    assert kept.length == 0
    assert torch.allclose(network(values[:, :9], cache=kept), whole[:, :9], rtol=0, atol=1e-9)


def filled(cache, network, batch, pieces=(T - 1, 1)):
    with torch.no_grad():
        at = 0
        for t in pieces:
            network(batch[:, at : at + t], cache=cache)
            at += t
    return cache.bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bytes_are_what_the_formulas_say(dtype):
    size, width, layers, batch = dtype.itemsize, D // H, 2, ids()
    capacity = 128  # of buffers that double, for 80 positions
    log = 8 * capacity
    kv = 2 * layers * 2 * H * width  # keys and values, layers, rows
    full = model(dtype=dtype)
    assert filled(build("cache", "growing"), full, batch) == kv * capacity * size + log
    assert filled(build("cache", "static", max_length=100), full, batch) == kv * 100 * size + (8 + 1) * 100
    assert filled(build("cache", "int8"), full, batch) == kv // width * capacity * (width + 4) + log
    assert filled(build("cache", "ring"), full, batch) == kv * capacity * size + log
    ring = 5 - 1 + 64  # what is seen before the query, and room
    narrow = model("sliding", dtype)  # half as many heads of keys
    assert filled(build("cache", "ring"), narrow, batch) == kv // 2 * ring * size + 8 * ring
    again = build("cache", "ring")
    filled(again, narrow, ids(length=1000), [10] * 100)
    assert again.bytes() == kv // 2 * ring * size + 8 * ring  # however long it goes on
    both = model("both", dtype)
    assert filled(build("cache", "ring"), both, batch) == kv * (ring + capacity) * size + 8 * (ring + capacity)


def test_a_latent_is_kept_as_small_as_it_is():
    network, batch = model("mla", torch.float32), ids()
    part = next(m for m in network.modules() if hasattr(m, "kv_down"))
    rank, rope = part.kv_down.out_features, part.rope
    assert rank + rope < 2 * D  # than keys and values of all heads
    assert filled(build("cache", "growing"), network, batch) == 2 * 2 * (rank + rope) * 128 * 4 + 8 * 128
    assert filled(build("cache", "static", max_length=100), network, batch) == 2 * 2 * (rank + rope) * 100 * 4 + 9 * 100
    assert filled(build("cache", "int8"), network, batch) == 2 * 2 * (rank + rope + 2 * 4) * 128 + 8 * 128
    ring = 5 - 1 + 64
    assert filled(build("cache", "ring"), network, batch) == 2 * 2 * (rank + rope) * ring * 4 + 8 * ring


def test_recurrent_state_does_not_grow():
    network = model("recurrent", torch.float32)
    sizes = [filled(build("cache", "growing"), network, ids(length=n), (n - 1, 1)) for n in (20, 60)]
    part = next(m for m in network.modules() if type(m).__name__ == "GatedLinearAttention")
    cache = build("cache", "growing")
    assert sizes[0] == sizes[1] == filled(cache, network, ids(length=30), (29, 1))
    state = sum(
        x.numel() * x.element_size()
        for x in torch.utils._pytree.tree_leaves(cache.slot(part).state)
        if isinstance(x, torch.Tensor)
    )
    assert state > 0
    assert sizes[0] == 2 * state + 64 * 8


K = D // H  # width of a head
SHIFT = 3  # earlier positions that a short convolution of 4 reads
# (options, numbers that a layer carries from one position to the next, for each row)
STATES = {
    "linear": ({"normalise": True}, H * K * (K + 1)),  # and the sum of keys
    "retention": ({"expand_k": 0.5, "expand_v": 2.0}, H * (K // 2) * (2 * K)),
    "gla": ({"expand_k": 0.5}, H * (K // 2) * K),
    "hgrn2": ({"expand_ratio": 4}, H * 4 * K),
    "lightning": ({}, H * K * K),
    "mlstm": (
        {"expand_k": 0.5},
        H * (K // 2) * (K + 1) + H + 2,
    ),  # with the sum of keys, and what was taken out, with a mark of its own
    "delta_net": ({}, H * K * K + SHIFT * 3 * D),
    "gated_delta_net": ({"head_dim": 4, "head_v_dim": K}, H * 4 * K + SHIFT * (2 * H * 4 + D)),
    "kda": ({"head_dim": 4, "head_v_dim": K}, H * 4 * K + SHIFT * (2 * H * 4 + D)),
    "mamba": ({"state_size": 6}, 2 * D * 6 + SHIFT * 2 * D),
    "mamba2": ({"expand": 2.0, "state_size": 6, "n_groups": 1}, 2 * D * 6 + SHIFT * (2 * D + 2 * 6)),
    "rwkv7": ({}, H * K * K + D),
    "gru": ({"hidden": 24}, 24),
    "lstm": ({"hidden": 24}, 2 * 24),
    "slstm": ({"hidden": 24}, 4 * 24),  # what is read, memory, sum of weights, exponent
    "min_gru": ({"hidden": 24}, 24),
}


@pytest.mark.parametrize("length", [9, 60])
@pytest.mark.parametrize("name", STATES)
def test_a_recurrent_state_is_what_the_formula_says(name, length):
    options, numbers = STATES[name]
    attention, layers, rows = {"name": name, **options}, 2, 3
    network = build(
        "model", "decoder", vocab_size=V, d_model=D, context_length=128, n_layers=layers, attention=attention, position="none"
    )
    mark, log = 8, 64 * 8  # the last document of each row; positions
    for cache in ("growing", "ring", "int8"):
        found = filled(build("cache", cache), network.eval(), ids(rows, length), (length - 1, 1))
        assert found == layers * rows * (4 * numbers + mark) + log


@torch.no_grad()
def test_an_encoders_memory_is_kept_once():
    """Its vectors, and the keys and values that each layer of the decoder reads from them."""
    network = build(
        "model",
        "encoder_decoder",
        vocab_size=V,
        d_model=D,
        context_length=128,
        n_layers=2,
        attention={"name": "gqa", "n_kv_heads": 2},
    )
    cache, source = build("cache", "growing"), ids(length=50)
    found = []
    for start in range(0, 30, 10):
        network.eval()(Batch(ids()[:, start : start + 10], source=Batch(source)), cache=cache)
        found.append(cache.bytes())
    kv = 2 * 2 * 2 * 2 * K * 4  # keys and values, layers, rows, heads
    memory = 2 * 50 * D * 4 + kv * 50 + 2 * 50 * 8 + 50 * 8  # with the ids and positions of the source
    assert found == [memory + kv * 64 + 64 * 8] * 3


# ring


def test_a_ring_refuses_a_layer_that_sees_further():
    for name, says in (("sliding", "sees 5 positions"), ("full", "sees every position"), ("lending", "every position")):
        with pytest.raises(UserError, match=says):
            model(name)(ids(), cache=build("cache", "ring", window=4))
    network, values = model("sliding"), ids()
    with torch.no_grad():
        found = in_pieces(network, build("cache", "ring", window=9), lambda c: Batch(values[:, c]), CUTS["in chunks"])
        assert torch.allclose(found, network(values), rtol=0, atol=1e-9)


def test_a_ring_says_that_a_prefix_does_not_stay():
    with pytest.raises(UserError, match="cache=growing"):
        model("sliding")(Batch(ids(), prefix=torch.tensor([3, 3])), cache=build("cache", "ring"))


def test_one_token_appends_to_a_ring_do_not_copy_what_is_kept():
    network, cache, values = model("sliding"), build("cache", "ring"), ids()
    part = next(m for m in network.modules() if hasattr(m, "mask"))
    with torch.no_grad():
        network(values[:, :10], cache=cache)
        places = []
        for i in range(10, 40):
            network(values[:, i : i + 1], cache=cache)
            places.append(cache.slot(part).keys.data.data_ptr())
    assert len(set(places)) == 1


# static


def test_static_says_when_it_is_full():
    cache = build("cache", "static", max_length=20)
    with torch.no_grad():
        model()(ids()[:, :20], cache=cache)
        with pytest.raises(UserError, match="20 places, and 21 are needed"):
            model()(ids()[:, :1], cache=cache)


@pytest.mark.parametrize("name", ["full", "sliding", "mla", "recurrent"])
def test_a_step_with_a_static_cache_is_compiled_once(name):
    network, values, positions = model(name), ids(length=30), torch.arange(30)[None]
    graphs = []
    step = torch.compile(network, fullgraph=True, dynamic=False, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    cache = build("cache", "static", max_length=32)
    with torch.no_grad():
        out = [network(Batch(values[:, :10], positions=positions[:, :10]), cache=cache)]
        for i in range(10, 30):
            out.append(step(Batch(values[:, i : i + 1], positions=positions[:, i : i + 1]), cache=cache))
        assert torch.allclose(torch.cat(out, 1), network(values), rtol=0, atol=1e-9)
    assert len(graphs) == 1
    assert cache.length == 30


# int8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_eight_bits_are_off_by_half_a_step_at_most(dtype):
    cache, module = build("cache", "int8"), torch.nn.Identity()
    k = (torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 12)[:, None]).to(dtype)
    k[0, 0, 3] = 0
    for i in range(12):
        info = SequenceInfo(positions=torch.tensor([[i]]))
        cache.open(info)
        keys, values, _ = cache.slot(module).append(k[:, :, i : i + 1], 2 * k[:, :, i : i + 1, :5], info)
    assert keys.dtype == dtype
    rounding = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 1e-6
    for found, given in ((keys, k), (values, 2 * k[..., :5])):
        largest = given.double().abs().amax(-1, keepdim=True)
        assert ((found.double() - given.double()).abs() <= largest * (1 / 254 + rounding)).all()
        assert (found[0, 0, 3] == 0).all()
    assert not torch.equal(keys[:, :, :-1], k[:, :, :-1])


def test_eight_bits_change_logits_little_and_not_nothing():
    network, values = model(), ids()
    with torch.no_grad():
        whole = network(values)
        found = in_pieces(network, build("cache", "int8"), lambda c: Batch(values[:, c]), CUTS["in chunks"])
    error = ((found - whole).abs().max() / whole.abs().max()).item()
    assert 1e-6 < error < 0.02


def test_an_empty_cache_can_be_copied():
    for name in (*EXACT, "int8"):
        network, values = model("sliding"), ids()
        one = build("cache", name)
        two = copy.deepcopy(one)
        with torch.no_grad():
            network(values, cache=one)
            assert two.length == 0
            network(values[:, :5], cache=two)
        assert (one.length, two.length) == (T, 5)


@torch.no_grad()
def test_eight_bits_go_back_and_change_rows():
    network, values = model(), ids()

    def from_20(cache, rows):
        return in_pieces(network, cache, lambda c: Batch(rows[:, 20:][:, c]), [5, 6, 7, 30])

    straight, back = build("cache", "int8"), build("cache", "int8")
    for cache in (straight, back):
        network(values[:, :20], cache=cache)
    kept = back.snapshot()
    network(ids(seed=5)[:, :30], cache=back)
    back.restore(kept)
    back.reorder(torch.tensor([1, 0, 1]))
    found = from_20(back, values[[1, 0, 1]])
    assert torch.allclose(found, from_20(straight, values)[[1, 0, 1]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["sliding", "chunked", "blocks", "dilated"])
def test_reach_is_no_shorter_than_what_a_mask_shows(name):
    """Else a ring would forget what a query still sees; and it is not longer than the farthest that any query sees."""
    rule = next(m.mask for m in model(name).modules() if hasattr(m, "mask"))
    positions = torch.arange(200)
    seen = rule.allow(positions[None, :, None], positions[None, None, :])[0].tril()
    distance = positions[:, None] - positions[None]
    assert distance[seen].max() == rule.reach - 1
