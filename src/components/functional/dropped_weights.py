"""Dropout of attention's weights a part at a time: what ``dropout_of`` draws of all (B, H, Tq, Tk), without ever making all of it.

A draw is a function of the key of a text's row and of the place in it (``functional/dropout.py``), so that each part is drawn when it is computed, and once more
in the backward pass. As FlashAttention draws again from a counter: Dao et al. 2022, arXiv:2205.14135, appendix B.4
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.core.draws import DRAWS
from components.functional.dropout import KEPT_UP_TO, WHOLE, halves, hashed_places, kept_places, least, moved_on, numbers_from

AT_ONCE = (
    1 << 18
)  # numbers: with what is made on the way they fit the cache of a core, where a pass costs a third of one through memory


@dataclass(frozen=True)
class Dropped:
    """What is dropped of one call's weights.

    Args:
        p: the probability with which a weight is dropped, below 1.
        row: what the row of a key holds: (heads, Tq, Tk), or (texts, heads, Tq, Tk) where it is several texts.
        later: whether a query may see what comes later; where it does not, nothing is drawn for it.
        blocks: into how many blocks of queries a text is cut, one behind the other, each with the keys of the block before it and of its own; 1: it is not.
        together: texts whose heads lie side by side in each block.
    """

    p: float
    row: tuple[int, ...]
    later: bool
    blocks: int = 1
    together: int = 1

    @property
    def grown(self) -> float:
        """By what the weights that stay are multiplied."""
        return 1.0 / (1.0 - self.p)

    def drop(self, keys: Tensor, texts: range, heads: range, rows: slice, *parts: Tensor) -> None:
        """Set to 0, in place, what is dropped of each of ``parts``, (texts * heads, rows, seen) each, of one dtype: of the first ``seen`` keys.

        keys: (B,), or fewer where a row is several texts. texts: of those blocks that are cut, where they are.
        """
        several, done = 1 if len(self.row) == 3 else self.row[0], 0
        for which, numbers, block in self._alike(texts, heads):
            for i in [which] if several == 1 else [range(text, text + 1) for text in which]:
                count = len(i) * len(numbers)
                views = [x[done : done + count].view(len(i), len(numbers), *x.shape[1:]).view(WHOLE[x.itemsize]) for x in parts]
                text = () if several == 1 else (i.start % several,)
                first, last = (i.start // several, (i.stop - 1) // several + 1)
                size = rows.stop if self.blocks > 1 else 0
                self._drop(keys[first:last], text, numbers, rows.start + block * size, (block - 1) * size, views)
                done += count

    def _alike(self, texts: range, heads: range) -> Iterator[tuple[range, range, int]]:
        """The same as texts that are not cut, their heads, and the number of the block."""
        if self.blocks == 1:
            yield texts, heads, 0
            return
        many = self.row[-3]
        for cut in texts:
            row, block = divmod(cut, self.blocks)
            first = row * self.together
            if heads.start % many == heads.stop % many == 0:
                yield range(first + heads.start // many, first + heads.stop // many), range(many), block
                continue
            for i in range(heads.start // many, -(-heads.stop // many)):
                numbers = range(max(0, heads.start - i * many), min(many, heads.stop - i * many))
                yield range(first + i, first + i + 1), numbers, block

    def _drop(self, keys: Tensor, text: tuple[int, ...], heads: range, query: int, key: int, parts: list[Tensor]) -> None:
        """Of ``parts`` (n, heads, rows, seen) as whole numbers, whose first place is that of a ``query`` and a ``key``."""
        _, _, rows, seen = parts[0].shape
        times, add = halves(keys, 4)
        step = max(1, AT_ONCE // (len(keys) * len(heads) * seen))
        for first in range(0, rows, step):
            last = min(first + step, rows)
            there = seen if self.later else min(seen, query + last - key)
            places = self._places(keys, text, heads, range(query + first, query + last), range(key, key + there))
            keep = numbers_from(places, times, add).ge_(least(self.p))
            keep = keep.to(parts[0].dtype)
            for x in parts:  # times 0 or 1 as whole numbers, which costs a fraction of what a mask of bools does
                x[:, :, first:last, :there].mul_(keep)

    def _places(self, keys: Tensor, text: tuple[int, ...], heads: range, rows: range, seen: range) -> Tensor:
        """(1, heads, rows, seen), in the text of that number where a row is several."""
        inside = seen.start >= 0 and rows.stop <= self.row[-2] and seen.stop <= self.row[-1]
        if inside and torch.Size(self.row).numel() <= KEPT_UP_TO and not isinstance(keys, FakeTensor):
            kept = kept_places(torch.Size(self.row), keys.device)[0][text]
            return kept[None, heads.start : heads.stop, rows.start : rows.stop, seen.start : seen.stop]
        shape = torch.Size((*[1] * len(text), len(heads), len(rows), len(seen)))
        return hashed_places(shape, keys.device, (*text, heads.start, rows.start, seen.start)).view(1, *shape[-3:])


def dropped_of(shape: tuple[int, int, int, int], p: float, device: torch.device, *, later: bool) -> tuple[Dropped, Tensor]:
    """What is to be dropped of weights (B, H, Tq, Tk), and the keys of the rows: those of the samples, moved on, or where nobody has said which samples
    they are, one for each text from torch's generator."""
    keys, row = DRAWS.keys, shape[1:]
    if keys is None or shape[0] % keys.shape[0]:
        return Dropped(p, row, later), torch.randint(-(2**63), 2**63 - 1, shape[:1], device=device)
    several = shape[0] // keys.shape[0]
    return Dropped(p, row if several == 1 else (several, *row), later), moved_on(keys)
