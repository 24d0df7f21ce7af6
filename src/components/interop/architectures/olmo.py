"""OLMo 1 (Groeneveld et al. 2024, arXiv:2402.00838): Llama's parts with layer norms that learn nothing, and clipped projections if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import rope
from components.interop.architectures._llama import BASE, FILES, TENSORS
from components.interop.architectures._olmo import FIELDS
from components.interop.fields import Same

ARCHITECTURE = Architecture(
    names=("OlmoForCausalLM",),
    model_type="olmo",
    base={"model": {**BASE["model"], "norm": {"name": "layer", "eps": 1e-5, "scale": "none", "bias": False}}},
    fields=(*FIELDS, rope(partial=False), Same("clip_qkv", "model.attention.clip", None)),
    tensors=tuple(r for r in TENSORS if "norm" not in r.their_names[0]),  # they have no numbers
    **FILES,
)
