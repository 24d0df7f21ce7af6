"""What all tasks share: a model built, sharded and initialised; steps whose gradient is that of one mean; sums of losses and metrics.

It knows no part. ``model(batch, objective)`` gives sums and weights; the gradient of an optimizer step is that of the mean over all of
its targets, however they are cut into micro-batches and ranks (equal weights for unequal micro-batches: Lightning#20350).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from components.core.collectives import Sums, computed
from components.core.contracts import NeedsModel
from components.core.makers import make
from components.core.options import Options
from components.core.signature import Fraction, Positive, Workers
from components.core.sockets import Batch, Layer, Terms
from components.core.traits import extra_tokens
from components.corpus.batches import tokens_in
from components.corpus.steps import MicroBatch
from components.generation.generating import generate
from components.runs.loading import model_of
from components.runs.weights import materialise
from components.training.averaging import Averaged
from components.training.objectives import teacher_for
from components.training.reductions import add_sums, means
from components.training.stepping import Stepping
from components.training.strategies import data_ranks, shards_weights
from components.training.task._without import Without
from components.training.tuning import freeze, tuned


class Training(Options, Stepping, Averaged, Without, LightningModule):
    """The base of every task. A task says what it reads (``prepare``, ``blocks``) and what it measures (``measures``, ``observe``).

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, decoding, and the seed.
        tokenizer: gives the size of the vocabulary.
        batch_size: examples per optimizer step, over all devices and micro-batches.
        validation_fraction: share of the examples held out for validation, where the data do not say.
        test_fraction: share of the examples held out for a final test, likewise.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches per validation; null takes the whole split.
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        num_workers: processes that read ahead; never changes the order.
        compile: compile each layer, once for all that are alike.
    """

    batch_size: Positive = 16
    validation_fraction: Fraction = 0.05
    test_fraction: Fraction = 0.0
    validation_every: Positive = 200
    validation_batches: Positive | None = None
    activation_checkpointing: bool = False
    num_workers: Workers = 0

    # `compile` cannot be a field: nn.Module has a method of that name
    def __init__(self, config: dict[str, Any], tokenizer: Any, *, compile: Literal["none", "layers"] = "none") -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.compile_layers = compile == "layers"
        self.model: nn.Module | None = None
        # a model on the meta device that configure_model may take; in a list, so as to be no submodule
        self.built: list[nn.Module] = []
        self.start_from: Callable[[nn.Module], None] | None = None  # other weights than the initial ones
        self.loss = make(config["loss"], "loss", vocab_size=tokenizer.vocab_size)
        self.vocab_size = tokenizer.vocab_size + extra_tokens(self.loss)
        self.metrics = nn.ModuleDict(self.measures())
        self.measured_on: Sequence[Any] = ()  # the examples that are measured on, where there are any
        self.total_steps = 0  # set where the trainer's limits are known
        self.train_sums: dict[str, Tensor] = {}
        self.eval_sums: dict[str, Tensor] = {}
        self._train_over, self._eval_over = Sums(), Sums()  # over all ranks
        self._asked: set[str] = set()
        self.begin_stepping()

    # -- what it reads and measures ------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        """The corpus that ``blocks`` reads: with ``tokenizer``, ``report`` and ``hash``."""
        raise NotImplementedError

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        """Rows of a split, to learn from in an order of the ``seed``, or without one to measure on; None where the split is empty."""
        raise NotImplementedError

    def check(self, model: nn.Module, corpus: object) -> None:
        """UserError where the model does not fit the data, before anything is written."""

    def held_out(self, count: int) -> list[Any]:
        """The first ``count`` things to write samples for: here prompts, in turn."""
        return [(self.prompts or [""])[i % len(self.prompts or [""])] for i in range(count)]

    def write(self, asked: list[Any]) -> tuple[list[str], list[str]]:
        """(prompts, texts) for what ``held_out`` gave."""
        texts = [""] * len(asked)
        for prompt in dict.fromkeys(asked):  # equal prompts go on together
            rows = [i for i, p in enumerate(asked) if p == prompt]
            options = {"count": len(rows), "max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
            for i, text in zip(rows, generate(self.placed, self.tokenizer, self.config, prompt, **options)):
                texts[i] = text
        return asked, texts

    def measures(self) -> dict[str, Any]:
        """torchmetrics objects by name, fed by ``observe``."""
        return {}

    @property
    def meters(self) -> dict[str, Any]:
        """``metrics``, as what they are to Python: torchmetrics objects by name."""
        return dict(self.metrics.items())

    # -- the model ---------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Build on the meta device, shard if the strategy says so, then give every weight its value: the same on 1, 2 or 4 ranks."""
        strategy = self.trainer.strategy
        self.meet_teacher(strategy.root_device)
        if self.model is not None:
            return
        model = self.built.pop() if self.built else self.new_model()
        if shards_weights(strategy):
            strategy.shard(model)
        self.place(model, strategy.root_device)

    @property
    def placed(self) -> nn.Module:
        """``model``, once it has been built and placed."""
        assert self.model is not None
        return self.model

    def new_model(self) -> nn.Module:
        model = model_of(self.config, self.vocab_size)
        freeze(model, self.config)
        return model

    def place(self, model: nn.Module, device: torch.device | str, *, draw: bool = True) -> None:
        """``draw``: the initial values too; without, a whole state dict must be loaded next."""
        materialise(model, device, self.config["seed"], draw=draw)
        if self.start_from is not None:
            self.start_from(model)
        for layer in (m for m in model.modules() if isinstance(m, Layer)):
            layer.checkpointing = self.activation_checkpointing
            if self.compile_layers:
                layer.compile(dynamic=True)  # in place: the names in the state dict stay
        self.model = model
        self.follow(model)

    @property
    def whole(self) -> nn.Module:
        """The model, once it is there."""
        assert self.model is not None
        return self.model

    def meet_teacher(self, device: torch.device | str) -> None:
        """Give the loss the model that it learns from, if it wants one."""
        if isinstance(self.loss, NeedsModel):
            teacher = self.loss.attached or teacher_for(self)
            assert teacher is not None
            self.loss.attach(teacher.to(device))

    def forward(self, batch: Batch | Tensor) -> Tensor:
        return self.whole(batch)

    # -- training ----------------------------------------------------------------------------------------------------

    def objective(self, hidden: Tensor, head: object, batch: Batch) -> Terms:
        """What the model calls inside its own forward."""
        terms = self.loss(hidden, head, batch)
        self._asked.update(terms.losses)
        return terms

    def training_step(self, item: MicroBatch, batch_idx: int) -> Tensor:
        del batch_idx
        terms = self.whole(item.batch, self.objective)
        if not self.idle:  # else there will be no step
            add_sums(self.train_sums, terms)
            for name, value in terms.stats.items():
                self.stats[name] = self.stats[name] + value.detach() if name in self.stats else value.detach()
        # Lightning divides by the micro-batches, DDP and FSDP2 by the ranks; the totals have counted both already
        parts = self.trainer.accumulate_grad_batches * data_ranks(self.trainer)[1]
        return self.share_of_mean(terms, item.batch, self.step_totals(item)) * parts

    def share_of_mean(self, terms: Terms, batch: Batch, totals: Tensor) -> Tensor:
        """What this micro-batch adds to the step's mean loss.

        Terms of the objective are weighted by targets, terms that layers wrote by tokens: both are known for the whole step before
        its first backward pass, so sums need no second pass over the gradients. Where nothing is asked, in this micro-batch or in the
        whole step, the share is 0.
        """
        weight, totals = terms.losses["loss"][1], totals.clamp(min=1e-9)
        tokens = tokens_in(batch)
        total: Tensor | None = None
        for name, (value, own) in terms.losses.items():
            share = weight / totals[0] if name in self._asked else tokens / totals[1]
            part = terms.aim.get(name, 1.0) * value / own.clamp(min=1e-9) * share
            total = part if total is None else total + part
        assert total is not None
        return total

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = make(self.config["optimizer"], "optimizer", weights=tuned(self.whole, self.config))
        factor = make(self.config["schedule"], "schedule", total_steps=self.total_steps)
        # a plain function: LambdaLR would save and restore the state of an object, and a longer total_steps would be lost on resume
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # -- validation and test -----------------------------------------------------------------------------------------

    def validation_step(self, item: MicroBatch, batch_idx: int) -> None:
        del batch_idx
        add_sums(self.eval_sums, self.whole(item.batch, self.judged_objective))

    test_step = validation_step

    def judged_objective(self, hidden: Tensor, head: object, batch: Batch) -> Terms:
        """The objective, with the task's metrics fed beside it."""
        if self.metrics:
            self.observe(hidden, head, batch)
        return self.objective(hidden, head, batch)

    def observe(self, hidden: Tensor, head: object, batch: Batch) -> None:
        """Update ``self.metrics``. Called inside the model's forward, so that ``head`` has its weights under FSDP2."""
        raise NotImplementedError(f"{type(self).__name__} has metrics, so it must say what they see")

    def train_so_far(self) -> dict[str, Tensor]:
        """Sums over all ranks of what was trained on since they were last taken."""
        return self._train_over(self.train_sums)

    def take_train(self) -> dict[str, float]:
        """Means over what was trained on since the last call, over all ranks."""
        taken, self.train_sums = means(self._train_over(self.train_sums)), {}
        return taken

    def take_eval(self) -> tuple[dict[str, float], float, float]:
        """({"loss": its mean, and the task's metrics}, sum of nats, number of targets) of the validation or test pass, over all ranks."""
        sums, self.eval_sums = self._eval_over(self.eval_sums), {}
        nats, weight = sums["loss"].tolist() if "loss" in sums else (0.0, 0.0)
        loss = {"loss": nats / weight} if weight else {}
        return {**loss, **self.take_metrics()}, nats, weight

    def take_metrics(self) -> dict[str, float]:
        """Each metric that a rank has fed, over all ranks since the last call, 0 to 1 where it is a share. All ranks call this."""
        return computed(self.meters)
