"""What Command-R and Command R7B share: both branches read one layer norm without a bias, and neighbouring channels are turned."""

from __future__ import annotations

from components.interop.architectures._llama import BASE as LLAMA

BASE = {
    "model": {
        **LLAMA["model"],
        "position": {"name": "rope", "layout": "interleaved"},
        "norm": {"name": "layer", "bias": False},
        "block": "parallel",
    }
}
