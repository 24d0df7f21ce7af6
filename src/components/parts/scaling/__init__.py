"""Stretches rotary frequencies: ``scale(frequencies (R/2,), info) -> (R/2,) or (B, 1 or T, R/2)`` in fp32, and ``factor``, which
multiplies rotated queries and keys."""
