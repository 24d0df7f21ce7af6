"""A reward model: the score of the preferred answer is to be the higher one, by the model of Bradley and Terry (1952, doi:10.2307/2334029).

Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, equation 1, with two answers a prompt
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED
from components.functional.precision import at_least_fp32
from components.parts.loss._answers import weights_of
from components.parts.loss._pairs import terms_of_pairs
from components.parts.loss._tokens import need_targets


@register("loss", "reward")
class Reward:
    """Reward: -log sigmoid(score of the chosen answer - score of the rejected one), a mean over pairs.

    An answer's score is the head's number at the last position that has a target. Only the difference is learned: scores of all answers may move together.
    """

    needs = {"head": ("scores",)}
    provides = ("rewards",)
    likelihood = False

    def __call__(self, hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
        scores = scores_of(hidden, head, batch)
        weights = weights_of(batch).to(scores.dtype)
        return terms_of_pairs(-F.logsigmoid(scores[:, 0] - scores[:, 1]), scores, weights)


def scores_of(hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """(B, 2) the score of each answer; without a meaning where an answer has no target, whose pair has no weight.

    Raises:
        ValueError: ``batch`` has no documents or no targets, or the head has more than one number.
    """
    targets = need_targets(batch, "reward", "one at the end of each answer")
    if batch.documents is None:
        raise ValueError("a loss over pairs needs batch.documents: 0 for the chosen answer, 1 for the rejected one")
    places = torch.arange(targets.shape[1], device=targets.device)
    asked = (targets != IGNORED)[:, None] & (batch.documents[:, None] == torch.arange(2, device=targets.device)[:, None])
    last = torch.where(asked, places, 0).amax(-1)  # (B, 2)
    said = head(hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1])))
    if said.shape[-1] != 1:
        raise ValueError(f"reward reads one number at each position, and the head has {said.shape[-1]}: take head/value")
    return at_least_fp32(said[..., 0])
