"""What a layout of a model's training costs: bytes of a rank, FLOPs, traffic, and what does not divide. Built once, asked for many layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from components.core.abilities import SendsTokens
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.flops import Work, flops_of, flops_per_token
from components.core.makers import make
from components.core.sockets import Layer
from components.core.weights import Weight
from components.runs.loading import model_of
from components.training.estimate.accelerators import Accelerator
from components.training.estimate.activations import Activations, Shapes
from components.training.estimate.between import between, lengthened
from components.training.estimate.layouts import PARALLEL, Layout
from components.training.estimate.peak import Peak, peak_of
from components.training.estimate.state import State, state_of
from components.training.estimate.step import Step
from components.training.estimate.traffic import Collective, Volume, traffic
from components.training.float8 import check_float8, float8_maps
from components.training.quantised_base import need_whole
from components.training.strategy._context import check_length, check_stretches
from components.training.strategy._pieces import Pieces, pieces_of
from components.training.tuning import freeze, tuned

LENGTHS = (1024, 2048, 4096)  # of rows that are run by their shapes; what longer ones hold follows from these
MOST_ROWS = 2**20  # that a search for the largest batch looks at


@dataclass(frozen=True)
class Estimate:
    """One layout.

    Args:
        layout: of the weights.
        step: how it is cut.
        state: bytes that rank 0 keeps between steps, which has a largest piece of each weight: exact.
        least: those of the last rank, exact.
        peak: the most at once, an estimate; None where activations cannot be told, ``unknown`` says why.
        collectives: what each rank sends in a step.
        tokens: of a step, over all devices.
        flops: of a step, forward and backward, over all devices.
        flops8: of these, those of products in fp8.
    """

    layout: Layout
    step: Step
    state: State
    least: State
    peak: Peak | None
    unknown: str
    collectives: tuple[Collective, ...]
    tokens: int
    flops: float
    flops8: float = 0.0

    def fits(self, device: Accelerator) -> bool:
        return self.peak is not None and self.peak.total <= device.usable


class Subject:
    """A model as it will be trained, on the meta device, with what was found out about it.

    ``length``: of its rows, where they are not full; ``apart``: documents in them do not see one another, which is a mask where kernels are a CPU's.
    """

    def __init__(self, config: Config, vocab_size: int, length: int | None = None, *, apart: bool = False) -> None:
        self.config, self.vocab_size, self.length, self.apart = config, vocab_size, length, apart
        self.model = self.new_model()
        self.weights: list[Weight] = tuned(self.model, config)
        self._cut: dict[tuple[int, int, bool, bool], Pieces] = {}
        self._passes: dict[tuple[object, ...], tuple[Activations, Activations]] = {}
        self._states: dict[tuple[Layout, int], State] = {}

    def new_model(self) -> nn.Module:
        model = model_of(self.config, self.vocab_size)
        freeze(model, self.config)
        return model

    @cached_property
    def context(self) -> int:
        """Tokens of a row.

        Raises:
            UserError: rows have no length of their own.
        """
        length = self.length or self.config["model"].get("context_length")
        if not isinstance(length, int):
            what = "it reads no rows of tokens, so there is nothing to plan"
            raise UserError("model", what, "components show recipe=NAME counts its parameters")
        return length

    @property
    def parameters(self) -> int:
        return sum(w.parameter.numel() for w in self.weights)

    @property
    def trained(self) -> int:
        return sum(w.parameter.numel() for w in self.weights if w.parameter.requires_grad)

    @cached_property
    def flops_per_token(self) -> float:
        """Of the algorithm, forward and backward."""
        return flops_per_token(self.model, self.context)

    @cached_property
    def executed_per_token(self) -> float:
        """Of the plain reference, which computes what a mask hides."""
        return 3.0 * flops_of(self.model, Work(self.context)).executed / self.context

    @cached_property
    def float8_per_token(self) -> float:
        """Of `flops_per_token`, those of linear maps that fp8-mixed rounds: each of its weights twice, in three products."""
        return min(6.0 * sum(m.weight.numel() for _, m in float8_maps(self.model)), self.flops_per_token)

    def pieces(self, layout: Layout) -> Pieces:
        """What devices that hold a layer together have in pieces.

        Raises:
            UserError: a part does not divide among them, does not work on a stretch of a row where devices share rows, or is not cut at all; under
                fp8-mixed nothing of the model can be fp8, or torchao is not installed.
        """
        key = (layout.tensor, layout.context, layout.expert_parallel, layout.sequence_parallel)
        need_whole(self.model, layout.strategy, whole=layout.strategy in ("single", "ddp"))
        if layout.float8:
            check_float8(self.model)
        if key not in self._cut:
            if layout.context > 1:
                if not any(context > 1 for _, context, *_ in self._cut):  # once: it runs the whole model on shapes
                    check_stretches(self.model)
                check_length(self.model, layout.context)
            dealt = {option: getattr(layout, option) for option in PARALLEL}
            self._cut[key] = pieces_of(self.model, layout.tensor, **dealt) if layout.tensor > 1 else Pieces()
        return self._cut[key]

    def state(self, layout: Layout, rank: int = 0) -> State:
        if (layout, rank) not in self._states:
            buffers = sum(b.numel() * b.element_size() for b in self.model.buffers())
            cut = self.pieces(layout).cut
            self._states[layout, rank] = state_of(self.weights, buffers, self.config["optimizer"], layout, cut, rank)
        return self._states[layout, rank]

    def passes(self, layout: Layout, rows: int) -> Activations:
        """Exactly that many rows where they are few, else on the line through one and two."""
        one, two = self._ran(layout)
        return between(one, two, rows - 1) if rows > 2 else (one, two)[rows - 1]

    def _ran(self, layout: Layout) -> tuple[Activations, Activations]:
        """One row, and two."""
        held = (layout.tensor, layout.expert_parallel, layout.sequence_parallel)
        run = (layout.stored, layout.compute, layout.casts, layout.float8, layout.context, *held)
        if run not in self._passes:
            lengths = (self.context,) if self.context <= LENGTHS[-1] else LENGTHS
            one, two = self.of_lengths(layout, (1, 2), lengths)
            if len(lengths) > 1:
                one, two = ([lengthened(of, lengths, self.context)] for of in (one, two))
            self._passes[run] = one[0], two[0]
        return self._passes[run]

    def of_lengths(self, layout: Layout, rows: Sequence[int], lengths: Sequence[int]) -> list[list[Activations]]:
        """For each number of rows what each length has, run as they are."""
        loss = make(self.config["loss"], "loss", vocab_size=self.vocab_size)
        with Shapes(self.new_model(), layout).opened() as shapes:
            return [[shapes.activations(loss, n, length, apart=self.apart) for length in lengths] for n in rows]

    def peak(self, layout: Layout, step: Step) -> Peak:
        return peak_of(self.state(layout), self.passes(layout, step.rows), layout, checkpointing=step.checkpointing)

    def largest(self, layout: Layout, device: Accelerator, *, accumulate: int = 1, checkpointing: bool = False) -> int:
        """The most rows of a micro-batch that fit in the device's memory; 0: not even one."""

        def fits(rows: int) -> bool:
            return self.peak(layout, Step(rows, accumulate, checkpointing)).total <= device.usable

        if self.state(layout).total > device.usable or not fits(1):  # the first runs no shapes
            return 0
        low, high = 1, 2
        while high < MOST_ROWS and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def estimate(self, layout: Layout, step: Step) -> Estimate:
        peak, unknown = None, ""
        try:
            peak = self.peak(layout, step)
        except UserError as e:
            if e.where != "activations":
                raise
            unknown = e.what
        tokens = step.rows * step.accumulate * layout.readers * self.context
        return Estimate(
            layout,
            step,
            self.state(layout),
            self.state(layout, layout.ranks - 1),
            peak,
            unknown,
            tuple(traffic(layout, self.volume(layout, step), checkpointing=step.checkpointing)),
            tokens,
            tokens * self.flops_per_token,
            tokens * self.float8_per_token if layout.float8 else 0.0,
        )

    def volume(self, layout: Layout, step: Step) -> Volume:
        pieces = self.pieces(layout)
        inside = {id(p) for m in self.model.modules() if isinstance(m, Layer) for p in m.parameters()}
        alone = replace(layout, strategy="tp" if layout.tensor > 1 else "single", shards=1)
        sums = [0, 0, 0, 0]
        for w in self.weights:
            elements = 1
            for n in alone.local(tuple(w.parameter.shape), pieces.cut.get(id(w.parameter))):
                elements *= n
            place = 0 if id(w.parameter) in inside else 2
            sums[place] += elements
            sums[place + 1] += elements if w.parameter.requires_grad else 0
        tokens = step.rows * self.context
        sent = [m for m in pieces.sent if isinstance(m, SendsTokens)]
        return Volume(
            *sums,
            accumulate=step.accumulate,
            stream=tokens * int(self.config["model"].get("d_model") or 0),
            summed=len(pieces.summed) - len(sent) + len(pieces.looked_up),
            entered=len(pieces.summed) - len(sent) + len(pieces.joined),
            again=len(pieces.summed) - len(sent),
            sent=tokens * sum(m.sent_choices * m.d_model for m in sent),
            weighed=tokens * sum(m.sent_choices + 2 * m.n_experts for m in sent),
            chosen=tokens * sum(2 * m.sent_choices for m in sent),
            joined=3 * tokens * len(pieces.joined),
            gathered=self._gathered(layout, step.rows) if layout.context > 1 else 0,
        )

    def _gathered(self, layout: Layout, rows: int) -> int:
        """Bytes of keys and values of whole rows; 0 where activations cannot be told."""
        try:
            return sum(p.gathered for p in self.passes(layout, rows).layers)
        except UserError as e:
            if e.where != "activations":
                raise
            return 0
