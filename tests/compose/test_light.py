"""Composing needs neither torch nor Lightning: only signatures read from source."""

from __future__ import annotations

import subprocess
import sys


def test_composing_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from components.compose import compose\n"
        "composed = compose('gpt_python', ['model/attention=sliding_window', 'trainer.precision=bf16-mixed'])\n"
        "assert composed.difference\n"
        "heavy = {'torch', 'lightning', 'transformers', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
