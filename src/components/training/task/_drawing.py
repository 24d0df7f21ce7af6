"""A task that learns from answers which its own model draws: a batch of prompts becomes a batch of answers with their rewards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.contracts import Reward
from components.core.errors import UserError
from components.core.makers import sizes_of
from components.core.sockets import Batch, Terms, make, make_all
from components.core.traits import judge_of
from components.core.weights import generator_for
from components.corpus.batches import ids_of, once_a_row, tokens_in, totals
from components.corpus.example import Example
from components.corpus.foreign_batches import ForeignBatch
from components.corpus.rows import Row
from components.corpus.rows import batch_of as rows_together
from components.corpus.steps import LoneMicroBatch, MicroBatch
from components.corpus.tokens import Tokens
from components.functional.cross_entropy import IGNORED
from components.functional.precision import widest
from components.generation.drawing import draw_answers
from components.generation.streaming import text_of
from components.parts.loss._answers import weights_of
from components.training.strategies import shards_weights
from components.training.task._conversing import last_answers
from components.training.task._earlier import Earlier
from components.training.task._redrawing import Groups, Redrawing, Redrawn
from components.training.task._reference import said_by, tokens_read

EARLIER = "earlier_policy"  # its entry in a checkpoint


class Drawing(Redrawing):
    """Beside a task over conversations with ``group_size``, ``rewards`` and ``steps_per_generation``.

    What is drawn for a row depends on the seed, on the row's number in the endless stream of epochs and on the policy alone: not on how a step's rows
    are divided, and not on whether a run was resumed.
    """

    earlier: Earlier | None = None  # what draws, where it is not the model as it is

    @cached_property
    def scorers(self) -> list[Reward]:
        """The rewards. UserError where one needs what the data do not have."""
        task: Any = self
        asks = any("judge" in sizes_of(maker, "reward") for maker in task.rewards)
        judge = judge_of(make(task.config["data"], "data")) if asks else None
        return make_all(task.rewards, "reward", judge=judge)

    def encode(self, example: Example, longest: int) -> Row:
        """The row that ends with the last answer."""
        made: Row | list[Row] = super().encode(example, longest)  # type: ignore[misc]  # a task's
        return made[-1] if isinstance(made, list) else made

    def check(self, model: nn.Module, corpus: object) -> None:
        """Beside what all tasks do: the rewards are made before anything is written."""
        super().check(model, corpus)  # type: ignore[misc]  # a task's
        _ = self.scorers

    def need_known_strategy(self, strategy: object) -> None:
        """Answers end at different steps on different ranks, and who divides weights waits for all ranks at each."""
        super().need_known_strategy(strategy)  # type: ignore[misc]  # a task's
        if shards_weights(strategy):
            raise UserError("trainer.strategy", "a model that is divided among ranks draws no answers yet", "take strategy=ddp")

    def taken(self, given: MicroBatch | Batch | ForeignBatch) -> MicroBatch:
        """A batch of others counts prompts as well, and not their tokens."""
        item: MicroBatch = super().taken(given)  # type: ignore[misc]  # a task's
        if item.batch.weights is None and item.batch.targets is not None:
            batch = replace(item.batch, weights=once_a_row(item.batch.targets))
            return LoneMicroBatch(batch, totals(batch), item.asked)
        return item

    def place(self, model: nn.Module, device: torch.device | str, *, draw: bool = True) -> None:
        super().place(model, device, draw=draw)  # type: ignore[misc]  # a task's
        task: Any = self
        if task.steps_per_generation > 1:
            self.earlier = Earlier(task.placed, task.steps_per_generation)

    def reward_of(self, answer: str, prompt: str, reference: str) -> float:
        """The sum of all rewards, each times its weight."""
        return sum(scorer.weight * scorer(answer, prompt, reference) for scorer in self.scorers)

    # -- answers ---------------------------------------------------------------------------------------------------------

    def answered(self, item: MicroBatch, numbers: Sequence[int], drawn_for: str, redraws: int = 0) -> MicroBatch:
        """``item`` with ``group_size`` answers in the place of each row: rows of prompt and answer, with the rewards of their groups.

        Args:
            item: prompts, each with the data's answer to it as targets.
            numbers: of the rows, for their draws.
            drawn_for: what the draws are for, besides.
            redraws: how often other prompts of the training split take the place of those whose answers are all worth the same.
        """
        task: Any = self
        batch, size, device = item.batch, task.group_size, item.batch.ids.device
        groups = self.groups_for(batch, numbers, drawn_for)
        again = self.draw_again(groups, numbers, drawn_for, redraws, device) if redraws else None
        pairs = [(p, a) for p, answers in zip(groups.prompts, groups.answers) for a in answers]
        made = rows_together([row_of(p, a) for p, a in pairs]).to(device)
        assert made.targets is not None
        counted = weights_of(batch) if again is None else weights_of(batch) * ~groups.alike().to(device)
        weights = once_a_row(made.targets) * (counted.repeat_interleave(size) / size)[:, None]
        rewards = in_turn(groups.rewards).to(device)
        lengths = in_turn((made.targets != IGNORED).sum(1).view(-1, size))
        samples = None if item.samples is None else (item.samples[:, None] * size + torch.arange(size, device=device)).view(-1)
        made = Batch(made.ids, made.targets, weights, valid=made.valid, rewards=rewards, lengths=lengths)
        if again is None:
            return MicroBatch(made, item.totals, item.asked, whole=item.whole, first=item.first, samples=samples)
        return Redrawn(made, counted, weights_of(batch), again.to(device), item.asked, samples)

    def groups_for(self, batch: Batch, numbers: Sequence[int], drawn_for: str) -> Groups:
        """The answers to each row's prompt, and what they are worth."""
        task: Any = self
        size, ends = task.group_size, task.ends()
        prompts = task.prompts_in(batch)[0]
        seed = generator_for(task.config["seed"], drawn_for).initial_seed()
        seeds = [(seed, number * size + i) for number in numbers for i in range(size)]
        asked = [prompt for prompt in prompts for _ in range(size)]
        drawn = draw_answers(
            task.placed, task.tokenizer, task.config, asked, seeds=seeds, ends=ends, max_new_tokens=task.sample_tokens
        )
        answers = [drawn[i * size : (i + 1) * size] for i in range(len(prompts))]
        return Groups(prompts, answers, self._rewards(batch, prompts, answers, ends))

    def _rewards(self, batch: Batch, prompts: list[list[int]], answers: list[list[list[int]]], ends: Sequence[int]) -> Tensor:
        """(B, size) of each answer."""
        task: Any = self
        tokenizer = task.tokenizer
        assert batch.targets is not None
        found = []
        for targets, at, prompt, group in zip(batch.targets, last_answers(batch.targets), prompts, answers):
            own = targets[int(at) :]
            meant, asked = said(tokenizer, own[own != IGNORED].tolist(), ends), tokenizer.decode(prompt)
            found.append([self.reward_of(said(tokenizer, answer, ends), asked, meant) for answer in group])
        return torch.tensor(found, dtype=widest(batch.ids.device))

    # -- steps -----------------------------------------------------------------------------------------------------------

    def ready(self, item: MicroBatch) -> MicroBatch:
        """A group weighs 1, however many answers it has. With ``redraws`` a step's mean is over the groups that teach something."""
        task: Any = self
        redraws: int = task.redraws
        if item.samples is not None:
            numbers = item.samples.tolist()
            return self.drawn_in(numbers[0] // task.batch_size, item, numbers, "answers to learn from", redraws)
        if redraws:
            raise UserError("task.redraws", "the loader does not say which rows it reads, nor has it others", "set it to 0")
        # nobody counts the rows: what is drawn depends on the step and the prompt
        step = 0 if task._trainer is None else task._trainer.global_step
        return self.drawn_in(step, item, hashes_of(item), f"answers to learn from in step {step}", 0)

    def share_of_mean(self, terms: Terms, batch: Batch, totals: Tensor) -> Tensor:
        """A layer's own loss weighs as the groups do: the loader has counted the tokens of its rows, and not those of what is drawn."""
        weight = terms.losses["loss"][1]
        tokens = tokens_in(batch) * totals[0].clamp(min=1e-9) / weight
        return super().share_of_mean(terms, batch, torch.stack((totals[0], tokens)))  # type: ignore[misc,no-any-return]  # a task's

    def drawn_in(self, step: int, item: MicroBatch, numbers: Sequence[int], drawn_for: str, redraws: int) -> MicroBatch:
        """``answered`` by the policy that draws in this step, with its log-probabilities where it is not the model as it is."""
        task: Any = self
        if self.earlier is None:
            return self.answered(item, numbers, drawn_for, redraws)
        self.earlier.renew(step)
        with self.earlier.in_place():
            made = self.answered(item, numbers, drawn_for, redraws)
            made.batch = replace(made.batch, drawn=said_by(task.placed, made.batch, tokens_read(task.vocab_size)))
        return made

    def validation_step(self, item: MicroBatch | Batch | ForeignBatch, batch_idx: int) -> None:
        """What is drawn depends on the prompt, so that it is the same however a split is read."""
        task: Any = self
        taken: MicroBatch = task.taken(item)
        super().validation_step(  # type: ignore[misc]  # a task's
            task.compared(self.answered(taken, hashes_of(taken), "answers to measure on")), batch_idx
        )

    test_step = validation_step

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_save_checkpoint(checkpoint)  # type: ignore[misc]  # a task's
        if self.earlier is not None:
            checkpoint[EARLIER] = self.earlier.state()

    def on_load_checkpoint(self, checkpoint: Config) -> None:
        super().on_load_checkpoint(checkpoint)  # type: ignore[misc]  # a task's
        if self.earlier is not None and EARLIER in checkpoint:
            self.earlier.restore(checkpoint[EARLIER])


def in_turn(groups: Tensor) -> Tensor:
    """(N, G) -> (N * G, G): of each member of a group, and after it of the others, in turn."""
    size = groups.shape[1]
    return torch.stack([groups.roll(-i, 1) for i in range(size)], 1).view(-1, size)


def said(tokenizer: Tokens, ids: list[int], ends: Sequence[int]) -> str:
    """The text of an answer, without the token that ends it."""
    return text_of(tokenizer, [], ids[:-1] if ids and ids[-1] in ends else ids)


def row_of(prompt: list[int], answer: list[int]) -> Row:
    """Nothing is asked of the prompt, and nothing after the last target is read."""
    return Row([*prompt, *answer][:-1], [IGNORED] * (len(prompt) - 1) + answer)


def hashes_of(item: MicroBatch) -> list[int]:
    """A number for each row's ids, the same however it is padded."""
    return [int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=6).digest(), "big") for row in ids_of(item.batch)]
