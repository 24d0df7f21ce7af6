"""The most that a rank holds at once within a step: an estimate, walked through from the first layer to the optimizer's step."""

from __future__ import annotations

from dataclasses import dataclass

from components.training.estimate.activations import Activations
from components.training.estimate.layouts import Layout
from components.training.estimate.state import State


@dataclass(frozen=True)
class Peak:
    """Bytes of one rank.

    Args:
        total: the most at once.
        when: ``forward``, ``loss``, ``backward`` or ``step``.
        kept: activations that are there when the backward pass begins.
        buffers: of communication: gathered weights, DDP's buckets.
    """

    total: int
    when: str
    kept: int
    buffers: int


def peak_of(state: State, found: Activations, layout: Layout, *, checkpointing: bool) -> Peak:
    """When and how much. Lightning lets gradients go between a step's first forward and backward pass, so those of the step before are there in the forward.

    Args:
        state: of the rank.
        found: of one micro-batch on it, and of its pieces where devices hold layers together.
        layout: over which devices.
        checkpointing: each layer is computed again in the backward pass.
    """
    sharded = layout.shards > 1
    buckets = (
        state.gradients if layout.strategy == "ddp" and layout.ranks > 1 else 0
    )  # a copy, for gradients are no views of them
    always = state.parameters + state.optimizer + state.buffers + buckets
    weights = sum(p.weights for p in found.layers)
    root = max(0, state.parameters * layout.shards // layout.stored.itemsize - weights) if sharded else 0
    wide = layout.gathered.itemsize
    gathered = root * wide  # embedding, final norm and head stay whole from the forward to the backward pass
    stream = found.layers[0].leaving if found.layers else 0  # the embeddings' vectors: all that is there before the layers
    most, when, kept = 0, "forward", stream  # of layers this one and the next are whole
    for p in found.layers:
        unit = p.weights * wide if sharded else 0
        forward = always + state.gradients + gathered + 2 * unit + kept + p.forward
        most, when = max((most, when), (forward, "forward"))
        kept += p.leaving if checkpointing else p.kept
    kept -= stream
    copies = (
        (weights - sum(p.rounded for p in found.layers)) * layout.compute.itemsize if layout.casts and checkpointing else 0
    )  # of autocast, until the forward pass ends
    loss = always + state.gradients + gathered + copies + kept + found.forward
    most, when = max((most, when), (loss, "loss"))
    grads = gathered if sharded else _share(root_trained(state, found, layout), layout)
    there = kept + found.kept
    kept += min(stream, found.kept)  # of what is outside of layers
    sums = 0  # gradients of the layer above in the type in which they are summed, until they have been scattered
    for p in reversed(found.layers):
        kept -= p.leaving if checkpointing else p.kept
        unit = p.weights * wide if sharded else 0
        backward = always + gathered + grads + 2 * unit + sums + kept + p.backward
        most, when = max((most, when), (backward, "backward"))
        sums = p.trained * max(4, wide) if sharded else 0
        grads += _share(p.trained * layout.stored.itemsize, layout)
    step = always + state.gradients + (gathered if sharded else 0)
    most, when = max((most, when), (step, "step"))
    units = 2 * max((p.weights * wide for p in found.layers), default=0) if sharded else 0
    return Peak(most, when, there, buckets + gathered + units)


def _share(size: int, layout: Layout) -> int:
    return -(-size // layout.shards)


def root_trained(state: State, found: Activations, layout: Layout) -> int:
    """Bytes of the gradients of what is outside of layers."""
    layers = sum(p.trained for p in found.layers) * layout.stored.itemsize
    return max(0, state.gradients * layout.shards - layers)
