"""How far a scaling stretches: factor and original context, each from the other and the model's own context where it is not given."""

from __future__ import annotations


def stretch(factor: float | None, original: int | None, context_length: int | None) -> tuple[float, int]:
    """(factor, original context). Without ``original`` it is context_length; without ``factor`` it is context_length / original.

    Raises:
        ValueError: neither can be derived, since no parent offers a context_length.
    """
    if original is None:
        original = context_length
    if original is None or (factor is None and context_length is None):
        raise ValueError("there is no context_length here to derive from: give factor and original_context")
    return (context_length / original if factor is None else factor), original  # type: ignore[operator]
