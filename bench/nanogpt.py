"""nanoGPT's model (Karpathy 2022, github.com/karpathy/nanoGPT, model.py) written anew and small: GPT-2 with fused attention and tied weights.

``NanoGPT(ids, targets) -> loss`` for ids and targets (B, T); ``generate`` reads the whole text again for each token, as the original does.
Linear maps and norms have biases or not, the activation is the exact GELU, and there is no dropout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width, bias=bias), nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(width, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(b, t, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, vocab: int, context: int, width: int, layers: int, heads: int, bias: bool = True) -> None:
        super().__init__()
        self.context = context
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(Block(width, heads, bias) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width, bias=bias)
        for name, p in self.named_parameters():
            if p.ndim > 1:
                scale = (2 * layers) ** -0.5 if "proj" in name else 1.0
                nn.init.normal_(p, 0.0, 0.02 * scale)

    def hidden(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(self.hidden(ids), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(self, ids: Tensor, new: int) -> Tensor:
        """Greedy: ids (B, T) -> (B, T + new)."""
        for _ in range(new):
            last = self.hidden(ids[:, -self.context :])[:, -1]
            ids = torch.cat((ids, F.linear(last, self.wte.weight).argmax(-1, keepdim=True)), 1)
        return ids


def weights_for_ours(model: NanoGPT) -> dict[str, Tensor]:
    """The state dict that gives our GPT-2 the same function."""
    out = {"embedding.table.weight": model.wte.weight, "stack.positions.0.table.weight": model.wpe.weight}
    for i, block in enumerate(model.h):
        at = f"stack.layers.{i}.block."
        for leaf in ("weight", "bias"):
            for name, value in zip("qkv", block.get_parameter(f"c_attn.{leaf}").chunk(3, 0), strict=True):
                out[f"{at}attention.{name}.{leaf}"] = value
            for theirs, mine in (
                ("attn_proj", "attention.out"),
                ("c_fc", "ffn.up"),
                ("mlp_proj", "ffn.out"),
                ("ln_1", "attention_norm"),
                ("ln_2", "ffn_norm"),
            ):
                out[f"{at}{mine}.{leaf}"] = block.get_parameter(f"{theirs}.{leaf}")
    out |= {f"stack.final_norm.{leaf}": model.ln_f.get_parameter(leaf) for leaf in ("weight", "bias")}
    return {name: value.detach() for name, value in out.items()}
