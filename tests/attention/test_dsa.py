"""DeepSeek sparse attention against its formulas written out, transformers' module, latent attention where nothing is left out; its loss; decoding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import D, T, check_documents_and_padding, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.core.errors import UserError

SIZES = {"n_heads": 3, "nope_dim": 4, "rope_dim": 6, "v_dim": 5, "kv_rank": 7, "latent_norm": "rms"}
INDEX = {"top_k": 3, "index_n_heads": 8, "index_head_dim": 9}


def written_out(part, x):
    """Output and the divergence per position, query by query: sort the scores, take the best, attend to these alone."""
    first = part.q_norm(part.q_down(x))
    latent = part.kv_norm(part.kv_down(x))
    out, apart = [], []
    for row in range(len(x)):
        w = part.indexer
        index_q = w.q(first[row].detach()).view(T, 8, 9)
        index_k, weights = w.k_norm(w.k(x[row].detach())), w.weights(x[row].detach())
        q = part.q_up(first[row]).view(T, 3, 10)
        k = torch.cat((part.k_up(latent[row]).view(T, 3, 4), part.k_rope(x[row])[:, None].expand(T, 3, 6)), -1)
        v = part.v_up(latent[row]).view(T, 3, 5)
        for t in range(T):
            score = sum(weights[t, h] * F.relu(index_k[: t + 1] @ index_q[t, h]) for h in range(8)) / (8 * 9) ** 0.5
            best = score.detach().argsort(descending=True)[:3]
            share = torch.stack([(k[best, h] @ q[t, h] / 10**0.5).softmax(0) for h in range(3)])
            out.append(part.out(torch.cat([share[h] @ v[best, h] for h in range(3)])))
            p = share.mean(0).detach()
            apart.append((p * (p.log() - score[best].log_softmax(0))).sum())
    return torch.stack(out).view(len(x), T, D), torch.stack(apart).view(len(x), T)


def sparse(**options):
    return drawn("dsa", **SIZES, **INDEX, q_rank=8, position="none", **options)


def test_formula_and_gradients():
    part = sparse(index_loss=0.5)
    x, at = inputs().requires_grad_(), info()
    out = part(x, at)
    wanted, apart = written_out(part, x)
    torch.testing.assert_close(out, wanted)
    total, weight = at.out["loss.indexer"]
    torch.testing.assert_close(total, 0.5 * apart.sum())
    assert weight == 2 * T
    leaves = [x, *part.parameters()]
    mix = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    found = torch.autograd.grad((out * mix).sum() + total, leaves)
    for name, a, b in zip(
        ["x", *(n for n, _ in part.named_parameters())],
        found,
        torch.autograd.grad((wanted * mix).sum() + 0.5 * apart.sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, msg=name)
        assert a.abs().max() > 0, name


def test_the_loss_moves_the_indexer_alone_and_the_output_the_rest_alone():
    part, at = sparse(), info()
    out = part(inputs(), at)
    names, leaves = zip(*part.named_parameters())
    for value, of_indexer in ((at.out["loss.indexer"][0], True), (out.sum(), False)):
        grads = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
        assert all((g is not None) == (n.startswith("indexer.") is of_indexer) for n, g in zip(names, grads))


def test_the_indexer_learns_to_find_what_the_heads_read():
    part, x = sparse(), inputs(8)
    optimizer = torch.optim.Adam(part.indexer.parameters(), lr=3e-2)
    losses = []
    for _ in range(60):
        at = info()
        part(x, at)
        total, weight = at.out["loss.indexer"]
        optimizer.zero_grad()
        (total / weight).backward()
        optimizer.step()
        losses.append((total / weight).item())
    assert losses[-1] < 0.5 * losses[0]


def test_without_a_loss_nothing_is_written():
    for part, grad in ((sparse(index_loss=0.0), True), (sparse(), False)):
        at = info()
        with torch.set_grad_enabled(grad):
            part(inputs(), at)
        assert at.out == {}


@pytest.mark.parametrize("position", ["rope", "none"])
def test_where_all_keys_are_read_it_is_latent_attention(position):
    options = {**SIZES, "q_rank": 8, "position": position}
    part, plain = drawn("dsa", **options, top_k=T, index_n_heads=2), drawn("mla", **options)
    plain.load_state_dict({n: t for n, t in part.state_dict().items() if not n.startswith("indexer.")})
    torch.testing.assert_close(part(inputs(), info()), plain(inputs(), info()))
    fewer = drawn("dsa", **options, top_k=2, index_n_heads=2)
    fewer.load_state_dict(part.state_dict())
    assert ((fewer(inputs(), info()) - plain(inputs(), info())).abs().amax((0, 2))[2:] > 1e-3).all()


def test_keys_with_the_score_of_the_last_one_are_read_too():
    part = sparse()
    with torch.no_grad():
        part.indexer.weights.weight.zero_()  # all scores are equal
    plain = drawn("mla", **SIZES, q_rank=8, position="none")
    plain.load_state_dict({n: t for n, t in part.state_dict().items() if not n.startswith("indexer.")})
    torch.testing.assert_close(part(inputs(), info()), plain(inputs(), info()))


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_decoding_equals_the_full_pass(position, chunk):
    part = drawn("dsa", **SIZES, **INDEX, position=position)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_documents_and_padding(chunk):
    check_documents_and_padding(drawn("dsa", **SIZES, **{**INDEX, "top_k": 2}, position="rope"), chunk)


def test_the_cache_holds_the_indexers_key_beside_the_rotated_one():
    part, cache = drawn("dsa", **SIZES, **INDEX, position="rope"), build("cache", "growing")
    at = info(cache=cache)
    cache.open(at.with_(ids=torch.zeros(2, T, dtype=torch.long)))
    part(inputs(), at)
    slot = cache.slot(part)
    assert (slot.keys.read().shape, slot.values.read().shape) == ((2, 1, T, 7), (2, 1, T, 6 + 9))


@pytest.mark.parametrize("causal", [True, False])
def test_flops(causal):
    part = drawn("dsa", **SIZES, **INDEX, position="none")
    for length in (3, 9):
        assert reported(part, length, causal).executed == counted(part, length, causal)
    plain, found = reported(drawn("mla", **SIZES, position="none"), 9), reported(part, 9)
    projections = 2 * 9 * D * (8 * 9 + 9 + 8)
    # 45 cells that a query sees, of which it reads 1, 2, and then 3 of each row
    assert found.algorithm - plain.algorithm == projections + 45 * 2 * 8 * 10 - (45 - 24) * 2 * 3 * 15


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="index_head_dim=4 is less than rope_dim=6"):
        drawn("dsa", **SIZES, index_head_dim=4, position="none")


def test_pieces_are_of_heads_only_where_the_indexer_does_not_learn():
    assert drawn("dsa", **SIZES, position="none").splits == {}
    assert drawn("dsa", **SIZES, position="none", index_loss=0.0).splits == {"heads": 3}


@pytest.mark.parametrize(("name", "layout"), [("deepseek_v32", "half"), ("glm_moe_dsa", "interleaved")])
def test_is_transformers_attention(name, layout):
    """The one turns the indexer's halves, the other its neighbours; ours turns neighbours, so the half layout's channels are reordered."""
    transformers = pytest.importorskip("transformers")
    from importlib import import_module

    theirs = import_module(f"transformers.models.{name}.modeling_{name}")
    title = {"deepseek_v32": "DeepseekV32", "glm_moe_dsa": "GlmMoeDsa"}[name]
    sizes = {"kv_lora_rank": 7, "q_lora_rank": 8, "qk_rope_head_dim": 6, "qk_nope_head_dim": 4, "v_head_dim": 5}
    more = {"index_topk": 3, "index_head_dim": 9, "index_n_heads": 8, "num_hidden_layers": 2, "rms_norm_eps": 1e-6}
    config = getattr(transformers, f"{title}Config")(
        hidden_size=D, num_attention_heads=4, num_key_value_heads=4, attn_implementation="eager", **sizes, **more
    )
    oracle = getattr(theirs, f"{title}Attention")(config, 0).double()
    norm = {"name": "rms", "eps": config.rms_norm_eps}
    part = drawn("dsa", **{**SIZES, "n_heads": 4, "latent_norm": norm}, **INDEX, q_rank=8, index_norm={"name": "layer", "eps": 1e-6}, position="rope")  # fmt: skip
    order = torch.arange(9) if layout == "interleaved" else torch.tensor([0, 2, 4, 1, 3, 5, 6, 7, 8])
    w = part.indexer
    oracle.load_state_dict(
        {
            "q_a_proj.weight": part.q_down.weight,
            "q_a_layernorm.weight": part.q_norm.weight,
            "q_b_proj.weight": part.q_up.weight,
            "kv_a_proj_with_mqa.weight": torch.cat((part.kv_down.weight, part.k_rope.weight)),
            "kv_a_layernorm.weight": part.kv_norm.weight,
            "kv_b_proj.weight": torch.cat((part.k_up.weight.view(4, 4, 7), part.v_up.weight.view(4, 5, 7)), 1).flatten(0, 1),
            "o_proj.weight": part.out.weight,
            "indexer.wq_b.weight": w.q.weight.view(8, 9, 8)[:, order].flatten(0, 1),
            "indexer.wk.weight": w.k.weight[order],
            "indexer.k_norm.weight": w.k_norm.weight[order],
            "indexer.k_norm.bias": w.k_norm.bias[order],
            "indexer.weights_proj.weight": w.weights.weight,
        }
    )
    angles = getattr(theirs, f"{title}RotaryEmbedding")(config)(inputs(), torch.arange(T)[None])
    hidden = torch.full((T, T), float("-inf"), dtype=torch.float64).triu(1)[None, None].expand(2, -1, -1, -1)
    wanted = oracle(inputs(), position_embeddings=angles, attention_mask=hidden)[0]
    torch.testing.assert_close(part(inputs(), info()), wanted, rtol=1e-5, atol=1e-5)
