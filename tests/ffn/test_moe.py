"""Mixture of experts: as the models that are known by it compute it, what it writes, and its FLOPs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hosts import decoder, ids, scramble
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo, Terms, merge_out
from components.core.weights import roles

D, E, FF = 8, 6, 12


def made(**options):
    moe = build("ffn", "moe", d_model=D, n_experts=E, d_ff=FF, **options).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in moe.parameters():
            p.normal_(0.0, 0.5, generator=generator)
    return moe


def inputs(rows=2, length=5):
    return torch.randn(rows, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def swiglu(moe, e, x):
    return (F.silu(x @ moe.gate.weight[e]) * (x @ moe.up.weight[e])) @ moe.out.weight[e]


def clamped(moe, e, x):
    gate = (x @ moe.gate.weight[e] + moe.gate_bias.bias[e]).clamp(max=7.0)
    up = (x @ moe.up.weight[e] + moe.up_bias.bias[e]).clamp(-7.0, 7.0)
    return ((up + 1) * gate * torch.sigmoid(1.702 * gate)) @ moe.out.weight[e] + moe.out_bias.bias[e]


def over_tokens(x, of_one):
    return torch.stack([of_one(token) for token in x.flatten(0, 1)]).view_as(x)


def mixtral(moe, token, renormalise=True):
    p = moe.router.logits(token).softmax(-1)
    best = p.topk(2)
    weights = best.values / best.values.sum() if renormalise else best.values
    return sum(w * swiglu(moe, e, token) for w, e in zip(weights, best.indices))


def deepseek_v3(moe, token):
    scores = moe.router.logits(token).sigmoid()
    for_choice = scores + moe.router.correction
    groups = for_choice.view(3, 2)
    kept = groups.topk(2).values.sum(-1).topk(2).indices
    masked = torch.full_like(groups, -torch.inf)
    masked[kept] = groups[kept]
    chosen = masked.flatten().topk(2).indices
    weights = scores[chosen] / scores[chosen].sum() * 2.5
    shared = moe.shared.out(F.silu(moe.shared.gate(token)) * moe.shared.up(token))
    return sum(w * swiglu(moe, e, token) for w, e in zip(weights, chosen)) + shared


def deepseek_v2(moe, token):
    p = moe.router.logits(token).softmax(-1)
    kept = p.view(3, 2).amax(-1).topk(1).indices
    masked = torch.zeros(3, 2, dtype=p.dtype)
    masked[kept] = p.view(3, 2)[kept]
    best = masked.flatten().topk(2)
    return sum(w * 16.0 * swiglu(moe, e, token) for w, e in zip(best.values, best.indices))


def gpt_oss(moe, token):
    best = moe.router.logits(token).topk(2)
    return sum(w * clamped(moe, e, token) for w, e in zip(best.values.softmax(-1), best.indices))


def llama4(moe, token):
    best = moe.router.logits(token).max(-1)
    routed = swiglu(moe, best.indices, token * best.values.sigmoid())
    return routed + moe.shared.out(F.silu(moe.shared.gate(token)) * moe.shared.up(token))


def qwen3_next(moe, token):
    shared = moe.shared.out(F.silu(moe.shared.gate(token)) * moe.shared.up(token))
    return mixtral(moe, token) + torch.sigmoid(moe.shared_gate(token)) * shared


SHARED = {"name": "glu", "d_ff": 10}
MODELS = {
    "mixtral": ({}, mixtral),
    "qwen3_moe, not normalised": (
        {"router": {"name": "softmax_top_k", "renormalise": False}},
        lambda m, t: mixtral(m, t, False),
    ),
    "qwen3_next": ({"shared": SHARED, "shared_gate": True}, qwen3_next),
    "deepseek_v2": (
        {
            "router": {"name": "softmax_top_k", "renormalise": False, "n_groups": 3, "top_groups": 1},
            "routed_scale": 16.0,
        },
        deepseek_v2,
    ),
    "deepseek_v3": (
        {"router": {"name": "sigmoid_top_k", "n_groups": 3, "top_groups": 2}, "routed_scale": 2.5, "shared": SHARED},
        deepseek_v3,
    ),
    "gpt_oss": ({"router": {"name": "top_k_softmax", "bias": True}, "expert": "clamped_glu", "bias": True}, gpt_oss),
    "llama4": (
        {"router": {"name": "sigmoid_top_k", "k": 1, "renormalise": False, "rate": 0.0}, "weigh": "input", "shared": SHARED},
        llama4,
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_it_is_what_known_models_compute(model):
    options, formula = MODELS[model]
    moe, x = made(**options), inputs()
    if getattr(moe.router, "rate", 0.0):
        moe.router.correction.copy_(torch.linspace(-0.3, 0.3, E))
    torch.testing.assert_close(moe(x, SequenceInfo()), over_tokens(x, lambda t: formula(moe, t)))


def test_experts_without_a_gate():
    moe, x = made(expert="mlp", activation="relu2", bias=True), inputs()

    def of_one(token):
        best = moe.router.logits(token).softmax(-1).topk(2)
        outs = [
            F.relu(token @ moe.up.weight[e] + moe.up_bias.bias[e]).square() @ moe.out.weight[e] + moe.out_bias.bias[e]
            for e in best.indices
        ]
        return sum(w * o for w, o in zip(best.values / best.values.sum(), outs))

    torch.testing.assert_close(moe(x, SequenceInfo()), over_tokens(x, of_one))


def test_padding_has_no_expert_and_counts_in_no_loss():
    moe, x = made(z_loss=0.5, load_balance=0.25), inputs(1, 6)
    valid = torch.tensor([[False, True, True, False, True, True]])
    padded, alone = SequenceInfo(valid=valid), SequenceInfo()
    out = moe(x, padded)
    torch.testing.assert_close(out[valid], moe(x[:, valid[0]], alone)[0])
    assert (out[~valid] == 0).all()
    for name in ("loss.load_balance", "loss.router_z"):
        torch.testing.assert_close(padded.out[name][0], alone.out[name][0])
        assert padded.out[name][1] == alone.out[name][1] == 4
        assert padded.out[name][0].dtype == x.dtype == torch.float64
    assert padded.out["stat..load"].sum() == 4 * 2
    logits = moe.router.logits(x[valid])
    torch.testing.assert_close(
        alone.out["loss.router_z"][0].double(), 0.5 * logits.logsumexp(-1).square().sum(), rtol=1e-5, atol=1e-6
    )


def test_losses_can_be_left_out_and_routers_without_probabilities_have_none():
    info = SequenceInfo()
    made(load_balance=0.0)(inputs(), info)
    assert set(info.out) == {"stat..load"}
    info = SequenceInfo(ids=torch.arange(10).view(2, 5))
    made(router="hash", z_loss=1.0)(inputs(), info)
    assert set(info.out) == {"stat..load"}


def test_the_balance_loss_evens_the_load():
    torch.manual_seed(0)
    moe = build("ffn", "moe", d_model=D, n_experts=E, d_ff=FF, load_balance=1.0, router={"name": "softmax_top_k", "k": 1})
    with torch.no_grad():
        for p in moe.parameters():
            p.normal_(0.0, 0.3)
    x = torch.randn(1, 240, D) + 1.0
    optimizer = torch.optim.Adam(moe.router.parameters(), 0.02)

    def step():
        info = SequenceInfo()
        moe(x, info)
        (info.out["loss.load_balance"][0] / info.out["loss.load_balance"][1]).backward()
        optimizer.step()
        optimizer.zero_grad()
        return info.out["stat..load"]

    before = step()
    for _ in range(80):
        after = step()
    assert before.max() > 2 * 240 / E
    assert after.max() < 1.4 * 240 / E


def test_widths_and_roles():
    moe = build(
        "ffn", "moe", d_model=12, bias=True, shared="mlp", shared_gate=True, router={"name": "softmax_top_k", "bias": True}
    )
    assert moe.gate.weight.shape == (8, 12, 32)
    assert build("ffn", "moe", d_model=12, expert="mlp").up.weight.shape == (8, 12, 48)
    found = {w.name: (w.role, w.axes) for w in roles(moe)}
    assert found["gate.weight"] == ("hidden", ("experts", "d_model", "d_ff"))
    assert found["out.weight"] == ("out", ("experts", "d_ff", "d_model"))
    assert found["out_bias.bias"] == ("bias", ("experts", "d_model"))
    assert found["router.logits.weight"][0] == "router"
    assert found["shared_gate.weight"][0] == "hidden"


def test_a_gate_of_nothing_is_refused():
    with pytest.raises(UserError, match="no shared expert to gate"):
        made(shared_gate=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expert": "mlp", "bias": True},
        {"shared": SHARED, "shared_gate": True},
        {"router": {"name": "expert_choice", "capacity": 1.7}},
        {"router": {"name": "hash", "k": 3}},
    ],
)
def test_flops(options):
    moe, x = made(**options), inputs(1, 11)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        moe(x, SequenceInfo(ids=torch.arange(11)[None]))
    assert flops_of(moe, Work(11)) == (counter.get_total_flops(), counter.get_total_flops())


def trained(micro_batches):
    """Five steps by hand on 8 rows: gradients and statistics add up over micro-batches, then parts see the sums."""
    moe = {
        "name": "moe", "n_experts": 4, "router": {"name": "sigmoid_top_k", "rate": 0.05},
        "balance_over": "sequence", "load_balance": 0.1, "z_loss": 0.1,
    }  # fmt: skip
    model = scramble(decoder(ffn=moe)).double().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)

    def objective(hidden, head, batch):
        loss = F.cross_entropy(head(hidden).flatten(0, 1), batch.targets.flatten(), reduction="sum")
        return Terms({"loss": (loss, torch.tensor(float(batch.targets.numel())))})

    for step in range(5):
        values, targets = ids(8, seed=step), ids(8, seed=100 + step)
        stats: dict[str, torch.Tensor] = {}
        for rows in torch.arange(8).chunk(micro_batches):
            terms = model(Batch(values[rows], targets=targets[rows]), objective)
            total = sum(value / (own * micro_batches) for value, own in terms.losses.values())
            total.backward()
            for name, value in terms.stats.items():
                stats[name] = stats.get(name, 0) + value
        optimizer.step()
        optimizer.zero_grad()
        for module in model.modules():
            if hasattr(module, "after_step"):
                module.after_step(stats)
    return model.state_dict()


def test_four_micro_batches_are_one_batch():
    one, four = trained(1), trained(4)
    corrections = [n for n in one if n.endswith("router.correction")]
    assert len(corrections) == 2
    for name, value in one.items():
        torch.testing.assert_close(four[name], value, rtol=1e-5, atol=1e-7)
    assert all(one[n].abs().max() >= 0.05 for n in corrections), "else this would hold for a correction that never moves"


@pytest.mark.parametrize("layers", [1, 2, 6])
@pytest.mark.parametrize("model", ["decoder", "encoder_decoder"])
def test_losses_of_layers_add_up(layers, model):
    """Switch Transformer, section 2.2: each layer's loss is added to the total, so that a factor is as strong at every depth.

    Routers that are all alike: the loss of each layer is 1, whatever the number of its tokens.
    """
    ffn = {"name": "moe", "n_experts": 4, "load_balance": 0.01, "z_loss": 0.001}
    cross = {"cross": "gqa"} if model == "encoder_decoder" else {}
    sizes = {"vocab_size": 50, "d_model": 16, "n_layers": layers, "context_length": 12}
    made = build("model", model, **sizes, attention={"name": "gqa", "n_heads": 2}, ffn=ffn, **cross).train()
    routers = [m for m in made.modules() if type(m).__name__ == "SoftmaxTopK"]
    with torch.no_grad():
        for router in routers:
            router.logits.weight.zero_()
    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    source = Batch(ids[:, :5]) if cross else None
    terms = made(Batch(ids, targets=ids, source=source), build("loss", "next_token", vocab_size=50))
    assert len(routers) == layers * (2 if cross else 1)
    for name, each in (("load_balance", 0.01), ("router_z", 0.001 * math.log(4) ** 2)):
        value, weight = terms.losses[name]
        torch.testing.assert_close(value / weight, torch.tensor(each * len(routers)), rtol=1e-4, atol=1e-7)


def test_a_layer_of_padding_alone_adds_nothing():
    one, none = (torch.tensor(6.0), torch.tensor(3.0)), (torch.tensor(0.0), torch.tensor(0.0))
    assert [float(x) for x in merge_out({"loss.a": one}, {"loss.a": none})["loss.a"]] == [6.0, 3.0]
    assert [float(x) for x in merge_out({"loss.a": one}, {"loss.a": (torch.tensor(4.0), torch.tensor(1.0))})["loss.a"]] == [
        18.0,
        3.0,
    ]
