"""ids (B, T) -> vectors (B, T, D)."""
