"""Parts and wirings that the ground floor must carry, though their proper parts come later: written here, used by the contract tests alone.

``remember`` registers them, ``forget`` takes them out again, so that no other test meets them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from components import build, register
from components.core import registry
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.parts.mask.full import FullMask
from components.parts.stack.layers import Layers


class AuxiliaryLoss(nn.Module):
    """An FFN with a loss of its own, which leaves the layer through ``info.out``, and a statistic."""

    axes = {"out": ("d_model", "d_model")}

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.register_buffer("seen", torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.seen.zero_()

    def forward(self, x, info):
        y = self.out(x)
        info.out["loss.size"] = (y.float().square().sum(), torch.tensor(float(y.numel())))
        info.out[f"stat.{self.part_path}.tokens"] = torch.tensor(float(x.shape[0] * x.shape[1]))
        return y

    def after_step(self, stats):
        self.seen += stats["tokens"]


class _Heads(nn.Module):
    axes = {"q": ("d_model", "heads"), "k": ("d_model", "heads"), "v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(self, d_model: int, place=None) -> None:
        super().__init__()
        self.place = place
        self.q, self.k, self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.rule = FullMask()

    def split(self, y):
        return y.unflatten(-1, (4, -1)).transpose(1, 2)

    def read(self, q, k, v, info, k_info):
        return self.out(attend(q, k, v, MaskSpec(info, k_info, info.causal, self.rule)).transpose(1, 2).flatten(2))


class ValueResidual(_Heads):
    """Later layers mix in the first layer's values (ResFormer): a carry."""

    carries_out = ("values",)

    def forward(self, x, info):
        q, k, v = (self.split(m(x)) for m in (self.q, self.k, self.v))
        if "values" in info.carry:
            v = 0.5 * v + 0.5 * info.carry["values"]
        else:
            info.out["values"] = v
        k_info = info
        if info.cache is not None:
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
        return self.read(q, k, v, info, k_info)


class SharedKeys(_Heads):
    """Odd layers read the keys and values of the layer before: a carry that holds what the cache returned."""

    carries_out = ("keys",)

    def forward(self, x, info):
        q = self.split(self.q(x))
        if self.place.index % 2:
            return self.read(q, *info.carry["keys"][:2], info, info.carry["keys"][2] or info)
        k, v, k_info = self.split(self.k(x)), self.split(self.v(x)), info
        if info.cache is not None:
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
        info.out["keys"] = (k, v, None if k_info is info else k_info)
        return self.read(q, k, v, info, k_info)


class Looped(Layers):
    """Every layer twice, with ``visit`` telling the two passes apart."""

    def forward(self, x, info):
        for visit in range(2):
            for layer in self.layers:
                x, _ = layer(x, info.with_(visit=visit))
        return self.final_norm(x), {}


class UNet(Layers):
    """The second half reads what the first half wrote, in reverse order: skips that no layer sees."""

    def forward(self, x, info):
        half = len(self.layers) // 2
        skips = []
        for i, layer in enumerate(self.layers):
            if i >= len(self.layers) - half:
                x = x + skips.pop()
            x, _ = layer(x, info)
            if i < half:
                skips.append(x)
        return self.final_norm(x), {}


def small(wiring=None, **options):
    """A four-layer decoder with the given parts; ``wiring`` replaces how its layers are passed through."""
    sizes = dict(vocab_size=40, d_model=32, n_layers=4, context_length=12)
    model = build("model", "decoder", **sizes, **{"attention": {"name": "gqa", "n_heads": 4}, **options})
    if wiring is not None:
        model.stack.__class__ = wiring
    return model


def loss_of(model, ids, targets):
    """The total that training minimises: next-token loss and the layers' own, as means of sums over weights."""

    def objective(hidden, head, batch):
        from components.core.sockets import Terms

        logits = head(hidden)
        total = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="sum")
        return Terms({"loss": (total, torch.tensor(float(batch.targets.numel())))})

    from components.core.sockets import Batch

    terms = model(Batch(ids, targets=targets), objective)
    return sum(s / w for s, w in terms.losses.values()), terms


PARTS = {
    ("ffn", "test_auxiliary"): AuxiliaryLoss,
    ("attention", "test_value_residual"): ValueResidual,
    ("attention", "test_shared_keys"): SharedKeys,
}


def remember() -> None:
    for (kind, name), part in PARTS.items():
        register(kind, name)(part)


def forget() -> None:
    for kind, name in PARTS:
        registry.unregister(kind, name)
