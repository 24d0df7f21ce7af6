"""Scaling laws of the loss, fitted to runs: L = E + A / N^alpha + B / D^beta, or L = E + C / F^gamma where tokens and size move together.

Hoffmann et al. 2022, arXiv:2203.15556, eq. 10 and appendix D.2: Huber loss of the logs, its threshold 1e-3. scipy minimises it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.studies.statistics import CONFIDENCE, Interval

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

SIZE_AND_TOKENS, COMPUTE = "L = E + A / N^alpha + B / D^beta", "L = E + C / F^gamma"
NAMES = {SIZE_AND_TOKENS: ("E", "A", "alpha", "B", "beta"), COMPUTE: ("E", "C", "gamma")}
THRESHOLD = 1e-3  # of the Huber loss, in log loss
LARGEST_EXPONENT, LEAST_FLOOR = 4.0, 1e-6
NO_FLOOR = 0.05  # share of the least loss below which E is as good as 0
FLOORS, EXPONENTS = (0.1, 0.5, 0.8, 0.95), (0.1, 0.3, 0.6, 1.2)  # where fits begin: E as a share of the least loss
RESAMPLES, RESAMPLING_SEED = 200, 0
APART = 1e-3  # share of the variance of log tokens that sizes must leave unexplained for two exponents to be told apart


@dataclass(frozen=True)
class Point:
    """One run: ``parameters`` N, ``tokens`` D and ``flops`` F of its training, and its final ``loss`` in nats."""

    parameters: int
    tokens: int
    flops: float
    loss: float


@dataclass(frozen=True)
class Law:
    """A law with the constants that fit best.

    Args:
        form: one of the keys of ``NAMES``.
        constants: {name: value}.
        intervals: {name: 95 % by bootstrap}; empty where there are no more runs than constants.
        spread: standard deviation of the residuals of log loss, corrected for the constants; None likewise.
        no_floor: E is next to nothing: these sizes do not show where the loss ends.
        fits: constants of each resample, in the order of ``NAMES``.
        residuals: of log loss, centred, and widened by what the constants took up.
    """

    form: str
    constants: Mapping[str, float]
    intervals: Mapping[str, Interval]
    spread: float | None
    no_floor: bool
    fits: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    residuals: tuple[float, ...] = field(default=(), repr=False)

    def loss(self, parameters: float, tokens: float, flops: float) -> float:
        """What the law says of a run."""
        return _value(self.form, tuple(self.constants[n] for n in NAMES[self.form]), parameters, tokens, flops)

    def interval(self, parameters: float, tokens: float, flops: float, seeds: int) -> Interval | None:
        """95 % of the mean loss of ``seeds`` runs: of the constants, and of the runs themselves. None where nothing was resampled."""
        if not self.fits:
            return None
        import numpy as np

        draws = np.random.default_rng(RESAMPLING_SEED).choice(self.residuals, (len(self.fits), seeds)).mean(1)
        said = [_value(self.form, fit, parameters, tokens, flops) * math.exp(d) for fit, d in zip(self.fits, draws)]
        return _middle(said)

    def data(self) -> dict[str, object]:
        told = {"form": self.form, "constants": dict(self.constants), "spread_of_log_loss": self.spread}
        return {**told, "intervals": {n: list(i) for n, i in self.intervals.items()}, "no_floor": self.no_floor}


def form_of(points: Sequence[Point]) -> str:
    """The form that these runs can tell: the full one needs five pairs (N, D) in which tokens do not follow from size."""
    import numpy as np

    pairs = {(p.parameters, p.tokens) for p in points}
    n, d = (np.log([pair[i] for pair in pairs]) for i in (0, 1))
    if len(pairs) < len(NAMES[SIZE_AND_TOKENS]) or np.ptp(n) == 0 or np.ptp(d) == 0:
        return COMPUTE
    explained = float(np.corrcoef(n, d)[0, 1]) ** 2
    return SIZE_AND_TOKENS if 1 - explained > APART else COMPUTE


def fit(points: Sequence[Point], form: str | None = None) -> Law:
    """The law of these runs, in the form that they can tell or in ``form``.

    Errors are of a bootstrap of residuals: a refit of 200 sets of losses, each the law's with residuals drawn anew. They tell how far
    noise of this size moves the constants; that the law itself may be wrong beyond these sizes they cannot tell.

    Raises:
        UserError: fewer than three different costs, or a loss that is no positive number.
    """
    import numpy as np

    form = form or form_of(points)
    if any(not math.isfinite(p.loss) or p.loss <= 0 for p in points):
        raise UserError(
            "metric", "a law is fitted to positive losses, and a run has none", "choose a task whose loss is positive"
        )
    if len({p.flops for p in points}) < len(NAMES[COMPUTE]):
        raise UserError("sizes", "a law of three constants needs three sizes that were trained", "give sizes=4, say")
    columns = [[p.parameters for p in points], [p.tokens for p in points]] if form != COMPUTE else [[p.flops for p in points]]
    x = np.log(np.asarray(columns, dtype=float))
    centre = x.mean(1)
    x, y = x - centre[:, None], np.log([p.loss for p in points])
    best = min((_minimum(x, y, start) for start in _starts(len(x), y)), key=lambda found: found[1])[0]
    residuals, left = y - _log_loss(best, x), len(points) - len(best)
    fits: list[tuple[float, ...]] = []
    wide = np.empty(0)
    if left > 0:
        wide = (residuals - residuals.mean()) * math.sqrt(len(points) / left)
        rng = np.random.default_rng(RESAMPLING_SEED)
        drawn = rng.choice(wide, (RESAMPLES, len(y)))
        fits = [_constants(_minimum(x, _log_loss(best, x) + r, best)[0], centre) for r in drawn]
    names, constants = NAMES[form], _constants(best, centre)
    return Law(
        form,
        dict(zip(names, constants)),
        {n: _middle([f[i] for f in fits]) for i, n in enumerate(names)} if fits else {},
        float(np.sqrt((residuals**2).sum() / left)) if left > 0 else None,
        constants[0] < NO_FLOOR * min(p.loss for p in points),
        tuple(fits),
        tuple(map(float, wide)),
    )


def _value(form: str, constants: Sequence[float], parameters: float, tokens: float, flops: float) -> float:
    inputs = (flops,) if form == COMPUTE else (parameters, tokens)
    return constants[0] + sum(constants[1 + 2 * i] / x ** constants[2 + 2 * i] for i, x in enumerate(inputs))


def _constants(theta: Array, centre: Array) -> tuple[float, ...]:
    """E, then for each input its factor and exponent, of logs: theta is of inputs whose mean log is 0."""
    terms = ((math.exp(theta[1 + 2 * i] + theta[2 + 2 * i] * c), float(theta[2 + 2 * i])) for i, c in enumerate(centre))
    return (math.exp(theta[0]), *(v for term in terms for v in term))


def _logs(theta: Array, x: Array) -> Array:
    """(terms, points): the log of each term of the sum."""
    import numpy as np

    return np.stack([np.full(x.shape[1], theta[0]), *(theta[1 + 2 * i] - theta[2 + 2 * i] * x[i] for i in range(len(x)))])


def _log_loss(theta: Array, x: Array) -> Array:
    import numpy as np

    return np.logaddexp.reduce(_logs(theta, x), axis=0)


def _slope(theta: Array, x: Array) -> Array:
    """(points, constants)."""
    import numpy as np

    share = np.exp(_logs(theta, x) - _log_loss(theta, x))
    return np.stack([share[0], *(column for i in range(len(x)) for column in (share[1 + i], -share[1 + i] * x[i]))], axis=1)


def _starts(inputs: int, y: Array) -> list[Array]:
    import numpy as np

    found = []
    for floor, *exponents in product(FLOORS, *[EXPONENTS] * inputs):
        low, rest = floor * math.exp(y.min()), math.log((math.exp(y.mean()) - floor * math.exp(y.min())) / inputs)
        found.append(np.asarray([math.log(low), *(v for c in exponents for v in (rest, c))]))
    return found


def _minimum(x: Array, y: Array, start: Array) -> tuple[Array, float]:
    """(constants, Huber loss there), from ``start``."""
    import numpy as np
    from scipy.optimize import least_squares

    inputs = len(x)
    lower = np.asarray([math.log(LEAST_FLOOR), *[-np.inf, 0.0] * inputs])
    upper = np.asarray([y.min() + 1.0, *[np.inf, LARGEST_EXPONENT] * inputs])
    found = least_squares(
        lambda theta: _log_loss(theta, x) - y,
        np.clip(start, lower + 1e-9, upper - 1e-9),
        lambda theta: _slope(theta, x),  # type: ignore[arg-type]  # its default, a word, is all that its source says of its type
        (lower, upper),
        loss="huber",
        f_scale=THRESHOLD,
        xtol=1e-8,
        ftol=1e-10,
        gtol=1e-12,
        max_nfev=100,
    )
    return found.x, float(found.cost)


def _middle(values: Sequence[float]) -> Interval:
    import numpy as np

    low, high = np.percentile(values, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)
