"""GPT-Neo (Black et al. 2021): GPT-2 with a window on every other layer, and scores that are not scaled."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import in_each, tied
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.fields import ACTIVATIONS, Custom, Fields, Get, Mapped, Options, Same, Theirs

NAMES = {
    **{f"attn.attention.{n}_proj": f"attention.{n}" for n in ("q", "k", "v", "out")},
    **{"mlp.c_fc": "ffn.up", "mlp.c_proj": "ffn.out", "ln_1": "attention_norm", "ln_2": "ffn_norm"},
}
KINDS = {"global": FULL, "local": SLIDING}


def _kinds(config: Theirs) -> list[str]:
    given = config.get("attention_types") or [[["global", "local"], 12]]
    return [KINDS[kind] for kinds, count in given for _ in range(count) for kind in kinds]


LAYERS = by_layer(_kinds, 256)


def _read(config: Theirs) -> Options:
    return LAYERS.read({**config, "sliding_window": config.get("window_size", 256)})


def _write(get: Get) -> Fields:
    made = LAYERS.write(get)
    kinds = [next(k for k, v in KINDS.items() if v == kind) for kind in made["layer_types"]]
    return {"attention_types": [[kinds, 1]], "attention_layers": kinds, "window_size": made["sliding_window"]}


ARCHITECTURE = Architecture(
    names=("GPTNeoForCausalLM",),
    model_type="gpt_neo",
    base={
        "model": {
            **{"name": "decoder", "position": "learned", "norm": "layer", "block": "pre_norm"},
            **{"attention": {"name": "gqa", "bias": ["out"], "scale": 1.0}, "ffn": {"name": "mlp", "bias": True}},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 50257),
        Same("hidden_size", "model.d_model", 2048),
        Same("num_layers", "model.n_layers", 24),
        Same("num_heads", "model.attention.n_heads", 16),
        Same("max_position_embeddings", "model.context_length", 2048),
        Same("intermediate_size", "model.ffn.d_ff", None),
        Custom(("attention_types", "attention_layers", "window_size"), _read, _write),
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "gelu_new"),
        Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Same("resid_dropout", "model.residual.dropout", 0.0),
        Same("embed_dropout", "model.embedding.dropout", 0.0),
        tied(True),
    ),
    tensors=(
        Rule("transformer.wte.weight", "embedding.table.weight"),
        Rule("transformer.wpe.weight", "stack.positions.0.table.weight"),
        Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
        *in_each("transformer.h.{i}.", NAMES),
    ),
    free=frozenset(
        ("classifier_dropout", *(f"summary_{w}" for w in ("type", "use_proj", "activation", "first_dropout", "proj_to_labels")))
    ),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignored=("transformer.h.{i}.attn.attention.bias", "transformer.h.{i}.attn.attention.masked_bias"),
)
