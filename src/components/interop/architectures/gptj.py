"""GPT-J (Wang & Komatsuzaki 2021): neighbouring channels turn as pairs, one norm for both branches, a head of its own with a bias."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack, tied
from components.interop.architectures._gpt2 import INNER, SUMMARY
from components.interop.fields import ACTIVATIONS, Custom, Fields, Get, Mapped, Options, Same, Theirs, Unsupported, value_of


def _read_rotary(config: Theirs) -> Options:
    width, head_dim = value_of(config, "rotary_dim", 64), config["n_embd"] // config["n_head"]
    if not width or width % 2 or width > head_dim:
        raise Unsupported(f"rotary_dim={width}: it has to be even and at most the width of a head, {head_dim}")
    return {"model.position.fraction": width / head_dim}


def _write_rotary(get: Get) -> Fields:
    head_dim = get("model.d_model") // get("model.attention.n_heads")
    return {"rotary_dim": round(head_dim * (get("model.position.fraction") or 0.0))}


ARCHITECTURE = Architecture(
    names=("GPTJForCausalLM",),
    model_type="gptj",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "interleaved"},
            "norm": "layer",
            "block": "parallel",
            "head": {"name": "linear", "bias": True},
            "attention": "gqa",
            "ffn": {"name": "mlp", "bias": True},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 50400),
        Same("n_embd", "model.d_model", 4096),
        Same("n_layer", "model.n_layers", 28),
        Same("n_head", "model.attention.n_heads", 16),
        Same("n_positions", "model.context_length", 2048),
        INNER,
        Custom(("rotary_dim",), _read_rotary, _write_rotary),
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "gelu_new"),
        Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
        Same("attn_pdrop", "model.attention.dropout", 0.0),
        Same("resid_pdrop", "model.residual.dropout", 0.0),
        Same("embd_pdrop", "model.embedding.dropout", 0.0),
        tied(False),
    ),
    tensors=(
        Rule("transformer.wte.weight", "embedding.table.weight"),
        *(Rule(f"transformer.h.{{i}}.attn.{n}_proj.weight", stack(f"attention.{n}.weight")) for n in ("q", "k", "v", "out")),
        Rule("transformer.h.{i}.mlp.fc_in.{p}", stack("ffn.up.{p}")),
        Rule("transformer.h.{i}.mlp.fc_out.{p}", stack("ffn.out.{p}")),
        Rule("transformer.h.{i}.ln_1.{p}", stack("norm.{p}")),
        Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.{p}", "head.logits.{p}"),
        Rule("lm_head.bias", "head.bias"),
    ),
    free=frozenset(("rotary", "scale_attn_weights", "gradient_checkpointing", *(f"summary_{w}" for w in SUMMARY))),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignored=("transformer.h.{i}.attn.bias", "transformer.h.{i}.attn.masked_bias"),
)
