"""What share of the steps of a run each source of a mixture has.

What a step reads depends on (seed, step) alone: so its shares, over all ranks and micro-batches, are computed where they are wanted, and no step carries
them.
"""

from __future__ import annotations

import numpy as np

from components.corpus.blocks import Blocks
from components.corpus.sources import Sources

SHARE = "share_"  # the beginning of each figure
AT_ONCE = 2**16  # rows


class Shares:
    """The share of each source in what a run reads.

    Args:
        sources: of the training split.
        blocks: the rows of the run.
        batch_size: rows of an optimizer step, over all ranks and micro-batches.
    """

    def __init__(self, sources: Sources, blocks: Blocks, batch_size: int) -> None:
        self.sources, self.blocks, self.batch_size = sources, blocks, batch_size

    def counts(self, first: int, last: int) -> np.ndarray:
        """(sources,) tokens of each source in the optimizer steps from ``first``, counted from 0, to before ``last``."""
        found = np.zeros(len(self.sources.names))
        for start in range(first * self.batch_size, last * self.batch_size, AT_ONCE):
            samples = np.arange(start, min(start + AT_ONCE, last * self.batch_size))
            epochs, places = np.divmod(samples, self.blocks.n_blocks)
            for epoch in np.unique(epochs).tolist():
                found += self.sources.counted(self.blocks.starts(epoch, places[epochs == epoch]), self.blocks.context_length)
        return found

    def __call__(self, first: int, last: int) -> dict[str, float]:
        """{figure: share of the tokens}."""
        found = self.counts(first, last)
        return {f"{SHARE}{name}": n / max(1.0, found.sum()) for name, n in zip(self.sources.names, found.tolist())}
