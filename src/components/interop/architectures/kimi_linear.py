"""Kimi Linear (Kimi Team 2025, arXiv:2510.26692): Kimi delta attention in three layers of four, latent attention without rotation in the others.

Published files name the dense layer's matrices ``mlp``, the class writes ``block_sparse_moe`` for all layers and reads both; so do we.
The published config.json has the sizes of its delta attention under ``linear_attn_config``, its layers counted from 1. The latent vectors' norms have an
eps of their own, 1e-6. The correction of the router stays as it is unless ``model.ffn.router.rate`` says otherwise.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import PADDING, ROPE_FIELDS, TIED, either, stack, unused
from components.interop.architectures._layers import each_layer, in_layers, layers_of, option
from components.interop.architectures._llama import FILES
from components.interop.architectures._mla import LATENT, LATENT_TENSORS, MLA_FREE, shared_experts
from components.interop.architectures._moe import MOE, PROJECTIONS, count, dense_by_type, experts, shared
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported
from components.interop.layouts import Convolutions, Layout, Reshaped
from components.interop.layouts import Same as AsItIs

KDA, KINDS = "kda", ("linear_attention", "full_attention")
SIZES = {  # theirs: (in linear_attn_config, ours, of the class)
    "linear_num_heads": ("num_heads", "n_heads", 32),
    "linear_head_dim": ("head_dim", "head_dim", 128),
    "linear_conv_kernel_dim": ("short_conv_kernel_size", "conv_size", 4),
}
OURS = {  # theirs, in self_attn: ours
    **{f"{n}_proj.weight": f"{n}.weight" for n in ("k", "v", "b")},
    **{f"{n}_conv1d.weight": f"{n}_conv.taps" for n in ("q", "k", "v")},
    **{
        f"{a}_{b}_proj.weight": f"{c}_{d}.weight"
        for a, c in (("f", "decay"), ("g", "z"))
        for b, d in (("a", "down"), ("b", "up"))
    },
    **{"A_log": "A_log", "dt_bias": "dt_bias", "o_norm.weight": "output_norm.weight"},
}


def _kinds(config: Theirs) -> list[str]:
    n_layers, older = config["num_hidden_layers"], config.get("linear_attn_config") or {}
    types = config.get("layer_types") or [KINDS[bool(i and i % 4 == 0)] for i in range(n_layers)]
    if not config.get("layer_types") and {"kda_layers", "full_attn_layers"} <= set(older):
        named = {**dict.fromkeys(older["kda_layers"], KINDS[0]), **dict.fromkeys(older["full_attn_layers"], KINDS[1])}
        if sorted(named) != list(range(1, n_layers + 1)):
            raise Unsupported(f"linear_attn_config: its lists name layers {sorted(named)}, and there are 1 to {n_layers}")
        types = [named[i + 1] for i in range(n_layers)]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    return types


def _read_layers(config: Theirs) -> Options:
    older, eps = config.get("linear_attn_config") or {}, config.get("rms_norm_eps", 1e-5)
    if unknown := sorted(set(older) - {"kda_layers", "full_attn_layers", *(n for n, *_ in SIZES.values())}):
        raise Unsupported(f"linear_attn_config: {', '.join(unknown)} is not known")
    sizes = {ours: older.get(name, config.get(theirs, default)) for theirs, (name, ours, default) in SIZES.items()}
    node = {"name": KDA, **sizes, "output_norm": {"name": "rms", "eps": eps}}
    linear = [i for i, t in enumerate(_kinds(config)) if t == KINDS[0]]
    return in_layers(linear, config["num_hidden_layers"], "attention", node)


def _write_layers(get: Get) -> Fields:
    for node in (n for n in each_layer(get, "attention") if n.get("name") == KDA):
        for ours, wanted in (("head_v_dim", node.get("head_dim")), ("gate_low_rank_dim", node.get("head_dim"))):
            if node.get(ours) not in (None, wanted):
                raise Unsupported(f"{KDA}.{ours}={node[ours]}: the class has head_dim={wanted} for it")
    sizes = {theirs: option(get, "attention", KDA, ours, default) for theirs, (_, ours, default) in SIZES.items()}
    linear = layers_of(get, "attention", KDA)
    return {**sizes, "layer_types": [KINDS[i not in linear] for i in range(get("model.n_layers"))]}


def _form(ours: str) -> Layout:
    return Convolutions() if ours.endswith("taps") else Reshaped((1, 1, -1, 1)) if ours == "A_log" else AsItIs()


OTHERS = ("q_lora_rank", "max_position_embeddings", "rms_norm_eps", ROPE_FIELDS[0])
ARCHITECTURE = Architecture(
    names=("KimiLinearForCausalLM",),
    model_type="kimi_linear",
    base={
        "model": {
            "name": "decoder",
            "position": "none",
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "mla", "latent_norm": {"name": "rms", "eps": 1e-6}},
            "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}},
        }
    },
    fields=(
        *(f for f in LATENT if f.names[0] not in OTHERS),
        either(("model_max_length", "max_position_embeddings"), "model.context_length", 1048576),
        Same("q_lora_rank", "model.attention.q_rank", None),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        Custom(("layer_types", "linear_attn_config", *SIZES), _read_layers, _write_layers),
        count("num_experts", "num_local_experts", "n_routed_experts"),
        either(("num_experts_per_token", "num_experts_per_tok"), "model.ffn.router.k", 8),
        either(("moe_renormalize", "norm_topk_prob"), "model.ffn.router.renormalise", True),
        either(("num_expert_group", "n_group"), "model.ffn.router.n_groups", 1),
        Same("topk_group", "model.ffn.router.top_groups", 1),
        Same("routed_scaling_factor", "model.ffn.routed_scale", 2.446),
        shared_experts("num_shared_experts"),
        dense_by_type(1),
        unused("moe_layer_freq", 1),
        unused("mla_use_nope", True),
        unused("moe_router_activation_func", "sigmoid"),
        unused("num_nextn_predict_layers", 0),
        *(TIED, PADDING),
    ),
    tensors=(
        *LATENT_TENSORS,
        *(
            Rule(f"model.layers.{{i}}.self_attn.{theirs}", stack(f"attention.{ours}"), _form(ours))
            for theirs, ours in OURS.items()
        ),
        *(Rule(f"model.layers.{{i}}.block_sparse_moe.{a}.weight", stack(f"ffn.{b}.weight"), dims=2) for a, b in PROJECTIONS),
        *experts((("w1", "gate"), ("w3", "up"), ("w2", "out")), "block_sparse_moe.experts.{e}"),
        *shared("shared_experts", "block_sparse_moe"),
        Rule("model.layers.{i}.block_sparse_moe.gate.weight", stack("ffn.router.logits.weight")),
        Rule("model.layers.{i}.block_sparse_moe.gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=MLA_FREE | {*ROPE_FIELDS, "use_grouped_topk"},  # nothing rotates; one group of all is no group
    renamed={".mlp.": ".block_sparse_moe."},
    **FILES,
)
