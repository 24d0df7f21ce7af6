"""nanochat (Karpathy 2025): squared ReLU, norms without a scale everywhere, also of the embedding and of heads that were turned, the other way round."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import TIED, decoder_sizes, in_each, rope, stack
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, KV_HEADS
from components.interop.fields import ACTIVATIONS, Get, Mapped, Same
from components.interop.layouts import SwappedHalves

PLAIN = {"name": "rms", "scale": "none"}
NORMS = ("model.norm.eps", "model.embedding_norm.eps", "model.attention.qk_norm.eps")
NAMES = {"self_attn.v_proj": "attention.v", "self_attn.o_proj": "attention.out", "mlp.fc1": "ffn.up", "mlp.fc2": "ffn.out"}


def _heads(get: Get) -> SwappedHalves:
    return SwappedHalves(get("model.d_model") // get("model.attention.n_heads"))


ARCHITECTURE = Architecture(
    names=("NanoChatForCausalLM",),
    model_type="nanochat",
    base={
        "model": {
            **BASE["model"],
            **{"norm": PLAIN, "embedding_norm": PLAIN, "ffn": "mlp"},
            "attention": {"name": "gqa", "qk_norm": PLAIN, "qk_norm_at": "after"},
        }
    },
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, BIAS, DROPOUT, TIED, rope(partial=False)),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
        Same("final_logit_softcapping", "model.head.soft_cap", 15.0),
        Same("rms_norm_eps", NORMS, 1e-6),
    ),
    tensors=(
        *(Rule("model.embed_tokens.weight", "embedding.table.weight"), Rule("lm_head.weight", "head.logits.weight")),
        *(Rule(f"model.layers.{{i}}.self_attn.{n}_proj.{{p}}", stack(f"attention.{n}.{{p}}"), _heads) for n in "qk"),
        *in_each("model.layers.{i}.", NAMES),
    ),
    prefix="model.",
)
