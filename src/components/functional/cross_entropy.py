"""Cross entropy of one row of logits per target, summed in fp32 (logits in fp64: in fp64), keeping one tensor of the logits' size and dtype for the backward pass.

The usual ``F.cross_entropy(logits.float())`` holds three fp32 tensors of that size. Here rows are processed in fp32, in blocks
that fit in the processor's cache. Only the probabilities are kept, and the gradient overwrites them.

Ranks that have some of the logits each exchange three numbers a row, and no logits: the largest, the sum, and that of the target. Shoeybi et al. 2019
(Megatron-LM), arXiv:1909.08053, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable

from components.core.collectives import largest_within, sum_within
from components.functional.precision import at_least_fp32

IGNORED = -100
BLOCK = {"cpu": 2**18}  # logits per block: 1 MB in fp32
LARGE_BLOCK = 2**26  # elsewhere launches cost more than memory traffic


def cross_entropy_reference(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """By the formula: (Σ w · cross entropy, Σ w · log²Z) over rows whose target is not -100. ``logits`` (N, V), ``targets`` (N,)."""
    asked = targets != IGNORED
    logits = at_least_fp32(torch.where(asked[:, None], logits, 0.0))
    log_z = torch.logsumexp(logits, -1)
    log_p = logits - log_z[:, None]
    at_target = log_p.gather(1, torch.where(asked, targets, 0)[:, None])[:, 0]
    losses = -at_target
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_p.mean(1)
    w = asked.float() if weights is None else asked * weights.float()
    return torch.where(asked, losses * w, 0.0).sum(), torch.where(asked, log_z.square() * w, 0.0).sum()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """As ``cross_entropy_reference``, but fast and with little memory. The backward pass can run once.

    Rows with target -100 do not count and get gradient 0, whatever their logits. ``gather`` refuses any other target that is not
    an index of a logit (an IndexError or RuntimeError on CPUs, a device-side assertion on GPUs).

    ``group``: ranks that have the same targets, and of ``logits`` equal pieces side by side, in their order. The sums are those of the whole
    rows on each of them, the gradient is that of its piece.
    """
    return _CrossEntropy.apply(logits, targets, weights, label_smoothing, group)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        label_smoothing: float,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:
        n = logits.shape[0]
        kept = (
            torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        )  # exp(logit - largest): the sum is divided by later
        wide = torch.promote_types(logits.dtype, torch.float32)
        direct = kept is not None and kept.dtype == wide
        top, total = (torch.empty(n, 1, dtype=wide, device=logits.device) for _ in range(2))
        mean = torch.empty_like(top) if label_smoothing else None
        for rows in blocks(logits):
            block = logits[rows] if direct else logits[rows].to(wide)
            torch.amax(block, 1, keepdim=True, out=top[rows])
            if group is not None:
                top[rows].clamp_(min=torch.finfo(wide).min)  # nothing is possible in this piece, perhaps in another
            if mean is not None:
                torch.mean(block, 1, keepdim=True, out=mean[rows])
            spare = None if logits.dtype == wide else block  # what is wide already are the logits themselves: never written to
            out = kept[rows] if kept is not None and direct else spare
            e = torch.sub(block, top[rows], out=out).exp_()
            torch.sum(e, 1, keepdim=True, out=total[rows])
            if kept is not None and not direct:
                kept[rows] = e
        asked = targets != IGNORED
        index = torch.where(asked, targets, 0)
        own, shift = None, None
        if group is not None:
            index, own = _own(index, logits.shape[1], group)
        at_target = logits.gather(1, index[:, None]).to(wide)
        if group is not None and own is not None:
            pieces = (total, at_target.masked_fill(~own[:, None], 0.0), *(() if mean is None else (mean,)))
            top, shift, (total, at_target, *means) = _of_whole_rows(top, pieces, group)
            mean = means[0] / dist.get_world_size(group) if means else None
        log_z = (top + total.log())[:, 0]
        log_p = at_target[:, 0] - log_z
        w = asked.float() if weights is None else asked * weights.float()
        losses = -log_p
        if mean is not None:
            losses = (1 - label_smoothing) * losses + label_smoothing * (log_z - mean[:, 0])
        if kept is not None:
            ranks = 1 if group is None else dist.get_world_size(group)
            ctx.label_smoothing, ctx.vocabulary = label_smoothing, logits.shape[1] * ranks
            ctx.save_for_backward(kept, index, asked, w, log_z, log_p, total[:, 0], own, shift)
        return torch.where(asked, losses * w, 0.0).sum(), torch.where(asked, log_z.square() * w, 0.0).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]  # the decorator hides the signature
        by_loss, by_z = grads
        grad, index, asked, w, log_z, log_p, total, own, shift = ctx.saved_tensors
        pull = w * by_loss
        push = pull + w * 2 * log_z * by_z  # times the probability
        at_target = torch.where(asked, push * log_p.exp() - pull * (1 - ctx.label_smoothing), 0.0)
        spread = pull * (ctx.label_smoothing / ctx.vocabulary)
        scale = torch.where(asked, push / total if shift is None else push / total * shift, 0.0)[:, None]
        for rows in blocks(grad):
            block = at_least_fp32(grad[rows])
            block.mul_(scale[rows])
            if ctx.label_smoothing:
                block.sub_(spread[rows, None])
            if block.dtype != grad.dtype:
                grad[rows] = block
        grad.index_fill_(0, (~asked).nonzero()[:, 0], 0.0)  # 0 times an infinite logit is no 0; few rows, so no pass over all
        at_index = (at_target - spread).to(grad.dtype)
        if own is not None:
            at_index = torch.where(own, at_index, grad.gather(1, index[:, None])[:, 0])
        # and not scatter_, which copies all of a tensor in half precision there and back on a CPU
        grad[torch.arange(grad.shape[0], device=grad.device), index] = at_index
        return grad, None, None, None, None


def _own(index: Tensor, v: int, group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """(N,) where in this rank's ``v`` logits a row's target is, 0 where another rank has it; and whether it is here."""
    here = index - dist.get_rank(group) * v
    own = (here >= 0) & (here < v)
    elsewhere = ~own & (index >= 0) & (index < v * dist.get_world_size(group))
    return here.masked_fill(elsewhere, 0), own  # what nobody has stays, for ``gather`` to refuse


def _of_whole_rows(
    top: Tensor, pieces: tuple[Tensor, ...], group: dist.ProcessGroup
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Each row's largest logit; (N,) what the exponentials of this rank are to be multiplied by for that; sums of ``pieces``, the first of exponentials."""
    largest = largest_within(top, group)
    shift = (top - largest).exp()
    total, *others = pieces
    sums = sum_within(torch.cat((total * shift, *others), 1), group)
    return largest, shift[:, 0], sums.split(1, 1)


def blocks(logits: Tensor) -> list[slice]:
    """Slices of rows of (N, V), each with about ``BLOCK`` logits; fake tensors fill no cache, and gain from fewer."""
    n, v = logits.shape
    most = LARGE_BLOCK if isinstance(logits, FakeTensor) else BLOCK.get(logits.device.type, LARGE_BLOCK)
    rows = max(1, most // v)
    return [slice(i, i + rows) for i in range(0, n, rows)]
