"""Dropout of attention's weights a part at a time: what ``dropout_of`` draws of all (B, H, Tq, Tk), without ever making all of it.

A draw is a function of the key of a text's row and of the place in it (``functional/dropout.py``), so that each part is drawn when it is computed, and once more
in the backward pass. As FlashAttention draws again from a counter: Dao et al. 2022, arXiv:2205.14135, appendix B.4
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.core.draws import DRAWS
from components.functional.dropout import KEPT_UP_TO, WHOLE, halves, hashed_places, kept_places, least, moved_on, numbers_from

AT_ONCE = 1 << 18  # numbers: with what is made on the way they fit the cache of a core, where a pass costs a third of one through memory


@dataclass(frozen=True)
class Dropped:
    """What is dropped of one call's weights.

    Args:
        p: the probability with which a weight is dropped, below 1.
        row: what the row of a key holds: (heads, Tq, Tk), or (texts, heads, Tq, Tk) where it is several texts.
        later: whether a query may see what comes later; where it does not, nothing is drawn for it.
    """

    p: float
    row: tuple[int, ...]
    later: bool

    @property
    def grown(self) -> float:
        """By what the weights that stay are multiplied."""
        return 1.0 / (1.0 - self.p)

    def drop(self, keys: Tensor, texts: range, heads: range, rows: slice, *parts: Tensor) -> None:
        """Set to 0, in place, what is dropped of each of ``parts``, (texts * heads, rows, seen) each: of the first ``seen`` keys."""
        several = 1 if len(self.row) == 3 else self.row[0]
        views = [x.view(len(texts), len(heads), *x.shape[1:]).view(WHOLE[x.itemsize]) for x in parts]
        if several == 1:
            self._drop(keys[texts.start : texts.stop], (), heads, rows, views)
            return
        for i, text in enumerate(texts):
            key = text // several
            self._drop(keys[key : key + 1], (text % several,), heads, rows, [x[i : i + 1] for x in views])

    def _drop(self, keys: Tensor, text: tuple[int, ...], heads: range, rows: slice, parts: list[Tensor]) -> None:
        seen, kept = parts[0].shape[-1], least(self.p)
        times, add = halves(keys, 4)
        step = max(1, AT_ONCE // (len(keys) * len(heads) * seen))
        for first in range(rows.start, rows.stop, step):
            last = min(first + step, rows.stop)
            there = seen if self.later else last
            keep = numbers_from(self._places(keys, text, heads, range(first, last), there), times, add).ge_(kept)
            for x in parts:  # times 0 or 1 as whole numbers, which costs a fraction of what a mask of bools does
                x[:, :, first - rows.start : last - rows.start, :there].mul_(keep.to(x.dtype))

    def _places(self, keys: Tensor, text: tuple[int, ...], heads: range, rows: range, seen: int) -> Tensor:
        """(1, heads, rows, seen), in the text of that number where a row is several."""
        if torch.Size(self.row).numel() <= KEPT_UP_TO and not isinstance(keys, FakeTensor):
            kept = kept_places(torch.Size(self.row), keys.device)[0][text]
            return kept[None, heads.start : heads.stop, rows.start : rows.stop, :seen]
        shape = torch.Size((*[1] * len(text), len(heads), len(rows), seen))
        return hashed_places(shape, keys.device, (*text, heads.start, rows.start, 0)).view(1, *shape[-3:])


def dropped_of(shape: tuple[int, int, int, int], p: float, device: torch.device, *, later: bool) -> tuple[Dropped, Tensor]:
    """What is to be dropped of weights (B, H, Tq, Tk), and the keys of the rows: those of the samples, moved on, or where nobody has said which samples
    they are, one for each text from torch's generator."""
    keys, row = DRAWS.keys, shape[1:]
    if keys is None or shape[0] % keys.shape[0]:
        return Dropped(p, row, later), torch.randint(-(2**63), 2**63 - 1, shape[:1], device=device)
    several = shape[0] // keys.shape[0]
    return Dropped(p, row if several == 1 else (several, *row), later), moved_on(keys)
