"""OPT (Zhang et al. 2022, arXiv:2205.01068), all but 350m: norms before the branches, ReLU, positions whose table begins with two unused rows."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._bart import NAMES
from components.interop.architectures._common import in_each, tied, unused
from components.interop.architectures._llama import biases
from components.interop.fields import ACTIVATIONS, Constant, Custom, Mapped, Options, Same, Theirs, Unsupported


def _read(config: Theirs) -> Options:
    if (width := config.get("word_embed_proj_dim")) not in (None, config["hidden_size"]):
        raise Unsupported(f"word_embed_proj_dim={width}: the embedding is as wide as the stream here")
    return {}


ARCHITECTURE = Architecture(
    names=("OPTForCausalLM",),
    model_type="opt",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "learned", "offset": 2},
            "norm": "layer",
            "block": "pre_norm",
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
        *(
            Constant("do_layer_norm_before", True),
            Constant("layer_norm_elementwise_affine", True),
            unused("_remove_final_layer_norm", False),
        ),
        Custom(("word_embed_proj_dim",), _read, lambda get: {"word_embed_proj_dim": get("model.d_model")}),
        *(biases("enable_bias", True), tied(True)),
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "relu"),
        Same("dropout", "model.residual.dropout", 0.1),
        Same("attention_dropout", "model.attention.dropout", 0.0),
    ),
    tensors=(
        Rule("model.decoder.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.decoder.embed_positions.weight", "stack.positions.0.table.weight"),
        Rule("model.decoder.final_layer_norm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
        *in_each("model.decoder.layers.{i}.", NAMES),
    ),
    free=frozenset(("layerdrop", "init_std", "activation_dropout")),
    prefix="model.",
    copies={"lm_head.weight": "model.decoder.embed_tokens.weight"},
)
