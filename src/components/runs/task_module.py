"""What a run asks of its task and of the rows that the task gives it. The task itself knows Lightning, and stands above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.sockets import Batch
from components.corpus.corpus import Corpus
from components.corpus.example import Example
from components.corpus.examples import ExampleCorpus
from components.corpus.order import EpochOrder
from components.corpus.row import Row
from components.corpus.steps import MicroBatch
from components.corpus.tokens import Tokens

AnyCorpus = Corpus | ExampleCorpus
Asked = str | Example  # what a sample is written for: a prompt, or an example


class LoadedModel(Protocol):
    """A model in eval mode with its tokenizer, its spelled-out config and, where it is a run's, its folder."""

    @property
    def model(self) -> Any: ...
    @property
    def tokenizer(self) -> Tokens: ...
    @property
    def config(self) -> Config: ...
    @property
    def folder(self) -> Path | None: ...


class Rows(Protocol):
    """Rows of one split: packed blocks of text, or one example each."""

    notes: Sequence[str]  # what was cut or left out, for people
    examples: Sequence[Example]  # one for each row; none of packed text
    n_blocks: int
    n_bytes: int
    n_targets: int
    order: EpochOrder

    @property
    def n_documents(self) -> int: ...
    @property
    def tokens_per_row(self) -> float: ...
    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray, /) -> Batch: ...


class TaskModule(Protocol):
    """The LightningModule of a run: its options as attributes, its model, and what it measures."""

    config: Config
    tokenizer: Tokens
    loss: Any
    model: Any
    built: list[nn.Module]
    metrics: nn.ModuleDict
    measured_on: Sequence[Example]
    vocab_size: int
    total_steps: int
    batch_size: int
    batch_tokens: int | None
    documents: str
    labelled: bool  # its answers are labels, and its model has a score for each
    num_workers: int
    validation_batches: int | None
    samples: int
    sample_tokens: int
    judged_samples: int
    gives_sources: bool
    best_by: tuple[str, str]
    validation_every: int
    activation_checkpointing: bool | int | Literal["selective"]
    compile_layers: bool
    start_from: Any
    idle: bool
    unread: tuple[str, ...] | None
    grad_norm: Tensor | None
    faults: dict[str, int]
    last_stats: dict[str, Tensor]
    train_sums: dict[str, Tensor]
    holds_average: bool

    def blocks(self, corpus: AnyCorpus, split: str, context: int, seed: int | None = None) -> Rows | None: ...
    def check(self, model: nn.Module, corpus: AnyCorpus) -> None: ...
    def new_model(self) -> nn.Module: ...
    def need_known_strategy(self, strategy: object) -> None: ...  # UserError for one that it cannot be trained under
    def place(self, model: nn.Module, device: torch.device | str, *, draw: bool = True) -> None: ...
    def meet_teacher(self, device: torch.device | str) -> None: ...
    def held_out(self, count: int) -> list[Asked]: ...
    def write(self, asked: list[Asked]) -> tuple[list[str], list[str]]: ...
    def validation_step(self, item: MicroBatch, batch_idx: int) -> None: ...
    def train_so_far(self) -> dict[str, Tensor]: ...
    def take_train(self) -> dict[str, float]: ...
    def take_eval(self) -> tuple[dict[str, float], float, float]: ...


@runtime_checkable
class Comparing(Protocol):
    """A task whose loss may compare its model with another one, which stays as it is."""

    def compare_with(self, start: nn.Module) -> None: ...


class ExampleTask(TaskModule, Protocol):
    """One whose rows are examples."""

    def encode(self, example: Example, longest: int, /) -> Row: ...
