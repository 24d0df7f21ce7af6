"""What all tasks share: a model built, sharded and initialised; steps whose gradient is that of one mean; sums of losses and metrics.

It knows no part. ``model(batch, objective)`` gives sums and weights; the gradient of an optimizer step is that of the mean over all of
its targets, however they are cut into micro-batches and ranks (equal weights for unequal micro-batches: Lightning#20350).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from components.core.abilities import TakesModel
from components.core.config_types import Config
from components.core.makers import make
from components.core.options import Options
from components.core.recompute import checkpointing_of
from components.core.signature import Fraction, Positive, Workers
from components.core.sockets import Batch, Layer, Terms
from components.core.traits import extra_tokens
from components.corpus.batches import tokens_in
from components.corpus.foreign_batches import ForeignBatch
from components.corpus.steps import MicroBatch
from components.corpus.tokens import Tokens
from components.generation.generating import generate
from components.runs.loading import model_of
from components.runs.weights import materialise
from components.training.averaging import Averaged
from components.training.objectives import teacher_for
from components.training.reductions import add_sums, times
from components.training.stepping import Stepping
from components.training.strategies import shards_weights
from components.training.task._driven import Driven
from components.training.task._logged import Logged
from components.training.task._portable import Portable
from components.training.task._taking import Taking, inside
from components.training.task._terms import fed
from components.training.task._without import Without
from components.training.tuning import freeze, tuned


class Training(Options, Taking, Stepping, Driven, Logged, Portable, Averaged, Without, LightningModule):
    """The base of every task. A task says what it reads (``prepare``, ``blocks``) and what it measures (``measures``, ``observe``).

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, decoding, and the seed.
        tokenizer: gives the size of the vocabulary.
        batch_size: examples per optimizer step, over all devices and micro-batches.
        validation_fraction: share of the examples held out for validation, where the data do not say.
        test_fraction: share of the examples held out for a final test, likewise.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches per validation; null takes the whole split.
        activation_checkpointing: recompute each layer in the backward pass, or each n-th (2, 3, ...), or all but products of matrices (selective).
        num_workers: processes that read ahead; never changes the order.
        dropout_by: what draws belong to: ``sample``, so that ranks and micro-batches change nothing, or ``rank``: each has a generator of its own.
        compile: compile each layer, once for all that are alike.
    """

    batch_size: Positive = 16
    validation_fraction: Fraction = 0.05
    test_fraction: Fraction = 0.0
    validation_every: Positive = 200
    validation_batches: Positive | None = None
    activation_checkpointing: bool | Positive | Literal["selective"] = False
    num_workers: Workers = 0
    dropout_by: Literal["sample", "rank"] = "sample"

    # `compile` cannot be a field: nn.Module has a method of that name
    def __init__(self, config: Config, tokenizer: Tokens, *, compile: Literal["none", "layers"] = "none") -> None:
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
        self._asked: set[str] = set()
        self.begin_driven()
        self.begin_logging()
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
        self.need_known_strategy(strategy)
        self.meet_teacher(strategy.root_device)
        if self.model is not None:
            self.shard_placed(strategy)
            return
        model = self.built.pop() if self.built else self.new_model()
        self.lay_out(model)
        self.place(model, strategy.root_device)
        if isinstance(self.trainer.precision_plugin, DoublePrecision) and not shards_weights(strategy):
            model.double()  # Lightning does so after it has loaded a checkpoint, which would be rounded to fp32

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
            layer.checkpointing = checkpointing_of(self.activation_checkpointing, layer.place.index)
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
        """Give the loss the model that it learns from, or several, if it wants any."""
        if isinstance(self.loss, TakesModel):
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

    def training_step(self, item: MicroBatch | Batch | ForeignBatch, batch_idx: int) -> Tensor:
        item = self.ready(self.taken(item))
        if self._trainer is None:  # Lightning calls the hook; a loop of one's own, with Fabric or without, calls nothing else
            self.on_train_batch_start(item, batch_idx)
        totals = self.whole_step(item)
        terms = self.learned_from(item)
        if not self.idle:  # else there will be no step
            add_sums(self.train_sums, terms)
            for name, value in terms.stats.items():
                self.stats[name] = self.stats[name] + value.detach() if name in self.stats else value.detach()
        # Lightning divides by the micro-batches, DDP and FSDP2 by the ranks; the totals have counted both already
        return times(self.share_of_mean(terms, item.batch, totals), self.pieces(item))

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
            part = times(value, terms.aim.get(name, 1.0)) / own.clamp(min=1e-9) * share
            total = part if total is None else total + part
        assert total is not None
        return total

    def configure_optimizers(self) -> OptimizerLRScheduler:
        self.follow(self.whole)  # anew: what shards or prunes has put other parameters in the place of those that were there
        optimizer = make(self.config["optimizer"], "optimizer", weights=tuned(self.whole, self.config))
        self._factor = None
        # a plain function: LambdaLR would save and restore the state of an object, and a longer total_steps would be lost on resume
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # -- validation and test -----------------------------------------------------------------------------------------

    def validation_step(self, item: MicroBatch | Batch | ForeignBatch, batch_idx: int) -> None:
        del batch_idx
        add_sums(self.eval_sums, fed(self.meters, self.whole(self.taken(item).batch, self.judged_objective), self._asked))

    test_step = validation_step

    def predict_step(self, item: MicroBatch | Batch | Tensor, batch_idx: int = 0) -> object:
        """What the model says of a batch: here logits (B, T, V)."""
        del batch_idx
        return self.whole(inside(item))

    def judged_objective(self, hidden: Tensor, head: object, batch: Batch) -> Terms:
        """The objective, with the task's metrics fed beside it."""
        if self.metrics:
            self.observe(hidden, head, batch)
        return self.objective(hidden, head, batch)

    def observe(self, hidden: Tensor, head: object, batch: Batch) -> None:
        """Update ``self.metrics``. Called inside the model's forward, so that ``head`` has its weights under FSDP2."""
        raise NotImplementedError(f"{type(self).__name__} has metrics, so it must say what they see")
