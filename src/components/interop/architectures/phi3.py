"""Phi-3, 3.5-mini and 4-mini (Abdin et al. 2024, arXiv:2404.14219; 2025, arXiv:2503.01743): Llama's parts, projections fused in the files.

LongRoPE's original context stands beside ``rope_parameters``; older configs call it ``su`` or ``yarn``.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import HEAD_DIM, ORIGINAL, PADDING, TIED, decoder_sizes, rope, stack, unused
from components.interop.architectures._llama import BASE, DROPOUT, ENDS, FILES, NORMS, SILU
from components.interop.architectures._windows import every_layer
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs
from components.interop.layouts import Rows

ROPE = rope()


def _read_rope(config: Theirs) -> Options:
    stretched = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    kind = stretched.pop("type", "default")
    kind = stretched.pop("rope_type", None) or kind
    stretched["rope_type"] = "longrope" if kind in ("su", "yarn") else kind
    return ROPE.read({ORIGINAL: 4096, **config, "rope_scaling": None, "rope_parameters": stretched})


def _write_rope(get: Get) -> Fields:
    made = ROPE.write(get)
    original = made["rope_parameters"].get(ORIGINAL)
    return made if original is None else {**made, ORIGINAL: original}


ARCHITECTURE = Architecture(
    names=("Phi3ForCausalLM",),
    model_type="phi3",
    base=BASE,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        HEAD_DIM,
        Custom(ROPE.names, _read_rope, _write_rope),
        every_layer(None),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        SILU,
        DROPOUT,
        Same("resid_pdrop", "model.residual.dropout", 0.0),
        Same("embd_pdrop", "model.embedding.dropout", 0.0),
        *(unused(n, False) for n in ("attention_bias", "mlp_bias", "lm_head_bias")),
        *(unused(n, 1) for n in ("full_attn_mod", "interpolate_factor")),
        PADDING,
        TIED,
    ),
    tensors=(
        *ENDS,
        *NORMS,
        Rule(
            "model.layers.{i}.self_attn.qkv_proj.weight", tuple(stack(f"attention.{n}.weight") for n in ("q", "k", "v")), Rows()
        ),
        Rule("model.layers.{i}.self_attn.o_proj.weight", stack("attention.out.weight")),
        Rule("model.layers.{i}.mlp.gate_up_proj.weight", (stack("ffn.gate.weight"), stack("ffn.up.weight")), Rows()),
        Rule("model.layers.{i}.mlp.down_proj.weight", stack("ffn.out.weight")),
    ),
    **FILES,
)
