"""chrF as sacrebleu gives it: n-grams of characters instead of words. It needs no word borders, and gives credit for parts of words.

Popović 2015, doi:10.18653/v1/W15-3049, with characters of all texts counted together; Post 2018, arXiv:1804.08771
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

ORDER, BETA = 6, 2.0


class ChrF(Metric):
    """chrF2 of all texts together, 0 to 1: the F-score of precision and recall, each the mean over the orders 1 to 6 that both sides have.

    torchmetrics' own counts orders longer than a text as 0, so a right answer of one letter would score a sixth.
    """

    higher_is_better = True
    full_state_update = False
    counts: Tensor  # (6, 3): n-grams of the hypotheses, of the references, and their matches

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(ORDER, 3, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, written: Sequence[str], meant: Sequence[str]) -> None:
        found = [[count(w, m, n) for n in range(1, ORDER + 1)] for w, m in zip(written, meant, strict=True)]
        self.counts += torch.tensor(found, dtype=torch.long).reshape(-1, ORDER, 3).sum(0).to(self.counts.device)

    def compute(self) -> Tensor:
        counts = self.counts.cpu().double()  # not every device has doubles
        written, meant, right = counts[(counts[:, :2] > 0).all(1)].T
        precision, recall = (right / written).mean(), (right / meant).mean()
        score = (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
        return score.nan_to_num(0.0).float().to(self.counts.device)


def count(written: str, meant: str, n: int) -> tuple[int, int, int]:
    """n-gram counts of the hypothesis, the reference, and their overlap. If the reference has no n-gram of this order, the hypothesis counts as
    having none."""
    ours, theirs = ngrams(written, n), ngrams(meant, n)
    return ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()


def ngrams(text: str, n: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[i : i + n] for i in range(len(letters) - n + 1))
