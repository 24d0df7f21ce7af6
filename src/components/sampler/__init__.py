"""Samplers: ``sampler(logits (B, V), ids (B, T) so far) -> logits (B, V)``, in the order in which they are listed."""
