"""What an adapter does to a matrix of ours, as what it does to the matrix of theirs that holds it, and back.

A change of a fused matrix has the changes of its parts in blocks: ``[q; k; v]`` of rank r each is one of rank 3 r, and computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.weights import Experts as Stack
from components.interop.layouts import Chunks, Experts, FusedExperts, Layout, PerHead, Rows, Same, SwappedHalves, Transposed
from components.parts.adapter._low_rank import DoRALinear, LoRAEmbedding, LoRAExperts, LoRALinear
from components.parts.adapter._merge import adapted
from components.parts.adapter.ia3 import IA3Linear

BY_ROWS = (
    Same,
    Transposed,
    Rows,
    PerHead,
    Chunks,
    SwappedHalves,
    FusedExperts,
)  # layouts that move whole rows (out), and no column (in)


@dataclass(frozen=True)
class Product:
    """W (out, in) + factor * B A; ``a`` (r, in), ``b`` (out, r), both with a leading axis for a stack of experts; ``magnitude`` (out,) is DoRA's."""

    a: Tensor
    b: Tensor
    factor: float
    magnitude: Tensor | None = None

    @property
    def is_stack(self) -> bool:
        """Whether it is of a stack of experts."""
        return self.a.dim() == 3


@dataclass(frozen=True)
class Scale:
    """W (out, in) with its rows (``on_output``) or its columns times ``vector``."""

    vector: Tensor
    on_output: bool


Change = Product | Scale


def changes_of(model: nn.Module) -> dict[str, Change]:
    """{path of a module: what its adapter does to its matrix}; a table (V, D) is a matrix of V outputs."""
    own = {id(m) for m in adapted(model)}
    found: dict[str, Change] = {}
    for path, module in model.named_modules():
        if id(module) not in own:
            continue
        match module:
            case IA3Linear():
                found[path] = Scale(module.ia3.detach(), module.on_output)
            case LoRAEmbedding():
                found[path] = Product(module.lora_b.detach(), module.lora_a.detach(), module.factor)
            case LoRAExperts():
                a, b = (t.detach().transpose(1, 2) for t in (module.lora_a, module.lora_b))
                found[path] = Product(a, b, module.factor)
            case LoRALinear():
                magnitude = module.magnitude.detach() if isinstance(module, DoRALinear) else None
                found[path] = Product(module.lora_a.detach(), module.lora_b.detach(), module.factor, magnitude)
    return found


def added(path: str, change: Change, module: nn.Module) -> dict[str, Tensor]:
    """The tensors of an adapted module that make this change: the other way of ``changes_of``."""
    if isinstance(change, Scale):
        return {f"{path}.ia3": change.vector}
    a, b = change.a, change.b
    if isinstance(module, nn.Embedding):
        a, b = b, a
    elif isinstance(module, Stack):
        a, b = a.transpose(1, 2), b.transpose(1, 2)
    magnitude = {} if change.magnitude is None else {f"{path}.magnitude": change.magnitude}
    return {f"{path}.lora_a": a, f"{path}.lora_b": b, **magnitude}


def joined(layout: Layout, parts: Sequence[Change | None], weights: Sequence[Tensor], where: str) -> list[Change]:
    """The changes of our matrices as changes of theirs: one, or one for each expert.

    Args:
        parts: of each of ours; None: it is as it was.
        weights: our matrices.
        where: their name, for errors.

    Raises:
        UserError: theirs cannot be changed so.
    """
    if isinstance(layout, Experts) and isinstance(parts[0], Product):
        return [replace(parts[0], a=a, b=b) for a, b in zip(parts[0].a, parts[0].b, strict=True)]
    if not isinstance(layout, BY_ROWS):
        raise UserError(where, f"has layout {type(layout).__name__}(), in which an adapter has no place", "other targets")
    some = [p for p in parts if p is not None]
    if all(isinstance(p, Scale) for p in some):
        return [_joined_scales(layout, [p if isinstance(p, Scale) else None for p in parts], weights, where)]
    return [_joined_products(layout, [p if isinstance(p, Product) else None for p in parts], weights)]


def _joined_scales(layout: Layout, parts: Sequence[Scale | None], weights: Sequence[Tensor], where: str) -> Scale:
    first = next(p for p in parts if p is not None)
    if first.on_output:
        rows = [w.new_ones(w.shape[0]) if p is None else p.vector for p, w in zip(parts, weights, strict=True)]
        return Scale(layout.join(rows)[0], on_output=True)
    if any(p is None or not torch.equal(p.vector, first.vector) for p in parts):
        raise UserError(
            where, "is one matrix there, with one scale of its inputs; here its parts have several", "adapter.outputs"
        )
    return first


