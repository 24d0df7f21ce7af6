"""The learning rate rises, then falls as a power of the share of the run that is left.

As in BERT's and fairseq's training code (Devlin et al. 2018, arXiv:1810.04805; Ott et al. 2019, arXiv:1904.01038)
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.parts.schedule._shape import Falling, progress


@register("schedule", "polynomial")
class Polynomial(Falling):
    """Polynomial: warm-up to factor 1, then floor + (1 - floor) * (share left) ** power.

    Args:
        power: 1 falls in a straight line, more falls sooner, less later.
    """

    power: PositiveFloat = 2.0

    def after(self, step: int) -> float:
        return self.floor + (1 - self.floor) * (1 - progress(step, self.warm, self.total)) ** self.power
