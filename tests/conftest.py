"""One thread per test process, a cache of the tests' own, no network, no W&B account, no SLURM."""

from __future__ import annotations

import os
from pathlib import Path

collect_ignore = ["old_plugins"]  # packages with tests of their own, which test_old_plugins runs
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COMPONENTS_CACHE", str(Path(__file__).parents[1] / ".cache" / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
for name in [n for n in os.environ if n.startswith("SLURM_")]:
    del os.environ[name]
