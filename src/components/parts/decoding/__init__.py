"""Decodings: how a continuation is chosen, token by token."""
