"""Vectors of a sequence to one: ``pooling(x (B, T, D), info) -> (B, D)``, padding left out."""
