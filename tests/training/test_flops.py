"""Work per token, and what the makers state of their devices."""

from __future__ import annotations

import pytest
import torch

from components.core.flops import flops_per_token
from components.runs.preparing import task_of
from components.training.flops import stated_peak


def test_flops_count_the_head_once_tied_or_not(tiny):
    class Ids:
        vocab_size = 50
        specials = {}

    def count(**model):
        return flops_per_token(task_of(tiny(model=model), Ids()).new_model(), 16)

    assert count(head={"name": "tied"}) == count(head={"name": "linear"})
    model = task_of(tiny(), Ids()).new_model()
    weights = (
        sum(p.numel() for p in model.parameters() if p.dim() > 1) - 50 * 16
    )  # matrices, without the table that is looked up
    cells = (16 + 1) / 2  # positions seen on average
    assert count() == 6 * weights + 3 * 2 * 4 * 16 * cells  # scores and their sum, 2 FLOPs each, in two layers


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("NVIDIA L4", 121e12, 30.3e12),
        ("NVIDIA L40", 181e12, 90.5e12),
        ("NVIDIA L40S", 362e12, 91.6e12),
        ("NVIDIA A10", 125e12, 31.2e12),
        ("NVIDIA A10G", None, None),
        ("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12),
        ("NVIDIA A100 80GB PCIe", 312e12, 19.5e12),
        ("NVIDIA H100 80GB HBM3", 989e12, 67e12),
        ("NVIDIA H100 PCIe", 756e12, 51e12),
        ("NVIDIA GeForce RTX 4090", 165e12, 82.6e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("Tesla V100-SXM2-16GB", None, 15.7e12),
        ("Tesla T4", None, 8.1e12),
        ("NVIDIA T400 4GB", None, None),
        ("something new", None, None),
    ],
)
def test_peaks_by_whole_names(name, bf16, fp32):
    assert stated_peak(name, torch.bfloat16) == pytest.approx(bf16)
    assert stated_peak(name, torch.float32) == pytest.approx(fp32)
    assert stated_peak(name, torch.float64) is None


def test_fp16_where_there_is_no_bf16():
    assert stated_peak("Tesla T4", torch.float16) == pytest.approx(65e12)
