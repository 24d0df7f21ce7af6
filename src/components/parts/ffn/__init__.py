"""Works on each position alone: ``ffn(x, info)``, (B, T, D) -> (B, T, D)."""
