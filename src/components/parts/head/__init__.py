"""Vectors to logits: ``head(x, info)``, (B, T, D) -> (B, T, V)."""
