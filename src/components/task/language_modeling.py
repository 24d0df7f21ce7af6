"""Language modelling: predict tokens of packed text; one Lightning module for every model, loss, optimizer and schedule.

It knows no part. ``model(batch, objective)`` gives sums and weights; the gradient of an optimizer step is that of the mean over all of
its targets, however they are cut into micro-batches and ranks (equal weights for unequal micro-batches: Lightning#20350).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from components.makers import Bound, make
from components.optimizer._nested import tell_norm
from components.registry import register
from components.signature import Fraction, NonNegative, Positive
from components.sockets import Batch, Layer, Terms, name_parts
from components.task.averaging import Averaged
from components.task.batches import tokens_in
from components.task.clipping import clip_gradients, clip_values
from components.task.data_module import Item
from components.task.objectives import extra_tokens, teacher_for
from components.task.strategies import FSDP2, data_ranks
from components.task.weights import materialise
from components.weights import roles


@register("task", "language_modeling")
class LanguageModeling(Averaged, LightningModule):
    """Predict tokens of packed documents: each next one, or what the loss hides.

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, and the seed.
        tokenizer: gives the size of the vocabulary.
        batch_size: sequences per optimizer step, over all devices and micro-batches.
        batch_tokens: tokens per optimizer step instead; rounded down to whole sequences.
        documents: whether packed documents are apart or see one another.
        validation_fraction: share of the documents held out for validation.
        test_fraction: share of the documents held out for a final test.
        max_chars: longer documents are cut into pieces of so many characters.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches (of batch_size sequences) per validation; null takes the whole split.
        samples: texts written after each validation, where the model can continue one.
        sample_tokens: at most so many new tokens in each.
        prompts: what samples begin with, in turn; without any they begin as documents do.
        judged_samples: texts at the end that the data's ``judge`` looks at, if it has one.
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        compile: compile each layer, once for all that are alike.
        num_workers: processes that read ahead; never changes the order.
    """

    def __init__(
        self,
        config: dict[str, Any],
        tokenizer: Any,
        *,
        batch_size: Positive = 16,
        batch_tokens: Positive | None = None,
        documents: Literal["apart", "together"] = "apart",
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        max_chars: Positive = 1000000,
        validation_every: Positive = 200,
        validation_batches: Positive | None = None,
        samples: NonNegative = 2,
        sample_tokens: Positive = 120,
        prompts: list[str] = (),  # type: ignore[assignment]
        judged_samples: NonNegative = 24,
        activation_checkpointing: bool = False,
        compile: Literal["none", "layers"] = "none",
        num_workers: NonNegative = 0,
    ) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.batch_size, self.batch_tokens, self.documents = batch_size, batch_tokens, documents
        self.validation_fraction, self.test_fraction, self.max_chars = validation_fraction, test_fraction, max_chars
        self.validation_every, self.validation_batches = validation_every, validation_batches
        self.samples, self.sample_tokens, self.prompts, self.judged_samples = (
            samples,
            sample_tokens,
            list(prompts),
            judged_samples,
        )
        self.activation_checkpointing, self.compile_layers, self.num_workers = (
            activation_checkpointing,
            compile == "layers",
            num_workers,
        )
        self.model: nn.Module | None = None
        # a model on the meta device that configure_model may take; in a list, so as to be no submodule
        self.built: list[nn.Module] = []
        self.start_from: Callable[[nn.Module], None] | None = None  # other weights than the initial ones
        self.loss = make(config["loss"], "loss", vocab_size=tokenizer.vocab_size)
        self.vocab_size = tokenizer.vocab_size + extra_tokens(self.loss)
        self.total_steps = 0  # set by whoever knows the trainer's limits
        self.train_sums: dict[str, Tensor] = {}
        self.eval_sums: dict[str, Tensor] = {}
        self.stats: dict[str, Tensor] = {}
        self.grad_norm: Tensor | None = None
        self._asked: set[str] = set()
        self._weights: list[nn.Parameter] = []
        self._followers: list[Any] = []

    # -- the model ---------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Build on the meta device, shard if the strategy says so, then give every weight its value: the same on 1, 2 or 4 ranks."""
        strategy = self.trainer.strategy
        self.meet_teacher(strategy.root_device)
        if self.model is not None:
            return
        model = self.built.pop() if self.built else self.new_model()
        if isinstance(strategy, FSDP2):
            strategy.shard(model)
        self.place(model, strategy.root_device)

    def new_model(self) -> nn.Module:
        with torch.device("meta"):
            model = make(Bound(self.config["model"], where="model"), "model", vocab_size=self.vocab_size)
            model = make(Bound(self.config.get("adapter") or "none", where="adapter"), "adapter").apply(model)
        name_parts(model)
        return model

    def place(self, model: nn.Module, device: torch.device | str) -> None:
        materialise(model, device, self.config["seed"])
        if self.start_from is not None:
            self.start_from(model)
        for layer in (m for m in model.modules() if isinstance(m, Layer)):
            layer.checkpointing = self.activation_checkpointing
            if self.compile_layers:
                layer.compile(dynamic=True)  # in place: the names in the state dict stay
        self.model = model
        self._weights = list(model.parameters())  # walking over all modules costs more than a small step
        self._followers = [m for m in model.modules() if callable(getattr(m, "after_step", None))]

    def meet_teacher(self, device: torch.device | str) -> None:
        """Give the loss the model that it learns from, if it wants one."""
        if getattr(self.loss, "wants", None) == "teacher":
            self.loss.teacher = (self.loss.teacher or teacher_for(self)).to(device)

    def forward(self, batch: Batch | Tensor) -> Tensor:
        return self.model(batch)

    # -- training ----------------------------------------------------------------------------------------------------

    def objective(self, hidden: Tensor, head: Any, batch: Batch) -> Terms:
        terms = self.loss(hidden, head, batch)
        self._asked.update(terms.losses)
        return terms

    def training_step(self, item: Item, batch_idx: int) -> Tensor:
        del batch_idx
        batch, totals = item.batch, item.totals
        terms = self.model(batch, self.objective)
        add_sums(self.train_sums, terms)
        for name, value in terms.stats.items():
            self.stats[name] = self.stats[name] + value.detach() if name in self.stats else value.detach()
        # Lightning divides by the micro-batches, DDP and FSDP2 by the ranks; the totals have counted both already
        return self.share_of_mean(terms, batch, totals) * (self.trainer.accumulate_grad_batches * data_ranks(self.trainer)[1])

    def share_of_mean(self, terms: Terms, batch: Batch, totals: Tensor) -> Tensor:
        """What this micro-batch adds to the step's mean loss.

        Terms of the objective are weighted by targets, terms that layers wrote by tokens: both are known for the whole step before
        its first backward pass, so sums need no second pass over the gradients.
        """
        weight = terms.losses["loss"][1]
        tokens = tokens_in(batch)
        total: Tensor | None = None
        for name, (value, own) in terms.losses.items():
            share = weight / totals[0] if name in self._asked else tokens / totals[1]
            part = terms.aim.get(name, 1.0) * value / own.clamp(min=1e-9) * share
            total = part if total is None else total + part
        assert total is not None
        return total

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.stats or self._followers:
            stats = summed(self.stats)
            for part in self._followers:
                part.after_step(stats)
            self.stats = {}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if gradient_clip_val and gradient_clip_algorithm == "value":
            clip_values(self._weights, float(gradient_clip_val))
        elif gradient_clip_val:
            self.grad_norm = clip_gradients(self._weights, float(gradient_clip_val))
            tell_norm(optimizer, self.grad_norm)

    def configure_optimizers(self) -> dict[str, Any]:
        weights = list(roles(self.model))
        if scale := getattr(getattr(self.model, "init", None), "lr_scale", None):
            weights = [replace(w, lr_scale=scale(w)) for w in weights]
        optimizer = make(self.config["optimizer"], "optimizer", weights=weights)
        factor = make(self.config["schedule"], "schedule", total_steps=self.total_steps)
        # a plain function: LambdaLR would save and restore the state of an object, and a longer total_steps would be lost on resume
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # -- validation and test -----------------------------------------------------------------------------------------

    def validation_step(self, item: Item, batch_idx: int) -> None:
        del batch_idx
        add_sums(self.eval_sums, self.model(item.batch, self.objective))

    test_step = validation_step

    def take_train(self) -> dict[str, float]:
        """Means over what was trained on since the last call, over all ranks."""
        taken, self.train_sums = means(summed(self.train_sums)), {}
        return taken

    def take_eval(self) -> tuple[dict[str, float], float, float]:
        """(means, sum of nats, number of targets) of the validation or test pass, over all ranks."""
        sums, self.eval_sums = summed(self.eval_sums), {}
        nats, weight = sums["loss"].tolist() if "loss" in sums else (0.0, 0.0)
        return means(sums), nats, weight


def add_sums(sums: dict[str, Tensor], terms: Terms) -> None:
    for name, (value, weight) in terms.losses.items():
        pair = torch.stack((value.detach().double(), weight.detach().double()))  # fp32 stops counting targets at 16.7 million
        sums[name] = sums[name] + pair if name in sums else pair


def summed(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Over all ranks."""
    if sums and dist.is_initialized() and dist.get_world_size() > 1:
        sums = {n: v.clone() for n, v in sorted(sums.items())}
        for value in sums.values():
            dist.all_reduce(value)
    return sums


def means(sums: dict[str, Tensor]) -> dict[str, float]:
    return {name: (s / w if w else 0.0) for name, (s, w) in ((n, v.tolist()) for n, v in sums.items())}
