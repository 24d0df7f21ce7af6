"""A small second attention, the lightning indexer, scores all keys, and a query attends to the best of them alone.

DeepSeek-AI 2025 (DeepSeek-V3.2-Exp), arXiv:2512.02556, section 2; GLM-5 2026, arXiv:2602.15763
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.sockets import Maker, SequenceInfo
from components.functional.attention_mask import MaskSpec
from components.functional.precision import at_least_fp32
from components.parts.attention._indexer import Asking, LightningIndexer
from components.parts.attention._softmax import add
from components.parts.attention.mla import LatentAttention


@register("attention", "dsa")
class SparseLatentAttention(LatentAttention):
    """DeepSeek sparse attention: multi-head latent attention that reads only the keys that a lightning indexer puts first.

    A key's score is the sum over the indexer's heads of weight relu(q . k); weights and queries are read from the position, its key is kept beside
    the rotated one. Keys whose score equals that of the last one chosen are chosen with it. A choice has no gradient: the indexer learns from a loss of
    its own, the divergence of the softmax of its scores from the weights that the heads give on average, over what was chosen; its inputs and the weights
    are taken as they are. Written as ``indexer``, with its factor in it, where gradients are asked for. Here all products are computed and what is not chosen is
    hidden: the choice saves none of them.

    Args:
        top_k: keys that a query reads; all of them in rows that are no longer.
        index_n_heads: heads of the indexer.
        index_head_dim: width of the indexer's queries and keys, whose first rope_dim channels are rotated; null: nope_dim + rope_dim.
        index_norm: of the indexer's keys.
        index_loss: factor of the indexer's loss; 0: the indexer stays as it is.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError as of ``mla``, or if index_head_dim is less than rope_dim.
    """

    top_k: Positive = 2048
    index_n_heads: Positive = 4
    index_head_dim: Positive | None = None
    index_norm: Maker["norm"] = "layer"
    index_loss: NonNegativeFloat = 1.0

    def add_index(self, d_model: int) -> None:
        width = self.nope + self.rope if self.index_head_dim is None else self.index_head_dim
        if width < self.rope:
            raise ValueError(f"index_head_dim={width} is less than rope_dim={self.rope}, the channels that are rotated")
        rank = self.q_down.out_features if self.from_latent else d_model
        self.indexer = LightningIndexer(rank, d_model, self.index_n_heads, width, self.rope, self.index_norm)

    @property
    def splits(self) -> Mapping[str, int]:
        """The indexer learns from the weights of all heads: pieces would each know their own."""
        return {} if self.index_loss else super().splits

    def index(self, x: Tensor, first: Tensor, info: SequenceInfo) -> tuple[Asking, Tensor]:
        return self.indexer(x.detach(), first.detach(), info, self.position if self.rotates else None)

    def choose(
        self, asking: Asking, beside: Tensor | None, q: Tensor, k: Tensor, spec: MaskSpec, bias: Tensor | None
    ) -> Tensor | None:
        assert beside is not None
        learns = self.index_loss > 0.0 and torch.is_grad_enabled()
        tk = beside.shape[2]
        if type(tk) is int and tk <= self.top_k and not learns:
            return bias
        seen = spec.dense(q.device)[:, 0]
        scores = self.indexer.scores(asking, beside).masked_fill(~seen, float("-inf"))
        ranked, most = scores.detach(), self.top_k
        if type(tk) is int:
            most = min(tk, most)
        else:  # a program for all lengths: there are as many columns as are asked for
            ranked = F.pad(ranked, (0, most), value=float("-inf"))
        last = ranked.topk(most, -1).values[..., -1:]
        chosen = (scores.detach() >= last) & seen
        if learns:
            asking.info.out["loss.indexer"] = self.divergence(scores, chosen, q, k, bias, asking.info)
        hidden = torch.zeros_like(scores, dtype=q.dtype).masked_fill_(~chosen, float("-inf"))
        return add(bias, hidden[:, None])

    def divergence(
        self, scores: Tensor, chosen: Tensor, q: Tensor, k: Tensor, bias: Tensor | None, info: SequenceInfo
    ) -> tuple[Tensor, Tensor]:
        """KL(mean over heads of attention weights || softmax of ``scores``), both over what is chosen: the sum over positions, times the factor; their count."""
        with torch.no_grad(), torch.autocast(q.device.type, enabled=False):
            logits = add(at_least_fp32(q) @ at_least_fp32(k).mT * self.scale, bias)
            assert logits is not None
            wanted = logits.masked_fill(~chosen[:, None], float("-inf")).softmax(-1).mean(1)
            valid = torch.ones_like(wanted[..., 0]) if info.valid is None else info.valid.expand(wanted.shape[:2]).to(wanted)
        found = scores.masked_fill(~chosen, float("-inf")).log_softmax(-1).masked_fill(~chosen, 0.0)
        apart = (torch.xlogy(wanted, wanted) - wanted * found).sum(-1)
        return self.index_loss * (apart * valid).sum(), valid.sum()

    def flops(self, work: Work) -> Flops:
        length, cells = work.length, self.mask.cells(work.length, work.causal)
        if length <= self.top_k:  # without the indexer's loss, which reads its scores even then
            return super().flops(work)
        k = min(self.top_k, length)
        read = min(cells, k * (k + 1) // 2 + (length - k) * k if work.causal else k * length)
        heads = self.v_up.out_features // self.v_width
        saved = 2 * heads * (self.nope + self.rope + self.v_width) * (cells - read)
        return super().flops(work) + Flops(self.indexer.cell() * length**2, self.indexer.cell() * cells - saved)
