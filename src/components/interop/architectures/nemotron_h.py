"""Nemotron-H and Nemotron 3 (NVIDIA 2025, arXiv:2504.03624): each layer is a Mamba-2, an attention, an MLP or experts, and nothing besides.

Nothing is told its position. dt is clamped from below as the class clamps it where it reads a text; its steps of decoding do not, and ours do.
"""

from __future__ import annotations

from collections.abc import Collection

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import decoder_sizes, head_dim, in_each, stack, tied
from components.interop.architectures._layers import each_layer, layers_of, option
from components.interop.architectures._llama import DROPOUT, MLP_BIAS
from components.interop.architectures._mamba import mixer2
from components.interop.architectures._moe import FREE
from components.interop.fields import (
    ACTIVATIONS,
    Constant,
    Custom,
    Fields,
    Get,
    Mapped,
    Node,
    Options,
    Same,
    Theirs,
    Unsupported,
    value_of,
)
from components.interop.layouts import Experts

KINDS = {  # their names, the first one is written: what a layer has
    "linear_attention": "mamba2",
    "mamba": "mamba2",
    "full_attention": "gqa",
    "attention": "gqa",
    "mlp": "mlp",
    "moe": "moe",
}
LETTERS = {"M": "mamba2", "*": "gqa", "-": "mlp", "E": "moe"}
MAMBA = {  # theirs: (ours, of the class)
    "mamba_num_heads": ("n_heads", 128),
    "ssm_state_size": ("state_size", 128),
    "n_groups": ("n_groups", 8),
    "conv_kernel": ("conv_size", 4),
    "use_conv_bias": ("conv_bias", True),
    "use_bias": ("bias", False),
    "time_step_min": ("dt_min", 0.001),
    "time_step_max": ("dt_max", 0.1),
}
ROUTED = {  # theirs: (ours, of the class)
    "n_routed_experts": ("n_experts", 8),
    "moe_intermediate_size": ("d_ff", 7688),
    "routed_scaling_factor": ("routed_scale", 1.0),
}
ROUTER = {
    "num_experts_per_tok": ("k", 2),
    "n_group": ("n_groups", 1),
    "topk_group": ("top_groups", 1),
    "norm_topk_prob": ("renormalise", True),
}
SHARED = "moe_shared_expert_intermediate_size"
FORMS = ("layers_block_type", "layer_types", "hybrid_override_pattern")
ONE = {  # the only values
    "mamba_hidden_act": "silu",
    "mamba_proj_bias": False,
    "attention_bias": False,
    "moe_latent_size": None,
    "n_shared_experts": 1,
    "sliding_window": None,
}
# what the class does not read where it reads a text: the number of layers is that of their kinds, the width of a Mamba-2 is that of its heads
UNREAD = frozenset(
    (
        *("num_hidden_layers", "expand", "chunk_size", "hidden_dropout", "mamba_ssm_cache_dtype"),
        *("moe_shared_expert_overlap", "num_logits_to_keep", "rescale_prenorm_residual", "residual_in_fp32"),
        *("time_step_floor", "use_mamba_kernels", "num_nextn_predict_layers", "mtp_layers_block_type"),
        *("mtp_hybrid_override_pattern", "norm_eps", "rms_norm_eps"),
    )
)


def _kinds(config: Theirs) -> list[str]:
    """What each layer has."""
    given = next((n for n in FORMS if config.get(n) is not None), None)
    known = LETTERS if given == FORMS[2] else KINDS
    listed = config[given] if given else ("linear_attention", "moe", "full_attention", "mlp")
    if unknown := sorted(set(listed) - set(known)):
        raise Unsupported(f"{given}: {', '.join(unknown)} is not known, there are {', '.join(known)}")
    return [known[kind] for kind in listed]


def _node(config: Theirs, table: dict[str, tuple[str, object]]) -> Node:
    return {ours: value_of(config, theirs, default) for theirs, (ours, default) in table.items()}


def _mamba(config: Theirs) -> Node:
    node = _node(config, MAMBA)
    inner = node["n_heads"] * value_of(config, "mamba_head_dim", 64)
    norm = {"name": "rms", "eps": value_of(config, "layer_norm_epsilon", 1e-5)}
    limit = [node["dt_min"], float("inf")]
    return {"name": "mamba2", **node, "expand": inner / config["hidden_size"], "dt_limit": limit, "output_norm": norm}


def _experts(config: Theirs) -> Node:
    alike = {
        "activation": ACTIVATIONS[value_of(config, "mlp_hidden_act", "relu2")],
        "bias": value_of(config, "mlp_bias", False),
    }
    shared = {"name": "mlp", **alike, "d_ff": value_of(config, SHARED, 7688)}
    router = {"name": "sigmoid_top_k", "rate": 0.0, **_node(config, ROUTER)}
    if alike["bias"]:
        raise Unsupported("mlp_bias=True with experts: the class gives one to the shared expert alone")
    return {
        "name": "moe",
        "expert": "mlp",
        **alike,
        **_node(config, ROUTED),
        "router": router,
        "shared": shared,
        "load_balance": 0.0,
    }


