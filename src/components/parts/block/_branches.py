"""What the blocks have in common: their branches, each with its norms and its residual, made from the same sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from components.core.options import Options
from components.core.sockets import INHERIT, Maker, Place, SequenceInfo, make
from components.functional.token_steps import LayerStep, Out, TokenStep, looked_up, step_of

if TYPE_CHECKING:
    from components.core.contracts import FFN, Attention, Residual


class Branch:
    """One branch with what stands around it: modules of the block under their own names, ``ffn``, ``ffn_norm``, ``ffn_residual`` ...

    They are looked up at each pass, so a module that somebody puts in the place of another (``block.ffn = mine``) counts. The look-up is in
    the block's own dictionary, at a third of what ``getattr`` costs: every layer and token of a decoding passes here.
    """

    __slots__ = ("modules", "name", "norm_name", "output_norm_name", "residual_name")

    def __init__(self, block: nn.Module, name: str, norm: str = "", output_norm: str = "") -> None:
        # a module's dictionary is typed as holding any module, or None; Block has put these there
        self.modules, self.name, self.residual_name = block._modules, name, f"{name}_residual"
        self.norm_name, self.output_norm_name = norm, output_norm

    @property
    def part(self) -> Attention | FFN:
        return self.modules[self.name]  # type: ignore[return-value]

    @property
    def norm(self) -> Callable[[Tensor], Tensor]:
        return self.modules[self.norm_name] if self.norm_name else same  # type: ignore[return-value]

    @property
    def output_norm(self) -> Callable[[Tensor], Tensor]:
        return self.modules[self.output_norm_name] if self.output_norm_name else same  # type: ignore[return-value]

    @property
    def residual(self) -> Residual:
        return self.modules[self.residual_name]  # type: ignore[return-value]

    def looked_up(self, step: TokenStep | None) -> TokenBranch:
        """The same for the tokens of one text; ``step``: the part's, if it has one."""
        norms: list[Callable[[Tensor], Tensor]] = [same, same]
        for i, name in enumerate((self.norm_name, self.output_norm_name)):
            if name:
                norms[i] = looked_up(self.modules[name]).forward  # type: ignore[type-var]  # Block has put a module there
        return TokenBranch(self.name, self.part if step is None else step, norms[0], norms[1], self.residual)


@dataclass(frozen=True)
class TokenBranch:
    """A branch whose modules were looked up once, for the tokens of one text."""

    name: str
    part: TokenStep | Attention | FFN
    norm: Callable[[Tensor], Tensor]
    output_norm: Callable[[Tensor], Tensor]
    residual: Residual


def same(x: Tensor) -> Tensor:
    """The identity, in place of a norm that a branch does not have."""
    return x


class Block(Options, nn.Module):
    """Branches that read the stream and are written into it; a block says in which order, and where the norms stand (``forward``).

    A branch whose part says ``absent`` (``ffn/none``) is left out with all that goes with it.

    Args:
        d_model: width of the stream.
        context_length: longest sequence.
        place: where the layer stands in depth; alone, the only one.
        d_memory: width of an encoder's memory, where there is one.
        attention: the branch that mixes positions.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: the branch that sees each position alone.
        norm: before each branch that has none of its own.
        residual: how each branch is written into the stream.

    Shapes: the stream s as ``residual.open`` made it, (B, T, D) for most -> the same.
    """

    order: ClassVar[tuple[str, ...]] = ("attention", "cross", "ffn")
    one_norm: ClassVar[bool] = False  # one module for all branches, instead of one for each that ``norms`` names

    def __init__(
        self,
        d_model: int,
        context_length: int,
        place: Place = Place(0, 1),  # noqa: B008  frozen
        d_memory: int | None = None,
        *,
        attention: Maker["attention"] = "inherit",
        cross: Maker["attention"] = "inherit",
        ffn: Maker["ffn"] = "inherit",
        norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
    ) -> None:
        super().__init__()
        self.branches: list[Branch] = []
        if self.one_norm:
            self.norm = make(norm, "norm", dim=d_model)
        makers = {"attention": attention, "cross": cross, "ffn": ffn}
        for name in self.order:
            if name == "cross" and d_memory is None:
                continue
            sizes = {"d_model": d_model, "context_length": context_length, "place": place}
            if name == "cross":
                sizes["d_memory"] = d_memory  # only the second attention reads the memory
            maker = makers[name] if name in makers else getattr(self, name)
            part = make(maker, "ffn", **sizes) if name.endswith("ffn") else make(maker, "attention", **sizes)
            if part.absent:
                continue
            setattr(self, name, part)
            before, after = self.norms(name)
            normed, output_normed = "norm" if self.one_norm else "", ""
            if before is not None:  # without `make`, nobody has resolved what is inherited
                normed = f"{name}_norm"
                setattr(self, normed, make(norm if before == INHERIT else before, "norm", dim=d_model))
            if after is not None:
                output_normed = f"{name}_output_norm"
                setattr(self, output_normed, make(norm if after == INHERIT else after, "norm", dim=d_model))
            setattr(self, f"{name}_residual", make(residual, "residual", d_model=d_model, place=place))
            self.branches.append(Branch(self, name, normed, output_normed))
        if self.one_norm and not self.branches:
            del self.norm  # nothing would read it
        self.join(d_model, norm)

    def join(self, d_model: int, norm: Maker["norm"]) -> None:
        """What a block has besides its branches, made when they are there. ``norm``: the maker of those that none is chosen for."""

    def norms(self, name: str) -> tuple[Maker["norm"] | None, Maker["norm"] | None]:  # noqa: ARG002
        """The makers of the norms before and after a branch; None where it has no norm."""
        return None, None

    def layer_step(self) -> LayerStep:
        """Its own ``forward`` over branches whose modules were looked up."""
        steps = [step_of(b.part) for b in self.branches]
        found = [b.looked_up(step) for b, step in zip(self.branches, steps, strict=True)]
        forward = looked_up(self, branches=found).forward
        if None not in steps:
            return lambda s, info: (forward(s, info), {})

        def step_of_layer(s: Tensor, info: SequenceInfo) -> tuple[Tensor, Out]:
            out: Out = {}
            return forward(s, info.with_(out=out, memo=info.memo)), out

        return step_of_layer


class NormedBlock(Block):
    """A block in which each branch has a norm of its own.

    Args:
        attention_norm: before the attention; by default ``norm``.
        cross_norm: before the cross attention; by default ``norm``.
        ffn_norm: before the ffn; by default ``norm``.
    """

    attention_norm: Maker["norm"] = "inherit"
    cross_norm: Maker["norm"] = "inherit"
    ffn_norm: Maker["norm"] = "inherit"

    def norms(self, name: str) -> tuple[Maker["norm"] | None, Maker["norm"] | None]:
        return getattr(self, f"{name}_norm"), None


def write_all(branches: Sequence[Branch], inputs: Sequence[Tensor], s: Tensor, info: SequenceInfo) -> Tensor:
    """Every branch computed from its own input before the first is written; then they are written one after the other."""
    outputs = [b.part(x, info) for b, x in zip(branches, inputs, strict=True)]
    for b, y in zip(branches, outputs, strict=True):
        s = b.residual.write(s, y)
    return s
