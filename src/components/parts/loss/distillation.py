"""The student learns a teacher's distribution over the next token, besides the token itself.

Hinton et al. 2015, arXiv:1503.02531; reverse: Gu et al. 2023 (MiniLLM), arXiv:2306.08543
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from components.core.registry import register
from components.core.signature import Path
from components.parts.loss._taught import Taught, Teacher


@register("loss", "distillation")
class Distillation(Taught):
    """Distillation: (1 - mix) times the next token's cross entropy, and mix times the divergence between teacher and student.

    The term ``loss`` is the cross entropy alone, so that figures compare with other runs'; ``distillation`` is the divergence of the
    distributions at ``temperature``, times its square. Without gradients, in validation, the teacher is not asked.

    Args:
        vocab_size: number of logits.
        teacher: the run, or the checkpoint, whose model teaches; its tokenizer is the student's.
    """

    def __init__(self, vocab_size: int, *, teacher: Path) -> None:
        super().__init__(vocab_size)
        self.run = teacher
        self.teacher: Teacher | None = None

    @property
    def attached(self) -> Teacher | None:
        return self.teacher

    def attach(self, model: Teacher) -> None:
        """``model`` teaches from now on."""
        self.teacher = model

    def teachers(self) -> Sequence[Teacher]:
        if self.teacher is None:
            raise ValueError("distillation has no teacher yet: set loss.teacher to a model that is called as the student is")
        return [self.teacher]

    def together(self, taught: Sequence[Tensor]) -> Tensor:
        return taught[0]
