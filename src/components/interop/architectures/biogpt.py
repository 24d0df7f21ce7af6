"""BioGPT (Luo et al. 2022, arXiv:2210.10341): norms before the branches, a scaled embedding, positions whose table begins with two unused rows."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._bart import NAMES
from components.interop.architectures._common import decoder_sizes, in_each, tied
from components.interop.architectures._neox import EVERY
from components.interop.fields import ACTIVATIONS, Constant, Mapped, Same

ARCHITECTURE = Architecture(
    names=("BioGptForCausalLM",),
    model_type="biogpt",
    base={
        "model": {
            **{"name": "decoder", "position": {"name": "learned", "offset": 2}, "block": "pre_norm"},
            **{
                "norm": {"name": "layer", "eps": 1e-5},
                "attention": {"name": "gqa", "bias": EVERY},
                "ffn": {"name": "mlp", "bias": True},
            },
        }
    },
    fields=(
        *decoder_sizes(),
        *(Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "gelu"), tied(True), Constant("layerdrop", 0.0)),
        Mapped("scale_embedding", "model.embedding.scale", {False: 1.0, True: "sqrt"}, True),
        Same("hidden_dropout_prob", ("model.residual.dropout", "model.embedding.dropout"), 0.1),
        Same("attention_probs_dropout_prob", "model.attention.dropout", 0.1),
    ),
    tensors=(
        Rule("biogpt.embed_tokens.weight", "embedding.table.weight"),
        Rule("biogpt.embed_positions.weight", "stack.positions.0.table.weight"),
        Rule("biogpt.layer_norm.{p}", "stack.final_norm.{p}"),
        Rule("output_projection.weight", "head.logits.weight"),
        *in_each("biogpt.layers.{i}.", NAMES),
    ),
    free=frozenset(("layer_norm_eps", "activation_dropout")),  # the class's norms have an eps of their own
    prefix="biogpt.",
    copies={"output_projection.weight": "biogpt.embed_tokens.weight"},
)
