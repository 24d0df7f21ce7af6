"""No token is dropped.

Shazeer et al. 2017, arXiv:1701.06538; shared experts: DeepSeekMoE 2024, arXiv:2401.06066, with a gate: Qwen 2024, arXiv:2407.10671. One file holds
what the known models vary: kind of expert, where the weight goes, losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, both, children
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, PositiveFloat
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.core.traits import lacks
from components.core.weights import Experts
from components.functional.activations import ACTIVATIONS, Activation, clamped_glu, glu_width
from components.functional.experts import ExpertBias, Mixture, Multiply, apply_experts
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.functional.routing import Routing, balance_loss, flat_valid, z_loss


@register("ffn", "moe")
class MixtureOfExperts(nn.Module):
    """Mixture of experts: of many FFNs each token passes through a few, which a router chooses.

    Padding is given to no expert and counts in no loss. Writes the losses ``load_balance`` and ``router_z``, each with its factor in it already,
    and the statistic ``load``, the choices of each expert.

    Args:
        n_experts: how many there are to choose from.
        router: which experts each token goes to, and how many.
        d_ff: width of one expert; null: as the FFN of the same form has it, 8/3 of d_model (glu, clamped_glu) or 4 times d_model (mlp).
        multiple_of: to which 8/3 of d_model is rounded up.
        expert: its form: glu, mlp, or clamped_glu as in gpt-oss.
        activation: of a glu's gate, or in an mlp; a clamped_glu has its own.
        limit: of a clamped_glu.
        slope: of a clamped_glu's sigmoid.
        bias: whether the experts' projections have one.
        weigh: what the router's weight scales: an expert's output, or its input (Llama 4).
        routed_scale: factor on what the routed experts give, beside the shared one.
        shared: an FFN that every token passes through as well, of its own width; several shared experts are one that is as wide as all.
        expert_norm: of what the experts read; the router, and the shared one, read it as it is.
        shared_gate: whether a learned sigmoid, one number per token, scales the shared expert.
        load_balance: factor of the loss that is least, 1 for each layer, when all experts have the same load, whatever the router's k; layers add
            up, as in Switch Transformer, whose factor is 0.01, and DeepSeek. Needs a router with probabilities. What transformers calls
            router_aux_loss_coef is the factor of one loss over all layers together, k times as large: take k / n_layers of it.
        balance_over: whether load is to be even over the whole micro-batch, that of all ranks as one, or within each sequence.
        z_loss: factor of the mean squared log-sum-exp of the router's logits; layers add up, as in ST-MoE, whose factor is 0.001.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError for a gate without a shared expert.
    """

    axes = {
        "gate": ("experts", "d_model", "d_ff"),
        "up": ("experts", "d_model", "d_ff"),
        "out": ("experts", "d_ff", "d_model"),
        "shared_gate": ("d_model", "one"),
    }
    part_path = ""
    applied = staticmethod(apply_experts)  # or what sends tokens to where their experts are

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        n_experts: Positive = 8,
        router: Maker["router"] = "softmax_top_k",
        d_ff: Positive | None = None,
        multiple_of: Positive = 32,
        expert: Literal["glu", "mlp", "clamped_glu"] = "glu",
        activation: Activation = "silu",
        limit: PositiveFloat = 7.0,
        slope: PositiveFloat = 1.702,
        bias: bool = False,
        weigh: Literal["output", "input"] = "output",
        routed_scale: PositiveFloat = 1.0,
        shared: Maker["ffn"] = "none",
        expert_norm: Maker["norm"] = "none",
        shared_gate: bool = False,
        load_balance: NonNegativeFloat = 0.01,
        balance_over: Literal["batch", "sequence"] = "batch",
        z_loss: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.piece = 0
        width = d_ff or (4 * d_model if expert == "mlp" else glu_width(d_model, multiple_of))
        self.width = width
        self.router = make(router, "router", d_model=d_model, n_experts=n_experts)
        self.expert, self.activation, self.limit, self.slope = expert, ACTIVATIONS[activation], limit, slope
        self.routed_scale, self.n_experts, self.d_model = routed_scale, n_experts, d_model
        self.weigh: Literal["output", "input"] = weigh
        self.load_balance, self.balance_over, self.z_loss = load_balance, balance_over, z_loss
        self.matrices = ("up", "out") if expert == "mlp" else ("gate", "up", "out")
        for name in self.matrices:
            sizes = (width, d_model) if name == "out" else (d_model, width)
            setattr(self, name, Experts(n_experts, *sizes))
            if bias:
                setattr(self, f"{name}_bias", ExpertBias(n_experts, sizes[1], "d_model" if name == "out" else "d_ff"))
        self.shared = make(shared, "ffn", d_model=d_model, **({} if place is None else {"place": place}))
        self.has_shared = not self.shared.absent
        self.expert_norm = make(expert_norm, "norm", dim=d_model)
        if shared_gate and not self.has_shared:
            raise ValueError(
                "shared_gate=true, and there is no shared expert to gate; choose one, shared=glu, or leave the gate out"
            )
        self.shared_gate = Linear(d_model, 1, bias=False) if shared_gate else None

    @property
    def splits(self) -> Mapping[str, int]:
        """The experts, or every expert's own width, and with either the shared one's width."""
        whole = self.has_shared and "d_ff" not in self.shared.splits
        return {} if whole else {"experts": self.n_experts, "d_ff": self.width}

    @property
    def sent_choices(self) -> int:
        """Experts of a token that may be elsewhere; 0: the shared expert, or the router, reads all tokens anyway."""
        looks_around = any(lacks(self.router, word) for word in ("batch_independent", "causal"))
        return 0 if self.has_shared or looks_around else self.router.choices(1)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x = cast_once(x)
        routing = self.router(x, info)
        self.report(routing, x, info)
        maps = {name: getattr(self, name) for name in self.matrices}
        biases = {name: getattr(self, f"{name}_bias") for name in self.matrices if hasattr(self, f"{name}_bias")}
        mixture = Mixture(maps, biases, self.formula)
        first = self.piece * mixture.count  # where this piece has some experts, and not a part of each
        flat = self.expert_norm(x).reshape(-1, x.shape[-1])
        y = self.applied(flat, routing, mixture, weigh=self.weigh, first=first).view(x.shape)
        if self.routed_scale != 1.0:
            y = y * self.routed_scale
        if not self.has_shared:
            return y
        shared = self.shared(x, info)
        return y + (shared if self.shared_gate is None else F.sigmoid(self.shared_gate(x)) * shared)

    def formula(self, x: Tensor, multiply: Multiply) -> Tensor:
        """One expert's output; ``multiply`` knows whose matrices."""
        if self.expert == "mlp":
            return multiply("out", self.activation(multiply("up", x)))
        gate, up = multiply("gate", x), multiply("up", x)
        bent = self.activation(gate) * up if self.expert == "glu" else clamped_glu(gate, up, self.limit, self.slope)
        return multiply("out", bent)

    def report(self, routing: Routing, x: Tensor, info: SequenceInfo) -> None:
        """Losses and the load, written to ``info.out``."""
        valid = flat_valid(info, x)
        if self.load_balance and routing.probabilities is not None:
            whole = self.balance_over == "batch"
            term = balance_loss(routing, valid, 1 if whole else x.shape[0], over_ranks=whole and self.training)
            info.out["loss.load_balance"] = _times(self.load_balance, term)
        if self.z_loss and routing.logits is not None:
            info.out["loss.router_z"] = _times(self.z_loss, z_loss(routing, valid))
        info.out[f"stat.{self.part_path}.load"] = routing.load()

    def flops(self, work: Work) -> Flops:
        per_choice = sum(2 * getattr(self, name).weight[0].numel() for name in self.matrices)
        return children(self, work) + both(per_choice * self.router.choices(work.length))


def _times(factor: float, term: tuple[Tensor, Tensor]) -> tuple[Any, Tensor]:
    return factor * term[0], term[1]
