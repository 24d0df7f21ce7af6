"""A whole network: ``model(ids or Batch) -> logits``, ``model(batch, objective) -> Terms``."""
