"""Figures for numbers of rows and lengths that were not run, from those that were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from components.training.estimate.activations import Activations, Pass


def between(one: Activations, two: Activations, share: float) -> Activations:
    """Figures that grow in proportion from ``one`` (share 0) to ``two`` (share 1), and on."""
    return _mixed((one, two), (1 - share, share), (1 - share, share))


def lengthened(short: Sequence[Activations], lengths: Sequence[int], length: int) -> Activations:
    """Figures for rows of ``length``, from those of three shorter lengths: of layers on the parabola through them, since scores grow with the square of the
    length; of the head, whose logits may be cut into chunks, on the line through the last two."""
    a, b, c = lengths
    parabola = (
        (length - b) * (length - c) / ((a - b) * (a - c)),
        (length - a) * (length - c) / ((b - a) * (b - c)),
        (length - a) * (length - b) / ((c - a) * (c - b)),
    )
    share = (length - b) / (c - b)
    return _mixed(short, parabola, (0.0, 1 - share, share))


def _mixed(some: Sequence[Activations], layers: Sequence[float], outside: Sequence[float]) -> Activations:
    def sum_of(values: Iterable[int], weights: Sequence[float]) -> int:
        return max(0, round(sum(v * w for v, w in zip(values, weights, strict=True))))

    passes = (
        Pass(
            sum_of((p.leaving for p in of), layers),
            sum_of((p.kept for p in of), layers),
            sum_of((p.forward for p in of), layers),
            sum_of((p.backward for p in of), layers),
            of[0].weights,
            of[0].trained,
            sum_of((p.gathered for p in of), layers),
            of[0].rounded,
        )
        for of in zip(*(one.layers for one in some), strict=True)
    )
    return Activations(tuple(passes), sum_of((o.kept for o in some), outside), sum_of((o.forward for o in some), outside))
