"""Samplers: ``sampler(logits (B, V), ids (B, T) so far, valid) -> logits (B, V)``, in the order in which they are listed.

``valid`` (B, T) is False where ``ids`` has padding, which no sampler counts; None without padding. The last column is never padding.
"""
