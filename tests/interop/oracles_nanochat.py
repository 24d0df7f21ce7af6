"""The row of nanochat.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle("nanochat", "NanoChatForCausalLM", ("NanoChatConfig", {**GROUPED, **TOKENS}), recipes=("known/nanochat_d20",)),
]
