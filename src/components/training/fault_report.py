"""What is said of a step that is no good: the part where it began, and the rows of the data that it read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from components.core.bar import Bar
from components.core.collectives import everywhere
from components.core.files import open_append
from components.corpus.batches import rows_of
from components.corpus.steps import MicroBatch
from components.corpus.whereabouts import whereabouts
from components.runs.preparing import print_err
from components.training.callback_group import members_of
from components.training.data_module import PackedDataModule
from components.training.first_fault import FirstFault, finite, first_fault, forget_gradients
from components.training.progress import Recorder
from components.training.strategies import shards_weights
from components.training.task._training import Training

FILE = "faults.txt"  # in the run's folder


def described(trainer: Trainer, task: Training, items: Sequence[MicroBatch], *, spike: bool) -> str:
    """``, first in the output of stack.layers.3.ffn, sample 37: book.txt:12``. All ranks call this together.

    Args:
        trainer: Lightning's.
        task: the run's.
        items: the micro-batches of the step on this rank.
        spike: it is one, so that no part is to be found; the step's rows are named.
    """
    found: FirstFault | None = None
    guilty: list[int] = []
    samples = [int(s) for item in items if item.samples is not None for s in item.samples.tolist()]
    for item in items if not spike else ():
        now = first_fault(task.whole, partial(share, trainer, task, item), len(item.batch.ids))
        if now is not None and (found is None or now.rank < found.rank):
            found, own = now, item.samples
            guilty = [int(own[row]) for row in now.rows] if own is not None else []
    theirs = everywhere((found, guilty, samples))
    first, guilty = min(((f, g) for f, g, _ in theirs if f is not None), key=lambda one: one[0].rank, default=(None, []))
    if not spike and not guilty and first is not None and first.what != "weight":
        guilty = [s for own in everywhere(bad_samples(trainer, task, items)) for s in own]
    every = sorted(s for _, _, own in theirs for s in own)
    said = f", first in {first}" if first is not None else ""
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it when it fits
    if guilty and len(guilty) < len(every) and isinstance(data, PackedDataModule):
        more = f" and {len(guilty) - 1} more rows" if len(guilty) > 1 else ""
        return f"{said}, {whereabouts(data.train, guilty[0])}{more}"
    return f"{said}, samples {every[0]} to {every[-1]}" if every else said


def bad_samples(trainer: Trainer, task: Training, items: Sequence[MicroBatch]) -> list[int]:
    """The samples of this rank whose loss is not finite, or whose gradient is not: each row is run alone. All ranks call this together."""
    found: list[int] = []
    sharded = shards_weights(trainer.strategy)  # its gradients are sums over ranks
    for item in items:
        samples = torch.empty(0) if item.samples is None else item.samples
        for row, sample in enumerate(samples.tolist()):
            one = MicroBatch(rows_of(item.batch, row, row + 1), item.totals, True, samples=samples[row : row + 1])
            loss = share(trainer, task, one)
            loss.backward()
            good = finite(loss) and (sharded or all(p.grad is None or finite(p.grad) for p in task.whole.parameters()))
            forget_gradients(task.whole)
            found += [] if good else [sample]
    return found


def share(trainer: Trainer, task: Training, item: MicroBatch) -> Tensor:
    """The loss of a micro-batch once more, in the precision of the run, without a draw that later steps would miss."""
    device = trainer.strategy.root_device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), trainer.precision_plugin.forward_context():
        item = task.ready(item)
        terms = task.learned_from(item)
        return task.share_of_mean(terms, item.batch, item.totals)


def tell(trainer: Trainer, line: str) -> None:
    """The line on the terminal and in the run's folder, by the first rank."""
    if not trainer.is_global_zero:
        return
    callbacks = members_of(trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it without declaring it
    recorder = next((c for c in callbacks if isinstance(c, Recorder)), None)
    if recorder is None:
        print_err(line)
        return
    if isinstance(recorder.bar, Bar):
        recorder.bar.say(line)
    if recorder.file is not None:
        with open_append(recorder.file.path.parent / FILE) as f:
            f.write(f"{line}\n".encode())
