"""BLEU as sacrebleu gives it: torchmetrics counts the n-grams; an order without a match is smoothed as sacrebleu does by default.

Papineni et al. 2002, doi:10.3115/1073083.1073135; Post 2018, arXiv:1804.08771; Chen & Cherry 2014, doi:10.3115/v1/W14-3346, method 3
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor
from torchmetrics.text import SacreBLEUScore

from components.core.extras import lacking


class Bleu(SacreBLEUScore):
    """BLEU of all texts together, 0 to 1. The k-th order in a row without a matching n-gram counts as 1 / 2^k of a match.

    torchmetrics itself gives 0 there, or adds 1 to every count. The score stays 0 if no word matches, or if no text has four words.
    """

    def __init__(self, tokenize: str = "13a") -> None:
        if tokenize == "intl" and find_spec("regex") is None:
            raise lacking("task.bleu_tokenize", "intl needs the package regex", "regex")
        super().__init__(tokenize=tokenize)  # type: ignore[arg-type]  # the task's option is the closed list, and has been checked

    def compute(self) -> Tensor:
        right, made = self.numerator.cpu().double(), self.denominator.cpu().double()  # not every device has doubles
        if not right.any() or not made.all():
            return self.numerator.new_zeros(())
        missed = right == 0
        precision = torch.where(missed, 0.5 ** missed.cumsum(0), right) / made
        brevity = torch.exp((1 - self.target_len / self.preds_len).clamp(max=0.0))
        return brevity * precision.log().mean().exp().to(brevity)
