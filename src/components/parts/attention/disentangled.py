"""Scores are sums of terms: content with content, content with the vector of the distance, and the other way around.

He et al. 2020 (DeBERTa), arXiv:2006.03654, section 3.1, eqs. 2-4
"""

from __future__ import annotations

from torch import Tensor

from components.core.contracts import Mask, Norm
from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.core.traits import provides
from components.functional.attention_mask import MaskSpec
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.parts.attention._grouped import GroupedHeads
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import kept

TERMS = ("c2p", "p2c")


@register("attention", "disentangled")
class DisentangledAttention(GroupedHeads, Positioned):
    """Disentangled attention: (q . k + q . k_r + k . q_r) / sqrt(3 head_dim), where r is the vector of the distance from key to query.

    The matrices that make q_r and k_r of the vectors are those of queries and keys (DeBERTa-v2 and v3), or the layer's own. The third term reads the
    distance from key to query too, as the released models do; the paper's eq. 4 writes the opposite one.

    Args:
        head_dim: width of a head; null: d_model / n_heads.
        terms: which are added to q . k: c2p, a query with the distance's key; p2c, a key with the distance's query.
        share_key: whether queries' and keys' matrices map the vectors of distances too; else two of the layer's own, which have biases where those have.
        position: the vectors, which the stack keeps for all its layers: position/disentangled.
        mask: which distances are seen.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), bias names no projection, terms are unknown or none, or the position has
        no vectors of distances.
    """

    provides = ("distance_terms", "weights", "prefix")
    needs = {"position": ("distance_vectors",)}
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "kv_heads"),
        "out": ("heads", "d_model"),
        "sink": ("heads",),
        "position_q": ("d_model", "heads"),
        "position_k": ("d_model", "heads"),
    }
    mask: Mask

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        head_dim: Positive | None = None,
        terms: tuple[str, ...] = ("c2p", "p2c"),
        share_key: bool = True,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
    ) -> None:
        super().__init__(d_model, d_model, None, head_dim)
        if not terms or set(terms) - set(TERMS):
            raise ValueError(f"terms={list(terms)}: choose c2p, p2c or both; without any it is attention/mha")
        self.terms, self.share_key = terms, share_key
        self.mask = make(mask, "mask", context_length=context_length)
        self.add_reading("none", ((1 + len(set(terms))) * self.head_dim) ** -0.5, place)
        if not share_key:
            width = self.n_heads * self.head_dim
            if "c2p" in terms:
                self.position_k = Linear(d_model, width, bias="k" in self.bias)
            if "p2c" in terms:
                self.position_q = Linear(d_model, width, bias="q" in self.bias)
        self.add_position(
            position, d_model=d_model, n_heads=self.n_heads, head_dim=self.head_dim, context_length=context_length
        )
        if not provides(self.position, "distance_vectors"):
            raise ValueError(f"position={type(self.position).__name__} has no vectors of distances: use position=disentangled")
        self.biased = True  # what it reads of its position is added to scores

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x = cast_once(x)
        q, k, v = joint_linear(x, (self.q, self.k, self.v))
        q, k, v = self._heads(q, self.q_norm), self._heads(k, self.k_norm), self.split_heads(v)
        k, v, k_info = kept(self, k, v, info)
        return self.read(
            x, info, q, k, v, MaskSpec(info, k_info, info.causal, self.mask), self._of_distances(q, k, info, k_info)
        )

    def _of_distances(self, q: Tensor, k: Tensor, info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
        """The terms with distances, (B, H, Tq, Tk): each query and each key is compared with all vectors, and theirs is picked."""
        vectors, rows = self.position.vectors().to(q.dtype), self.position.rows(info, k_info)[:, None]
        assert self.scale is not None  # ``__init__`` gives one
        total = q.new_zeros(())
        if "c2p" in self.terms:
            keys = self._heads((self.k if self.share_key else self.position_k)(vectors[None]), self.k_norm)
            total = total + _picked(q, keys, rows)
        if "p2c" in self.terms:
            queries = self._heads((self.q if self.share_key else self.position_q)(vectors[None]), self.q_norm)
            total = total + _picked(k, queries, rows.transpose(-1, -2)).transpose(-1, -2)
        return total * self.scale

    def _heads(self, y: Tensor, norm: Norm) -> Tensor:
        """(B, T, H * K) -> (B, H, T, K), normed wherever."""
        return self.normed_after(self.split_heads(y, norm), norm)

    def flops(self, work: Work) -> Flops:
        heads, rows, length = self.q.out_features, self.position.n_vectors, work.length
        products = Flops(4 * heads * length**2, 4 * heads * self.mask.cells(length, work.causal))
        read = min(rows, length if work.causal else 2 * length - 1)  # of the vectors, by some pair
        each = 2 * heads * (self.q.in_features + length) * len(set(self.terms))  # a vector is mapped, and compared
        return children(self, work, leave=("position", "position_q", "position_k")) + products + Flops(each * rows, each * read)


def _picked(x: Tensor, vectors: Tensor, rows: Tensor) -> Tensor:
    """(B, H, T, K) . (1, H, R, K), of which ``rows`` (B or 1, 1, T, S) picks: (B, H, T, S)."""
    scores = x @ vectors.transpose(-1, -2)
    return scores.gather(-1, rows.expand(*scores.shape[:3], -1))
