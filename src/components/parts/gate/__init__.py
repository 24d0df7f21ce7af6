"""Scales what attention read before it is projected out: ``gate(read, x, info)``, (B, T, H, K) -> (B, T, H, K)."""
