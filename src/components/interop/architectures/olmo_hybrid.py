"""OLMo Hybrid (Team OLMo 2026): Gated DeltaNet in pre-norm layers, and in every fourth OLMo 3's attention, whose norms are on what branches give.

A base of null turns nothing, as published; without ``rope_parameters`` the class turns by 10000. Convolutions of q, k and v are as the hub's files have them,
each as wide as its projection; what transformers 5.24 saves has them in equal thirds, and is refused by its shapes where values are wider than keys.
"""

from __future__ import annotations

from components.interop.architecture import SAME, Architecture, Rule
from components.interop.architectures._common import ATTENTION, GLU, PADDING, ROPE_FIELDS, rope, stack
from components.interop.architectures._layers import each_layer, in_layers, layers_of, option
from components.interop.architectures._llama import ENDS, EPS, FILES, QK_NORMS
from components.interop.architectures._olmo import FIELDS, NORMED
from components.interop.architectures._qwen3_next import KINDS, NET
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Layout, Reshaped

ROPE = rope(partial=False)
SIZES = {  # theirs: ours
    "linear_num_key_heads": "n_heads",
    "linear_num_value_heads": "n_v_heads",
    "linear_key_head_dim": "head_dim",
    "linear_value_head_dim": "head_v_dim",
}
OTHERS = {"linear_conv_kernel_dim": ("conv_size", 4), "linear_allow_neg_eigval": ("allow_neg_eigval", True)}


def _read_layers(config: Theirs) -> Options:
    n_layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    types = config.get("layer_types") or [KINDS[i % 4 == 3 or i == n_layers - 1 < 3] for i in range(n_layers)]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    sizes = {ours: config.get(theirs) for theirs, ours in SIZES.items()}
    keys = sizes["n_heads"] = sizes["n_heads"] or heads
    sizes["n_v_heads"] = sizes["n_v_heads"] or heads
    width = sizes["head_dim"] = sizes["head_dim"] or int(0.75 * config["hidden_size"] / keys)
    sizes["head_v_dim"] = sizes["head_v_dim"] or 2 * width
    sizes |= {ours: value_of(config, theirs, default) for theirs, (ours, default) in OTHERS.items()}
    node = {"name": NET, **sizes, "position": "none", "output_norm": {"name": "rms", "eps": 1e-5}}
    linear = [i for i, t in enumerate(types) if t == KINDS[0]]
    return in_layers(linear, n_layers, "attention", node) | in_layers(linear, n_layers, "block", "pre_norm")


def _write_layers(get: Get) -> Fields:
    linear = layers_of(get, "attention", NET)
    blocks = [node["name"] for node in each_layer(get, "block")]
    if wrong := [i for i, name in enumerate(blocks) if name != ("pre_norm" if i in linear else "output_norm")]:
        raise Unsupported(
            f"layer {wrong[0]} has block {blocks[wrong[0]]}: a DeltaNet's is pre_norm, an attention's output_norm"
        )
    sizes = {theirs: option(get, "attention", NET, ours) for theirs, ours in SIZES.items()}
    sizes |= {theirs: option(get, "attention", NET, ours, default) for theirs, (ours, default) in OTHERS.items()}
    return {**sizes, "layer_types": [KINDS[i not in linear] for i in range(get("model.n_layers"))]}


def _read_position(config: Theirs) -> Options:
    given = config.get("rope_parameters")
    if given is not None and given.get("rope_theta") is None:
        return {"model.position.name": "none"}
    return {"model.position.name": "rope", "model.position.layout": "half", **ROPE.read(config)}


def _write_position(get: Get) -> Fields:
    turned = (get("model.position.name") or get("model.position")) == "rope"
    return ROPE.write(get) if turned else {"rope_parameters": {"rope_type": "default", "rope_theta": None}}


def _in(kind: bool, table: dict[str, str], form: Layout = SAME) -> tuple[Rule, ...]:
    """A rule for each row of {theirs: ours}, in layers with a DeltaNet (True), or in those without."""

    def layers(get: Get) -> list[int]:
        return [i for i, node in enumerate(each_layer(get, "attention")) if (node["name"] == NET) == kind]

    return tuple(Rule(f"model.layers.{{i}}.{theirs}", stack(ours), form, layers=layers) for theirs, ours in table.items())


LINEAR = {
    **{f"linear_attn.{n}_proj.weight": f"attention.{n}.weight" for n in "qkvab"},
    **{f"linear_attn.{n}": f"attention.{n}" for n in ("A_log", "dt_bias")},
    "linear_attn.g_proj.weight": "attention.z.weight",
    "linear_attn.o_proj.weight": "attention.out.weight",
    "linear_attn.o_norm.weight": "attention.output_norm.weight",
    "attention_layer_norm.weight": "attention_norm.weight",
    "feedforward_layer_norm.weight": "ffn_norm.weight",
}
CONVOLUTIONS = {f"linear_attn.{n}_conv1d.weight": f"attention.{n}_conv.taps" for n in "qkv"}
NORMS = {"feedforward_layer_norm.weight": "attention_norm.weight", "post_feedforward_layernorm.weight": "ffn_norm.weight"}

ARCHITECTURE = Architecture(
    names=("OlmoHybridForCausalLM",),
    model_type="olmo_hybrid",
    base={"model": {**NORMED["model"], "position": "none"}},
    fields=(
        *FIELDS,
        *(Same("rms_norm_eps", EPS, 1e-6), PADDING),
        Custom(("layer_types", *SIZES, *OTHERS), _read_layers, _write_layers),
        Custom(ROPE_FIELDS, _read_position, _write_position),
    ),
    tensors=(
        *ENDS,
        *_in(True, LINEAR),
        *_in(True, CONVOLUTIONS, Reshaped((-1, 1, -1))),
        *_in(False, NORMS),
        *ATTENTION,
        *QK_NORMS,
        *GLU,
    ),
    # first values of a DeltaNet
    free=frozenset(f"linear_{n}" for n in ("a_log_min", "a_log_max", "dt_min", "dt_max", "dt_init_floor")),
    # as the class calls them, and with them the hub's files of attention
    renamed={"input_layernorm": "attention_layer_norm", "post_attention_layernorm": "feedforward_layer_norm"},
    **FILES,
)
