"""What the dense LFM2 and the one with experts share: which layers are convolutions, the names of what mixes positions."""

from __future__ import annotations

from components.interop.architecture import SAME, Rule
from components.interop.architectures._common import decoder_sizes, rope, stack
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import EPS, QK
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Convolutions, Layout, Rows

CONVOLUTION = "short_convolution"
KINDS = ("conv", "full_attention")


def _read_layers(config: Theirs) -> Options:
    n_layers, chosen = config["num_hidden_layers"], config.get("full_attn_idxs")
    said = KINDS[1:] * n_layers if chosen is None else [KINDS[i in chosen] for i in range(n_layers)]
    types = config.get("layer_types") or said
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    node = {"name": CONVOLUTION, "conv_size": config.get("conv_L_cache", 3), "bias": config.get("conv_bias", False)}
    those = [i for i, kind in enumerate(types) if kind == KINDS[0]]
    return in_layers(those, n_layers, "attention", node) | in_layers(those, n_layers, "position", "none")


def _write_layers(get: Get) -> Fields:
    those = layers_of(get, "attention", CONVOLUTION)
    if not those:
        raise Unsupported("no layer is a convolution")
    return {
        "layer_types": [KINDS[i not in those] for i in range(get("model.n_layers"))],
        "conv_L_cache": option(get, "attention", CONVOLUTION, "conv_size", 3),
        "conv_bias": option(get, "attention", CONVOLUTION, "bias", False),
    }


def _read_head(config: Theirs) -> Options:
    """Older files say ``tie_embedding``."""
    tied = config.get("tie_embedding", value_of(config, "tie_word_embeddings", True))
    return {"model.head.name": "tied" if tied else "linear"}


def _write_head(get: Get) -> Fields:
    return {"tie_word_embeddings": get("model.head.name") == "tied"}


BASE = QK["model"]
FIELDS = (
    *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
    Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
    Same("norm_eps", EPS, 1e-5),
    rope(1e6, partial=False),
    Custom(("layer_types", "full_attn_idxs", "conv_L_cache", "conv_bias"), _read_layers, _write_layers),
    Custom(("tie_word_embeddings", "tie_embedding"), _read_head, _write_head),
)
GLU = (("w1", "gate"), ("w3", "up"), ("w2", "out"))
# sizes that files repeat under other names, and how the first values were drawn: the class reads none of them
FREE = frozenset(
    (
        *(f"block_{n}" for n in ("dim", "norm_eps", "mlp_init_scale", "out_init_scale", "use_swiglu", "use_xavier_init")),
        *("conv_dim", "conv_dim_out", "conv_use_xavier_init", "num_heads", "use_pos_enc"),
    )
)


def _attention(theirs: str, ours: str) -> Rule:
    return Rule(f"model.layers.{{i}}.self_attn.{theirs}.weight", stack(f"attention.{ours}.weight"))


def _convolution(theirs: str, ours: str | tuple[str, ...], form: Layout = SAME) -> Rule:
    names = (ours,) if isinstance(ours, str) else ours
    return Rule(
        f"model.layers.{{i}}.conv.{theirs}",
        tuple(stack(f"attention.{n}") for n in names),
        form,
        layers=lambda get: layers_of(get, "attention", CONVOLUTION),
    )


TENSORS = (
    Rule("model.embed_tokens.weight", "embedding.table.weight"),
    Rule("model.embedding_norm.weight", "stack.final_norm.weight"),
    Rule("lm_head.weight", "head.logits.weight"),
    Rule("model.layers.{i}.operator_norm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.ffn_norm.weight", stack("ffn_norm.weight")),
    _convolution("in_proj.{p}", ("B.{p}", "C.{p}", "x.{p}"), Rows()),
    _convolution("conv.weight", "conv.taps", Convolutions()),
    _convolution("conv.bias", "conv.bias"),
    _convolution("out_proj.{p}", "out.{p}"),
    *(_attention(f"{n}_proj", n) for n in ("q", "k", "v", "out")),
    *(_attention(f"{n}_layernorm", f"{n}_norm") for n in ("q", "k")),
)
