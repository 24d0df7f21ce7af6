"""What must not influence an output: the future, other documents, padding, other rows, and the offset of the sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.check.cases import Violation, holds
from components.check.host import LENGTH, VOCAB, Host, ids
from components.core.abilities import Allows
from components.core.sockets import Batch

DOCUMENTS = (5, 1, 6)
SHIFT = 5


@holds("sees no future", lack="causal", applies=lambda host: not host.pooled)
def sees_no_future(host: Host) -> None:
    model = host.model()
    before = host.run(model, ids())
    for cut in (7, 1):
        changed = ids()
        changed[:, cut:] = (changed[:, cut:] + 1) % VOCAB
        after = host.run(model, changed)
        change = (before - after).abs().amax((0, 2))
        if not change[:cut].max() <= 1e-10:
            first = int((~(change[:cut] <= 1e-10)).nonzero()[-1])
            raise Violation(f"position {first} changes by {change[first]:.2g} when position {cut} and what follows is changed")
        if not change[cut:].max() > 0:
            raise Violation("no output changes when its own token is changed: nothing was looked at")


@holds("keeps documents apart", lack="documents", applies=lambda host: not host.pooled)
def keeps_documents_apart(host: Host) -> None:
    model, values = host.model(), ids(1)
    documents = torch.repeat_interleave(torch.arange(len(DOCUMENTS)), torch.tensor(DOCUMENTS))[None]
    packed = host.run(model, host.batch(values, documents=documents))
    alone = torch.cat([host.run(model, piece) for piece in values.split(DOCUMENTS, 1)], 1)
    same(packed, alone, "packed with other documents, position {} differs by {} from its document alone")


def padded(host: Host, side: str) -> None:
    model, values = host.model(), ids(1, 8)
    pad = torch.full((1, 4), 3)
    whole = torch.cat((pad, values) if side == "left" else (values, pad), 1)
    valid = torch.ones_like(whole, dtype=torch.bool)
    kept = slice(4, None) if side == "left" else slice(0, 8)
    valid[:, slice(0, 4) if side == "left" else slice(8, None)] = False
    out, want = host.run(model, host.batch(whole, valid=valid)), host.run(model, values)
    out = out if host.pooled else out[:, kept]
    same(out, want, f"with 4 padded positions on the {side}, position {{}} differs by {{}} from the sequence without")


@holds("ignores padding on the left")
def ignores_padding_on_the_left(host: Host) -> None:
    padded(host, "left")


@holds("ignores padding on the right")
def ignores_padding_on_the_right(host: Host) -> None:
    padded(host, "right")


@holds("ignores padding of the source", applies=lambda host: host.has_source)
def ignores_padding_of_the_source(host: Host) -> None:
    model, values = host.model(), ids()
    source = torch.arange(6)[None].expand(2, -1)
    valid = (torch.arange(9) < 6)[None].expand(2, -1)
    longer = torch.cat((source, torch.full((2, 3), 3)), 1)
    out = host.run(model, host.batch(values, source=Batch(longer, valid=valid)))
    same(out, host.run(model, host.batch(values, source=Batch(source))), "with a padded source, position {} differs by {}")


@holds("ignores batch neighbours", lack="batch_independent")
def ignores_batch_neighbours(host: Host) -> None:
    model, values = host.model(), ids(3)
    for training in (False, True):
        model.train(training)
        if training and not torch.equal(seeded(host, model, values, 0), seeded(host, model, values, 1)):
            continue  # dropout draws by the shape of the batch
        together, alone = seeded(host, model, values, 0)[1:2], seeded(host, model, values[1:2], 0)
        mode = " in training" if training else ""
        same(together, alone, f"beside two other rows, position {{}} differs by {{}} from the row alone{mode}", 1e-9)


def seeded(host: Host, model: nn.Module, values: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return host.run(model, values)


def relative(host: Host) -> bool:
    """With rotary positions no output may depend on where the sequence begins."""
    return host.wiring == "decoder" and host.subject.kind in MOVABLE and not {"position", "attention"} & {*host.subject.around}


MOVABLE = ("attention", "value", "gate", "sharing", "ffn", "norm", "residual", "block", "router", "mask")


@holds("goes by distance", *MOVABLE, applies=relative)
def goes_by_distance(host: Host) -> None:
    """A rotation of queries and keys shows distances only; one of values, where they stand.

    A lone position is the same wherever it stands; a sequence is where scores are products of rotated queries and keys, which an attention
    promises that ``provides`` biases or weights (a feature map after the rotation, or channels that forget at different rates, lose it).
    """
    model = host.model(length=4 * LENGTH)
    exact = host.subject.kind != "attention" or {"biases", "weights"} & {*host.subject.declared("provides")}
    for length in (1, LENGTH) if exact and not counts_from_the_start(model) else (1,):
        values, here = ids(length=length), torch.arange(length)[None].expand(2, -1)
        out = [host.run(model, host.batch(values, positions=p)) for p in (here, here + SHIFT)]
        same(out[1], out[0], f"position {{}} changes by {{}} when all positions are {SHIFT} further on", 1e-4)


def counts_from_the_start(model: nn.Module) -> bool:
    """Whether it has a mask that depends on more than distance, as chunks do."""
    here = torch.arange(LENGTH)[None]
    for part in model.modules():
        if isinstance(part, Allows) and callable(part.allow):
            a, b = (part.allow(p[:, :, None], p[:, None, :]) for p in (here, here + SHIFT))
            if isinstance(a, Tensor) and isinstance(b, Tensor) and not torch.equal(a, b):
                return True
    return False


def same(a: Tensor, b: Tensor, said: str, tolerance: float = 1e-6) -> None:
    """Violation if two outputs differ, with the first such position and the difference."""
    if a.shape != b.shape:
        raise Violation(f"shapes {tuple(a.shape)} and {tuple(b.shape)}")
    error = (a - b).abs()
    wrong = ~(error <= tolerance + tolerance * b.abs())
    if wrong.any():
        place = wrong.nonzero()[0]
        raise Violation(said.format(int(place[1]) if a.ndim > 2 else 0, f"{error[wrong].max().item():.2g}"))
