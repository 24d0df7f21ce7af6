"""A small model with one weight of each role."""

from __future__ import annotations

import torch
from torch import nn

from components.core.weights import Experts


class Small(nn.Module):
    axes = {
        "embedding": ("vocab", "d_model"), "q": ("d_model", "heads"), "k": ("d_model", "heads"), "out": ("d_ff", "d_model"),
        "router": ("d_model", "experts"), "experts": ("experts", "d_model", "d_ff"), "norm": ("d_model",), "head": ("d_model", "vocab"),
    }  # fmt: skip

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.router, self.experts, self.out = nn.Linear(8, 4, bias=False), Experts(4, 8, 16), nn.Linear(16, 8, bias=False)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)

    def forward(self, ids):
        x = self.embedding(ids).flatten(0, 1)
        x = x + self.q(x).tanh() * self.k(x)
        y = self.experts(x.expand(4, *x.shape)).relu()
        x = x + self.out((y * self.router(x).softmax(-1).T[..., None]).sum(0))
        return self.head(self.norm(x))


def small(seed=0):
    torch.manual_seed(seed)
    model = Small()
    with torch.no_grad():
        model.experts.weight.normal_(0, 0.3)
    return model
