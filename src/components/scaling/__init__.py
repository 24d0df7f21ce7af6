"""Stretches rotary frequencies: ``scale(frequencies (R/2,), positions (B, T)) -> (R/2,) or (B, 1, R/2)`` in fp32, and ``factor``, which
multiplies rotated queries and keys."""
