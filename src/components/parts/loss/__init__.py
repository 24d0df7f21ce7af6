"""Losses: ``loss(hidden, head, batch) -> Terms``."""
