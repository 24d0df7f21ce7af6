"""Jamba (AI21 2024, arXiv:2403.19887): Mamba with normed dt, B and C in most layers, attention in every eighth, experts in every second.

Nothing is told its position.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, stack
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import DROPOUT
from components.interop.architectures._mamba import AROUND, mixer, rank_of
from components.interop.architectures._moe import FREE, MOE, PROJECTIONS, dense_layers, experts
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of

SIZES = {  # theirs: (ours, of the class)
    "mamba_d_state": ("state_size", 16),
    "mamba_d_conv": ("conv_size", 4),
    "mamba_conv_bias": ("conv_bias", True),
    "mamba_proj_bias": ("bias", False),
}


def _every(config: Theirs, what: str, period: int, offset: int) -> list[int]:
    """The layers that are attention, or have experts."""
    period, offset = value_of(config, f"{what}_layer_period", period), value_of(config, f"{what}_layer_offset", offset)
    return [i for i in range(config["num_hidden_layers"]) if i % period == offset]


def _period(get: Get, what: str, layers: Sequence[int]) -> Fields:
    """The period and offset that give these layers."""
    count = get("model.n_layers")
    tried = ((period, offset) for period in range(1, count + 2) for offset in range(period))
    found = next((t for t in tried if list(range(t[1], count, t[0])) == list(layers)), None)
    if found is None:
        raise Unsupported(f"layers {list(layers)} are no regular ones: its class has a period and an offset")
    return {f"{what}_layer_period": found[0], f"{what}_layer_offset": found[1]}


def _read_mamba(config: Theirs) -> Options:
    n_layers, attention = config["num_hidden_layers"], _every(config, "attn", 8, 4)
    sizes = {ours: value_of(config, theirs, default) for theirs, (ours, default) in SIZES.items()}
    sizes |= {"expand": float(value_of(config, "mamba_expand", 2)), "dt_rank": rank_of(config, "mamba_dt_rank")}
    norm = {"name": "rms", "eps": value_of(config, "rms_norm_eps", 1e-6)}
    node = {"name": "mamba", **sizes, "inner_norm": norm}
    return in_layers([i for i in range(n_layers) if i not in attention], n_layers, "attention", node)


def _write_mamba(get: Get) -> Fields:
    mamba = layers_of(get, "attention", "mamba")
    if not mamba:
        raise Unsupported("no layer is a Mamba")
    sizes = {theirs: option(get, "attention", "mamba", ours, default) for theirs, (ours, default) in SIZES.items()}
    sizes["mamba_expand"] = int(option(get, "attention", "mamba", "expand", 2))
    sizes["mamba_dt_rank"] = option(get, "attention", "mamba", "dt_rank") or "auto"
    return {**sizes, **_period(get, "attn", [i for i in range(get("model.n_layers")) if i not in mamba])}


def _read_dense(config: Theirs) -> Options:
    sparse = _every(config, "expert", 2, 1)
    return dense_layers(config, [i for i in range(config["num_hidden_layers"]) if i not in sparse], "intermediate_size")


def _write_dense(get: Get) -> Fields:
    return _period(get, "expert", layers_of(get, "ffn", "moe"))


ARCHITECTURE = Architecture(
    names=("JambaForCausalLM",),
    model_type="jamba",
    base={
        "model": {
            **{"name": "decoder", "position": "none", "norm": "rms", "block": "pre_norm", "attention": "gqa"},
            "ffn": {**MOE, "router": {"name": "softmax_top_k", "renormalise": False}},
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names != ("max_position_embeddings",)),
        Same("max_position_embeddings", "model.context_length", 262144),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        *(
            DROPOUT,
            TIED,
            Constant("hidden_act", "silu"),
            Constant("sliding_window", None),
            Constant("mamba_inner_layernorms", True),
        ),
        Same("num_experts", "model.ffn.n_experts", 16),
        Same("num_experts_per_tok", "model.ffn.router.k", 2),
        Custom(("attn_layer_period", "attn_layer_offset", "mamba_expand", "mamba_dt_rank", *SIZES), _read_mamba, _write_mamba),
        Custom(("expert_layer_period", "expert_layer_offset"), _read_dense, _write_dense),
    ),
    tensors=(
        *AROUND,
        *mixer("model.layers.{i}.mamba"),
        *(
            Rule(f"model.layers.{{i}}.mamba.{n.lower()}_layernorm.weight", stack(f"attention.{n}_norm.weight"))
            for n in ("dt", "B", "C")
        ),
        *ATTENTION,
        *(Rule(f"model.layers.{{i}}.feed_forward.{t}.weight", stack(f"ffn.{o}.weight"), dims=2) for t, o in PROJECTIONS),
        *experts(where="feed_forward.experts.{e}"),
        Rule("model.layers.{i}.feed_forward.router.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE
    | {
        "use_mamba_kernels",
        "use_mambapy",
        "use_associative_scan",
        "n_ctx",
        "num_logits_to_keep",
        "calc_logits_for_entire_prompt",
    },
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    fits=lambda config: config.get("num_experts", 16) > 1,
)
