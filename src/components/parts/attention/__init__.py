"""Mixes information between positions: ``attention(x, info)``, (B, T, D) -> (B, T, D)."""
