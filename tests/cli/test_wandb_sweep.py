"""The sweep of docs/how_to/track.md, as far as it goes without W&B's server: the command line that its client makes trains, in the agent's run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("wandb")

from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import wandb_reader

pytestmark = pytest.mark.usefixtures("warm_processes")

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "track.md"


def test_the_command_of_the_sweep_trains(tmp_path):
    """15 s: a process."""
    (text,) = re.findall(r'^```yaml title="sweep.yaml"\n(.*?)^```', PAGE.read_text(encoding="utf8"), re.M | re.S)
    sweep = yaml.safe_load(text)
    values = {name: {"value": options["values"][-1]} for name, options in sweep["parameters"].items()}
    words = create_sweep_command_args({"args": values})
    command: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        command += words["args_no_hyphens"] if word == "${args_no_hyphens}" else [word]
    assert command[0] == "components"
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **values}))
    agents = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "of-the-agent", "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "sweep.yaml")}
    env = {**os.environ, **agents, "WANDB_MODE": "offline", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (found,) = tmp_path.glob("runs/*/*/wandb/offline-run-*")
    assert found.name.endswith("-of-the-agent")
    held = wandb_reader.read(found)
    assert held.config["optimizer"]["lr"] == values["optimizer.lr"]["value"]
    assert held.config["parts"]["norm"] == values["model/norm"]["value"]
    assert any(sweep["metric"]["name"] in row for row in held.history)