def _joined_products(layout: Layout, parts: Sequence[Product | None], weights: Sequence[Tensor]) -> Product:
    some = [p for p in parts if p is not None]
    first = some[0]
    if len(some) == len(parts) and all(torch.equal(p.a, first.a) for p in some):
        blocks, a = [p.b for p in some], first.a
    else:
        a, at = torch.cat([p.a for p in some], -2), 0
        blocks = []
        for part, weight in zip(parts, weights, strict=True):
            outputs = weight.shape[-1 if first.is_stack else 0]
            block = first.b.new_zeros(*first.b.shape[:-2], outputs, a.shape[-2])
            if part is not None:
                block[..., at : at + part.a.shape[-2]] = part.b
                at += part.a.shape[-2]
            blocks.append(block)
    magnitude = None
    if first.magnitude is not None:
        rows = [_length(w) if p is None or p.magnitude is None else p.magnitude for p, w in zip(parts, weights, strict=True)]
        magnitude = layout.join(rows)[0]
    return Product(a, _rows_joined(layout, blocks), first.factor, magnitude)


def _length(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1)


def split(layout: Layout, changes: Sequence[Change], shapes: Sequence[torch.Size], where: str) -> list[Change | None]:
    """The change of theirs, or of each expert, as changes of ours; None for one of ours that is as it was. Undoes ``joined``."""
    first, products = changes[0], [c for c in changes if isinstance(c, Product)]
    if isinstance(layout, Experts) and len(products) == len(changes) and len({(c.a.shape, c.factor) for c in products}) == 1:
        return [Product(torch.stack([c.a for c in products]), torch.stack([c.b for c in products]), products[0].factor)]
    if not isinstance(layout, BY_ROWS):
        raise UserError(where, f"has layout {type(layout).__name__}(), in which no adapter is read", "merge it there")
    if isinstance(first, Scale):
        return [Scale(v, first.on_output) for v in _split_vector(layout, first, shapes)]
    blocks = _rows_split(layout, first.b, shapes)
    lengths = [None] * len(shapes) if first.magnitude is None else layout.split([first.magnitude], [s[:1] for s in shapes])
    used = [block.flatten(0, -2).any(0) for block in blocks]
    if (
        len(blocks) > 1 and torch.stack(used).sum(0).max() == 1 and torch.stack(used).any(1).sum() > 1
    ):  # blocks, as we write them
        return [
            Product(first.a[..., u, :], b[..., u], first.factor, m) if u.any() else None
            for u, b, m in zip(used, blocks, lengths, strict=True)
        ]
    return [Product(first.a, b, first.factor, m) for b, m in zip(blocks, lengths, strict=True)]


def _split_vector(layout: Layout, scale: Scale, shapes: Sequence[torch.Size]) -> list[Tensor]:
    return layout.split([scale.vector], [s[:1] for s in shapes]) if scale.on_output else [scale.vector] * len(shapes)


def transposed(layout: Layout) -> bool:
    """Whether theirs keeps (in, out)."""
    return isinstance(layout, Transposed) or (isinstance(layout, Rows) and layout.transposed)


def _rows_joined(layout: Layout, blocks: Sequence[Tensor]) -> Tensor:
    if isinstance(layout, FusedExperts):  # it moves what is last in ours, (E, in, out)
        whole = layout.join([b.transpose(1, 2) for b in blocks])[0]
        return whole if layout.transposed else whole.transpose(1, 2)
    whole = layout.join(blocks)[0]
    return whole.t() if transposed(layout) else whole


def _rows_split(layout: Layout, whole: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    if isinstance(layout, FusedExperts):
        whole = whole if layout.transposed else whole.transpose(1, 2)
        return [t.transpose(1, 2) for t in layout.split([whole], shapes)]
    whole = whole.t() if transposed(layout) else whole
    return layout.split([whole], [torch.Size((s[0], whole.shape[-1])) for s in shapes])


def alike(changes: dict[str, Product]) -> tuple[int, float, dict[str, Product]]:
    """(rank, factor, changes) with one rank and one factor for all. A narrower product gets rows and columns of zeros, which have no gradient."""
    rank = max(c.a.shape[-2] for c in changes.values())
    factor = max(c.factor for c in changes.values() if c.a.shape[-2] == rank)
    made = {}
    for path, c in changes.items():
        more = rank - c.a.shape[-2]
        b = c.b if c.factor == factor else c.b * (c.factor / factor)
        a = nn.functional.pad(c.a, (0, 0, 0, more)) if more else c.a
        made[path] = replace(c, a=a, b=nn.functional.pad(b, (0, more)) if more else b, factor=factor)
    return rank, factor, made


def reordered(change: Change, order: Tensor) -> Change:
    """The change of a matrix whose row i is this one's row ``order[i]``."""
    if isinstance(change, Scale):
        return replace(change, vector=change.vector[order]) if change.on_output else change
    return replace(change, b=change.b[order], magnitude=None if change.magnitude is None else change.magnitude[order])


def trimmed(change: Product) -> Product:
    """Without the last rows of A and columns of B that are zero in both: what ``alike`` has added."""
    both = change.a.abs().sum(-1) + change.b.abs().sum(-2)
    both = both.sum(0) if both.dim() > 1 else both
    rank = max(1, int(both.nonzero().max()) + 1 if both.any() else len(both))
    return change if rank == len(both) else replace(change, a=change.a[..., :rank, :], b=change.b[..., :rank])
