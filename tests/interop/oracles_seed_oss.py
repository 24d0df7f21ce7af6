"""The row of seed_oss.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle("Seed-OSS", "SeedOssForCausalLM", ("SeedOssConfig", {**WIDE, **TOKENS}), recipes=("known/seed_oss_36b",)),
]
