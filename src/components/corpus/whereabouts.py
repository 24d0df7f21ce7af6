"""Where in the data a row of a step comes from, for people who look for it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from components.corpus.blocks import Blocks
from components.corpus.rows import Rows


class Counted(Protocol):
    """Rows by number."""

    n_blocks: int


def whereabouts(rows: Counted, sample: int) -> str:
    """``sample 37: document 12 of train, from token 1,024``.

    Args:
        rows: those that a run learns from.
        sample: the number of a row in the endless stream of epochs: step times rows of a step, and its place in the step.
    """
    epoch, place = divmod(sample, rows.n_blocks)
    if isinstance(rows, Blocks):
        start = int(rows.starts(epoch, [place])[0])
        document = int(np.searchsorted(rows.split.starts, start, side="right")) - 1
        return f"sample {sample}: token {start:,} of the {rows.split.name} split, in document {document}"
    if isinstance(rows, Rows):
        number = int(rows.order.rows(epoch, [place])[0])
        return f"sample {sample}: {'/'.join(rows.examples[number].where.split('/')[-2:])}"
    return f"sample {sample}: row {place} of epoch {epoch}"
