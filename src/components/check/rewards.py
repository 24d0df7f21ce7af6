"""Properties of rewards: what is made of an answer, in small worlds in which the right answer is known."""

from __future__ import annotations

import math
import random

import torch

from components.check.cases import Violation, holds
from components.check.evaluations import TEXTS, judge
from components.check.host import Host
from components.check.off_path import made

# answers to one prompt whose right answer is the first of them: right, wrong, empty, with an odd sign, far longer than asked
PROMPT = "What is there to read?"
ANSWERS = (TEXTS[0], TEXTS[1], "", " \n", "\ufffd\u0000", "a" * 5000, f"  {TEXTS[0]}\n")


def rewards(host: Host) -> list[float]:
    reward = made(host.subject, judge=judge)
    return [reward(answer, PROMPT, ANSWERS[0]) for answer in ANSWERS]


@holds("is a finite number for any text", "reward")
def reward_is_a_number(host: Host) -> None:
    for answer, found in zip(ANSWERS, rewards(host)):
        if not isinstance(found, (int, float)) or not math.isfinite(found):
            raise Violation(f"{answer!r:.40} is worth {found!r}")
    weight = made(host.subject, judge=judge).weight
    if not math.isfinite(weight):
        raise Violation(f"its weight is {weight}")


@holds("is the same for the same texts", "reward")
def reward_is_a_function(host: Host) -> None:
    found = []
    for state in (0, 1):
        torch.manual_seed(state)
        random.seed(state)
        found.append(rewards(host))
    for answer, one, other in zip(ANSWERS, *found):
        if one != other:
            raise Violation(f"{answer!r:.40} is worth {one}, then {other}")


@holds("tells answers apart", "reward")
def reward_tells_apart(host: Host) -> None:
    found = rewards(host)
    if len(set(found)) == 1:
        raise Violation(f"every answer is worth {found[0]}: a group whose rewards are equal teaches nothing")
