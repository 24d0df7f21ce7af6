"""Brings vectors to a common scale: (..., D) -> (..., D)."""
