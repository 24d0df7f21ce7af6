"""OPT (Zhang et al. 2022, arXiv:2205.01068): norms before the branches, ReLU, positions whose table begins with two unused rows.

The model with 350 million parameters has norms after the branches, and a table of tokens half as wide as its stream, to which its head is tied.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._bart import NAMES
from components.interop.architectures._common import in_each
from components.interop.architectures._llama import biases
from components.interop.fields import (
    ACTIVATIONS,
    Constant,
    Custom,
    Fields,
    Get,
    Mapped,
    Options,
    Same,
    Theirs,
    Unsupported,
    value_of,
)


def _read(config: Theirs) -> Options:
    width, tied = config.get("word_embed_proj_dim"), value_of(config, "tie_word_embeddings", True)
    if width in (None, config["hidden_size"]):
        return {"model.embedding.name": "token", "model.head.name": "tied" if tied else "linear"}
    if not tied:
        raise Unsupported(
            f"word_embed_proj_dim={width} with tie_word_embeddings=False: a narrow head is tied to the table here"
        )
    return {"model.embedding": {"name": "factorised", "width": width}, "model.head.name": "tied_factorised"}


def _write(get: Get) -> Fields:
    both = get("model.embedding.name"), get("model.head.name")
    if both in (("token", "tied"), ("token", "linear")):
        return {"word_embed_proj_dim": get("model.d_model"), "tie_word_embeddings": both[1] == "tied"}
    if both != ("factorised", "tied_factorised"):
        raise Unsupported("model.embedding={} with model.head={}: the class has no such pair".format(*both))
    return {"word_embed_proj_dim": get("model.embedding.width") or get("model.d_model") // 4, "tie_word_embeddings": True}


def _read_last(config: Theirs) -> Options:
    none = config.get("_remove_final_layer_norm") or not value_of(config, "do_layer_norm_before", True)
    return {"model.final_norm": "none" if none else "inherit"}


def _write_last(get: Get) -> Fields:
    none = get("model.final_norm.name") == "none"
    if get("model.block.name") == "post_norm":
        if not none:
            raise Unsupported("model.final_norm beside model.block=post_norm: the class has none there")
        return {"_remove_final_layer_norm": False}
    return {"_remove_final_layer_norm": none}


ARCHITECTURE = Architecture(
    names=("OPTForCausalLM",),
    model_type="opt",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "learned", "offset": 2},
            "norm": "layer",
            "attention": "gqa",
            "ffn": "mlp",
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 50272),
        Same("hidden_size", "model.d_model", 768),
        Same("num_hidden_layers", "model.n_layers", 12),
        Same("num_attention_heads", "model.attention.n_heads", 12),
        Same("ffn_dim", "model.ffn.d_ff", 3072),
        Same("max_position_embeddings", "model.context_length", 2048),
        Mapped("do_layer_norm_before", "model.block.name", {True: "pre_norm", False: "post_norm"}, True),
        Custom(("_remove_final_layer_norm",), _read_last, _write_last),
        Constant("layer_norm_elementwise_affine", True),
        Custom(("word_embed_proj_dim", "tie_word_embeddings"), _read, _write),
        biases("enable_bias", True),
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "relu"),
        Same("dropout", "model.residual.dropout", 0.1),
        Same("attention_dropout", "model.attention.dropout", 0.0),
    ),
    tensors=(
        Rule("model.decoder.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.decoder.embed_tokens.weight", "embedding.tokens.weight"),
        Rule("model.decoder.project_in.weight", "embedding.up.weight"),
        Rule("model.decoder.project_out.weight", "head.down.weight"),
        Rule("model.decoder.embed_positions.weight", "stack.positions.0.table.weight"),
        Rule("model.decoder.final_layer_norm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
        *in_each("model.decoder.layers.{i}.", NAMES),
    ),
    free=frozenset(("layerdrop", "init_std", "activation_dropout")),
    prefix="model.",
    copies={"lm_head.weight": "model.decoder.embed_tokens.weight"},
)
