"""Norms against the classes of transformers that the known models use."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from components import build

pytest.importorskip("transformers")
D, HEADS = 8, 3
# class -> (module, its arguments, our norm, our options, a scale for each head)
NORMS = {
    "LlamaRMSNorm": ("llama", (D, 1e-5), "rms", {"eps": 1e-5}, False),
    "T5LayerNorm": ("t5", (D, 1e-6), "rms", {"eps": 1e-6}, False),
    "GemmaRMSNorm": ("gemma", (D, 1e-6), "rms", {"unit_offset": True}, False),
    "Gemma3RMSNorm": ("gemma3", (D, 1e-6), "rms", {"unit_offset": True}, False),
    "Qwen3NextRMSNorm": ("qwen3_next", (D, 1e-6), "rms", {"unit_offset": True}, False),
    "Llama4TextL2Norm": ("llama4", (1e-6,), "rms", {"scale": "none"}, False),
    "OlmoLayerNorm": ("olmo", (D,), "layer", {"scale": "none", "bias": False}, False),
    "CohereLayerNorm": ("cohere", (D, 1e-5), "layer", {"bias": False}, False),
    "CohereLayerNorm, per head": ("cohere", ((HEADS, D), 1e-5), "layer", {"bias": False}, True),
    "NemotronLayerNorm1P": ("nemotron", (D, 1e-5), "layer1p", {}, False),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_it_is_transformers_norm(name, dtype):
    folder, arguments, ours, options, per_head = NORMS[name]
    theirs = getattr(import_module(f"transformers.models.{folder}.modeling_{folder}"), name.split(",")[0])(*arguments)
    norm = build("norm", ours, dim=D, **({"heads": HEADS} if per_head else {}), **options)
    torch.manual_seed(0)
    given = dict(theirs.named_parameters())
    assert len(given) == len(list(norm.parameters()))
    with torch.no_grad():
        for leaf, p in given.items():
            own = norm.scale if ours == "layer1p" and leaf == "weight" else getattr(norm, leaf)
            own.copy_(p.normal_())
        x = (torch.randn(2, 5, HEADS, D) * 3 + 1).to(dtype)
        want = theirs.to(dtype)(x)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(norm.to(dtype)(x), want, rtol=tolerance, atol=tolerance)