def _read_layers(config: Theirs) -> Options:
    kinds = _kinds(config)
    made: Options = {"model.n_layers": len(kinds), "model.pattern": kinds}
    for kind in dict.fromkeys(kinds):
        mixes = kind in ("mamba2", "gqa")
        made[f"model.layers.{kind}.{'ffn' if mixes else 'attention'}"] = "none"
        if kind in ("mamba2", "moe"):
            made[f"model.layers.{kind}.{'attention' if mixes else 'ffn'}"] = (_mamba if mixes else _experts)(config)
    return made


def _write_layers(get: Get) -> Fields:
    theirs = {ours: name for name, ours in reversed(KINDS.items())}
    parts = [
        [n["name"] for n in held if n["name"] != "none"]
        for held in zip(each_layer(get, "attention"), each_layer(get, "ffn"), strict=True)
    ]
    if wrong := [i for i, held in enumerate(parts) if len(held) != 1 or held[0] not in theirs]:
        raise Unsupported(
            f"layer {wrong[0]} has {' and '.join(parts[wrong[0]]) or 'nothing'}: each has one of {', '.join(LETTERS.values())}"
        )
    made: Fields = {"layers_block_type": [theirs[held[0]] for held in parts]}
    if layers_of(get, "attention", "mamba2"):
        made |= {name: option(get, "attention", "mamba2", ours) for name, (ours, _) in MAMBA.items()}
        limit, width = (option(get, "attention", "mamba2", name) for name in ("dt_limit", "expand"))
        if list(limit or ()) != [made["time_step_min"], float("inf")]:
            raise Unsupported(f"dt_limit={limit}: its class clamps from dt_min={made['time_step_min']}, without end")
        made["mamba_head_dim"] = round(width * get("model.d_model")) // made["mamba_num_heads"]
    if layers_of(get, "ffn", "moe"):
        router = option(get, "ffn", "moe", "router")
        made |= {name: option(get, "ffn", "moe", ours) for name, (ours, _) in ROUTED.items()}
        made |= {name: router[ours] for name, (ours, _) in ROUTER.items()}
        made |= {SHARED: option(get, "ffn", "moe", "shared")["d_ff"], "topk_group": router["top_groups"] or router["n_groups"]}
    return made


def _without(get: Get, socket: str) -> Collection[int]:
    """The layers that have something at the other socket."""
    return [i for i, node in enumerate(each_layer(get, socket)) if node["name"] != "none"]


LAYER = "backbone.layers.{i}."
MIXER = LAYER + "mixer."
MAPS = (("up_proj", "up"), ("down_proj", "out"))
ARCHITECTURE = Architecture(
    names=("NemotronHForCausalLM",),
    model_type="nemotron_h",
    base={
        "model": {"name": "decoder", "position": "none", "norm": "rms", "block": "pre_norm", "attention": "gqa", "ffn": "mlp"}
    },
    fields=(
        *(f for f in decoder_sizes() if f.names not in (("max_position_embeddings",), ("num_hidden_layers",))),
        Same("max_position_embeddings", "model.context_length", 4096),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        *(head_dim(128), DROPOUT, MLP_BIAS, tied(False)),
        Mapped("mlp_hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
        Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
        Custom((*FORMS, "time_step_limit", "mamba_head_dim", SHARED, *MAMBA, *ROUTED, *ROUTER), _read_layers, _write_layers),
        *(Constant(name, value) for name, value in ONE.items()),
    ),
    tensors=(
        Rule("backbone.embeddings.weight", "embedding.table.weight"),
        Rule("backbone.norm_f.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
        *(
            Rule(f"{LAYER}norm.weight", stack(f"{s}_norm.weight"), layers=lambda get, s=s: _without(get, s))
            for s in ("attention", "ffn")
        ),
        *mixer2(MIXER[:-1]),
        *in_each(MIXER, {f"{n}_proj": f"attention.{m}" for n, m in zip("qkvo", ("q", "k", "v", "out"), strict=True)}),
        *(Rule(f"{MIXER}{a}.{p}", stack(f"ffn.{b}.{p}"), dims=n) for a, b in MAPS for p, n in (("weight", 2), ("bias", 1))),
        *(Rule(f"{MIXER}experts.{{e}}.{a}.weight", stack(f"ffn.{b}.weight"), Experts(), 3) for a, b in MAPS),
        *in_each(MIXER, {f"shared_experts.{a}": f"ffn.shared.{b}" for a, b in MAPS}),
        Rule(f"{MIXER}gate.weight", stack("ffn.router.logits.weight")),
        Rule(f"{MIXER}gate.e_score_correction_bias", stack("ffn.router.correction")),
    ),
    free=FREE | UNREAD,
    ignored=("mtp.*",),
    renamed={"model.": "backbone."},
    prefix="backbone.",
)
