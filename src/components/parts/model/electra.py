"""A small generator fills hidden tokens with its guesses, and an encoder learns to tell at each position whether the token was there before.

Clark et al. 2020 (ELECTRA), arXiv:2003.10555, section 2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import Batch, Maker, Terms, batch_of, make, merge_out
from components.functional.cross_entropy import IGNORED
from components.functional.dropout import uniform
from components.parts.model._two_models import InitOfEach, share_tables
from components.parts.model.encoder import Encoder

if TYPE_CHECKING:
    from components.core.contracts import Init

Head = Callable[[Tensor], Tensor]


@register("model", "electra")
class Electra(Encoder):
    """ELECTRA: an encoder, the discriminator, beside a generator that is trained by the loss; what stays after training is the discriminator.

    The loss hides tokens and is asked of the generator. From what the generator says of each hidden token one is drawn, also as if it were the
    right one; the discriminator reads the text with these and says of each valid position whether its token is another one than in the text. The
    term ``replaced`` is the mean of that binary cross entropy, and the total is loss + weight * replaced (equation of section 2). No gradient
    passes through the draw. Draws belong to the samples, as dropout's do; in an evaluation they depend on the text alone.

    Called without an objective it gives the discriminator's scores. Saved and loaded it is both; exported, it is the discriminator, an encoder.

    Args:
        generator: a model with a head over tokens, of the paper's quarter to half of the width.
        weight: lambda, of the discriminator's term.
        shared: ``embeddings``: the generator reads with the discriminator's tables of tokens, segments and learned positions, and their norm, at one
            width (embedding/projected takes them to another); ``none``: with its own.

    Shapes: ids (B, T) -> scores (B, T, 1); with an objective, ``Terms``.
    Errors: ValueError if the generator reads shorter texts, or has tables of another shape than it is to share.
    """

    needs = {"loss": ("hidden_tokens",), "head": ("scores",), "generator": ("bidirectional",)}
    stays_as = "encoder"  # what an export makes of it
    measures_terms = ("replaced",)  # that it writes itself, and a validation shows
    asked = "generator"  # of which of its models the objective is asked

    generator: Maker["model"] = "encoder"
    weight: NonNegativeFloat = 50.0
    shared: Literal["embeddings", "none"] = "embeddings"

    def join(self, init: Init) -> Init:
        maker: Any = self.generator  # until the model takes its place
        made: Any = make(maker, "model", vocab_size=self.vocab_size)
        self.generator = made
        if made.context_length < self.context_length:
            what = f"generator.context_length={made.context_length}, and the discriminator reads {self.context_length}"
            raise ValueError(f"{what}: the generator reads the same texts")
        if self.shared == "embeddings":
            share_tables(self, made)
        return cast("Init", InitOfEach({"": init, "generator.": made.init}))

    def forward(self, batch: Tensor | Batch, objective: object = None) -> Tensor | Terms:
        batch = batch_of(batch)
        if objective is None:
            return self.read(batch, None, causal=False)
        said: list[Any] = []

        def asked(hidden: Tensor, head: Head, batch: Batch) -> Terms:
            said.extend((hidden.detach(), head))
            return cast(Callable[..., Terms], objective)(hidden, head, batch)

        generator: Any = self.generator
        guessed: Terms = generator(batch, asked)
        hidden, head = said
        text, seen = replaced(hidden, head, batch, self.training)
        other = seen != text
        found = self.read(replace(batch, ids=seen, targets=None), lambda h, head, b: self.told(head(h), other, b), causal=False)
        assert isinstance(found, Terms)
        both = [{f"loss.{n}": v for n, v in terms.losses.items()} for terms in (guessed, found)]
        losses = {n.removeprefix("loss."): v for n, v in merge_out(*both).items()}
        return Terms(losses, {**guessed.stats, **found.stats}, {**guessed.aim, **found.aim})

    def told(self, scores: Tensor, other: Tensor, batch: Batch) -> Terms:
        """The binary cross entropy of each valid position, above 0: its token is another one."""
        wide = torch.promote_types(scores.dtype, torch.float32)
        each = F.binary_cross_entropy_with_logits(scores[..., 0].to(wide), other.to(wide), reduction="none")
        valid = torch.ones_like(each) if batch.valid is None else batch.valid.to(wide)
        return Terms({"replaced": ((each * valid).sum(), valid.sum())}, aim={"replaced": self.weight})

    def flops(self, work: Work) -> Flops:
        """In training of both; else of the discriminator, which alone is asked."""
        return children(self, replace(work, causal=False), leave=() if self.training else ("generator",))


@torch.no_grad()
def replaced(hidden: Tensor, head: Head, batch: Batch, training: bool) -> tuple[Tensor, Tensor]:
    """(the text (B, T), the same with a token drawn from what the generator says wherever one was asked for).

    Args:
        hidden, head: the generator's vectors, and what makes logits of them.
        batch: with the hidden text, and targets where it is asked for.
        training: whether draws belong to samples, else to the text.
    """
    ids = batch.ids
    if batch.targets is None:
        return ids, ids
    asked = batch.targets != IGNORED
    text = torch.where(asked, batch.targets, ids)
    numbers = uniform(text, training)
    if isinstance(hidden, FakeTensor) or torch.compiler.is_compiling():  # how many are asked for is not known there
        return text, torch.where(asked, drawn(head(hidden), numbers), text)
    at = asked.nonzero(as_tuple=True)
    if not len(at[0]):
        return text, text
    return text, text.index_put(at, drawn(head(hidden[at][None])[0], numbers[at]))


def drawn(logits: Tensor, numbers: Tensor) -> Tensor:
    """(...) ids of the distribution (..., V), each by a number in [0, 1): the first whose cumulated probability exceeds it."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    up_to = logits.to(wide).softmax(-1).cumsum(-1)
    return (up_to <= numbers.to(wide)[..., None] * up_to[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
