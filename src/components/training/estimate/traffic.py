"""Bytes that a rank sends in an optimizer step, collective by collective.

A ring over N ranks sends, from each, (N - 1) / N of the data for an all-gather or a reduce-scatter, and twice that for an all-reduce: Thakur, Rabenseifner &
Gropp 2005, https://doi.org/10.1177/1094342005051521; NCCL's account of it: https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md. What
sharded data parallelism sends: Rajbhandari et al. 2020 (ZeRO), arXiv:1910.02054, section 7; tensor parallelism: Shoeybi et al. 2019, arXiv:1909.08053, section 3;
experts that tokens are sent to: Lepikhin et al. 2020, arXiv:2006.16668, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.training.estimate.layouts import Layout


@dataclass(frozen=True)
class Collective:
    """One kind of it, over a step.

    Args:
        what: ``all-reduce of gradients``.
        over: ranks that take part.
        bytes: that each of them sends.
        within: devices that one such group stands among: where they are those of one machine, its links serve.
    """

    what: str
    over: int
    bytes: int
    within: int


@dataclass(frozen=True)
class Volume:
    """What it depends on, for the devices that hold a layer together.

    Args:
        layers, trained: elements of the weights of all layers that one device has before they are sharded, and of those that learn.
        root, root_trained: likewise of what is outside of layers.
        accumulate: micro-batches of a step.
        stream: elements of the residual stream in one micro-batch: rows x context x d_model.
        summed: parts whose output is a sum of pieces, tables of the vocabulary among them.
        entered: parts whose input's gradient is a sum of pieces.
        again: of ``summed`` those inside of layers, which a layer that is computed again sums again.
        joined: numbers that the loss exchanges where logits are in pieces: the largest, the sum and the target's of each row.
        sent: numbers of vectors that go to experts elsewhere in one micro-batch, if each choice of all ranks did: choices x d_model.
        weighed: numbers that all ranks are told of these choices, with gradients: weights, logits and probabilities.
        chosen: of the choices themselves: which expert, and which token.
        gathered: bytes of keys and values that devices which share rows gather in one micro-batch. States that a recurrence hands on are small beside.
    """

    layers: int
    trained: int
    root: int
    root_trained: int
    accumulate: int = 1
    stream: int = 0
    summed: int = 0
    entered: int = 0
    again: int = 0
    joined: int = 0
    sent: int = 0
    weighed: int = 0
    chosen: int = 0
    gathered: int = 0


def ring(size: float, ranks: int) -> int:
    """Bytes that each of ``ranks`` sends in an all-gather to ``size`` bytes, or in a reduce-scatter of as many."""
    return round(size * (ranks - 1) / ranks)


def traffic(layout: Layout, volume: Volume, *, checkpointing: bool = False) -> list[Collective]:
    """Collectives of one optimizer step, without those in which a rank sends nothing.

    Over replicas that have whole weights gradients are summed once a step, in their own type. Under ``fully_shard`` Lightning has them summed for each micro-batch,
    in fp32 at least, and weights are gathered for each: a layer's before its forward pass and again before its backward pass, the others once.
    """
    v, found = volume, []
    learned = v.trained + v.root_trained
    if layout.shards > 1:
        wide, within = layout.gathered.itemsize, layout.shards * layout.tensor
        gathered = ring((2 * v.layers + v.root) * wide, layout.shards)
        scattered = ring(learned * summed_in(layout), layout.shards)
        found.append(Collective("all-gather of weights", layout.shards, gathered * v.accumulate, within))
        found.append(Collective("reduce-scatter of gradients", layout.shards, scattered * v.accumulate, within))
    if layout.replicas > 1:
        whole = layout.shards == 1
        held = learned / layout.shards * (layout.stored.itemsize if whole else summed_in(layout))
        times = 2 * (1 if whole else v.accumulate)
        found.append(Collective("all-reduce of gradients", layout.replicas, times * ring(held, layout.replicas), layout.ranks))
    if layout.tensor > 1:
        once = 2 * ring(v.stream * layout.compute.itemsize, layout.tensor)
        times = v.summed + v.entered + (v.again if checkpointing else 0)
        found.append(Collective("all-reduce of activations", layout.tensor, times * once * v.accumulate, layout.tensor))
        rows = 2 * ring(v.joined * max(4, layout.compute.itemsize), layout.tensor)  # the loss sums in fp32 at least
        found.append(Collective("all-reduce of the loss", layout.tensor, rows * v.accumulate, layout.tensor))
    if v.sent:
        away = ring(v.sent * layout.compute.itemsize / layout.tensor, layout.tensor)  # loads are even
        passes = 3 if checkpointing else 2
        found.append(Collective("all-to-all of tokens", layout.tensor, 2 * passes * away * v.accumulate, layout.tensor))
        told = passes * v.weighed * max(4, layout.compute.itemsize) + (passes - 1) * v.chosen * 8
        found.append(
            Collective("all-gather of choices", layout.tensor, ring(told, layout.tensor) * v.accumulate, layout.tensor)
        )
    if layout.context > 1:
        once = ring(v.gathered, layout.context)  # and what its gradients send is a sum of whole rows'
        times = 4 if checkpointing else 3
        found.append(Collective("gathered keys and values", layout.context, times * once * v.accumulate, layout.context))
        whole = 2 * ring(learned * layout.gathered.itemsize, layout.context)
        found.append(Collective("all-reduce over stretches", layout.context, whole * v.accumulate, layout.context))
    return [c for c in found if c.bytes]


def summed_in(layout: Layout) -> int:
    """Bytes of the type in which ``fully_shard`` sums gradients."""
    return max(4, layout.stored.itemsize)
