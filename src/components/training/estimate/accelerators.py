"""Accelerators by their makers' data sheets: memory, dense products a second, links. The one table of such figures.

Rates with sparsity, which data sheets print first, are halved here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from components.core.errors import UserError, nearest

USABLE = (
    0.92  # share of the memory that a run can fill: the rest is the driver's context, NCCL's buffers, and gaps between tensors
)
NVIDIA = "https://www.nvidia.com/en-us"
IMAGES = "https://images.nvidia.com"


@dataclass(frozen=True)
class Accelerator:
    """One device.

    Args:
        name: as on the command line.
        words: all of them stand in the name that the driver gives the device.
        gigabytes: of memory, 10^9 bytes.
        fp8, bf16, fp16, fp32: dense TFLOP/s of products of matrices, with sums in fp32; fp32 without tensor cores; None: it has no such
            units, or they are not stated.
        link: GB/s that it sends to others of its machine while it receives as much: NVLink, Infinity Fabric, or PCIe.
        source: the data sheet.
    """

    name: str
    words: tuple[str, ...]
    gigabytes: float
    fp8: float | None
    bf16: float | None
    fp16: float | None
    fp32: float | None
    link: float
    source: str

    @property
    def usable(self) -> int:
        """Bytes that a run can fill."""
        return int(self.gigabytes * 1e9 * USABLE)

    def peak(self, dtype: torch.dtype) -> float | None:
        """FLOP/s of products in ``dtype``; None where nothing is stated."""
        stated = {torch.float8_e4m3fn: self.fp8, torch.bfloat16: self.bf16, torch.float16: self.fp16, torch.float32: self.fp32}
        rate = stated.get(dtype)
        return None if rate is None else rate * 1e12


# of two whose words stand in one name, the more specific first
ACCELERATORS = (
    Accelerator("b200", ("B200",), 180, 4500, 2250, 2250, None, 900, f"{NVIDIA}/data-center/dgx-b200/"),
    Accelerator("h200", ("H200",), 141, 1979, 989, 989, 67, 450, f"{NVIDIA}/data-center/h200/"),
    Accelerator("h100_pcie", ("H100", "PCIe"), 80, 1513, 756, 756, 51, 64, f"{NVIDIA}/data-center/h100/"),
    Accelerator("h100_nvl", ("H100", "NVL"), 94, 1671, 835, 835, 60, 300, f"{NVIDIA}/data-center/h100/"),
    Accelerator("h100", ("H100",), 80, 1979, 989, 989, 67, 450, f"{NVIDIA}/data-center/h100/"),
    Accelerator("a100_40", ("A100", "40GB"), 40, None, 312, 312, 19.5, 300, f"{NVIDIA}/data-center/a100/"),
    Accelerator("a100", ("A100",), 80, None, 312, 312, 19.5, 300, f"{NVIDIA}/data-center/a100/"),
    Accelerator("a10", ("A10",), 24, None, 125, 125, 31.2, 32, f"{NVIDIA}/data-center/products/a10-gpu/"),
    Accelerator("l40s", ("L40S",), 48, 733, 362, 362, 91.6, 32, f"{NVIDIA}/data-center/l40s/"),
    Accelerator("l40", ("L40",), 48, 362, 181, 181, 90.5, 32, f"{NVIDIA}/data-center/l40/"),
    Accelerator("l4", ("L4",), 24, 242, 121, 121, 30.3, 32, f"{NVIDIA}/data-center/l4/"),
    Accelerator("v100", ("V100",), 32, None, None, 125, 15.7, 150, f"{NVIDIA}/data-center/v100/"),
    Accelerator("t4", ("T4",), 16, None, None, 65, 8.1, 16, f"{NVIDIA}/data-center/tesla-t4/"),
    Accelerator(
        *("rtx_4090", ("RTX", "4090"), 24, 330, 165, 165, 82.6, 32),
        f"{IMAGES}/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
    Accelerator(
        *("rtx_3090", ("RTX", "3090"), 24, None, 71, 71, 35.6, 32),
        f"{NVIDIA}/geforce/graphics-cards/30-series/rtx-3090-3090ti/",
    ),
    Accelerator(
        *("mi300x", ("MI300X",), 192, 2615, 1307, 1307, 163.4, 448),
        "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html",
    ),
)


def accelerator(name: str) -> Accelerator:
    """The one of this name; ``H100-PCIe`` is ``h100_pcie``.

    Raises:
        UserError: the table has none.
    """
    key = re.sub(r"[\s-]+", "_", name.lower())
    found = next((a for a in ACCELERATORS if a.name == key), None)
    if found is None:
        raise UserError(
            "--accelerator", f"no figures of {name!r}", nearest(key, [a.name for a in ACCELERATORS], called="accelerators")
        )
    return found


def by_device_name(name: str) -> Accelerator | None:
    """What a driver calls ``name``, matched by whole words: an L40 is not an L4."""
    words = set(re.split(r"[\s-]+", name))
    if "Laptop" in words:  # a different chip with a lower power limit
        return None
    return next((a for a in ACCELERATORS if words.issuperset(a.words)), None)
