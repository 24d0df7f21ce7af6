"""The ground floor under the cases that break the obvious version: carries, loops, skips, losses and statistics that leave a layer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import contract_parts
import pytest
import torch
import warm_server
from hosts import LENGTH, ids, scramble

from components import build
from components.core.sockets import Layer

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def _parts():
    contract_parts.remember()
    yield
    contract_parts.forget()


CASES = {
    "looped": dict(wiring=contract_parts.Looped),
    "u_net": dict(wiring=contract_parts.UNet),
    "value_residual": dict(attention="test_value_residual", position="learned"),
    "shared_keys": dict(attention="test_shared_keys", position="learned"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
@pytest.mark.parametrize("chunk", [1, 5])
def test_cached_equals_uncached(case, chunk):
    model = scramble(contract_parts.small(**case), 0.2).double().eval()
    cache = build("cache", "growing")
    steps = [model(ids()[:, i : i + chunk], cache=cache) for i in range(0, LENGTH, chunk)]
    torch.testing.assert_close(torch.cat(steps, 1), model(ids()), rtol=1e-6, atol=1e-6)


@every_case
def test_checkpointing_is_exact(case):
    grads = []
    for checkpointing in (False, True):
        model = scramble(contract_parts.small(**case), 0.2).train()
        set_checkpointing(model, checkpointing)
        contract_parts.loss_of(model, ids(), ids(seed=2))[0].backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_a_carry_changes_the_result():
    """Else the cached tests above would hold for a carry that nobody reads."""
    model = scramble(contract_parts.small(attention="test_value_residual", position="learned"), 0.2)
    before = model(ids())
    with torch.no_grad():
        model.stack.layers[0].block.attention.v.weight.mul_(2)
    shared = model.stack.layers[3].block.attention
    assert shared.v.weight.shape == (32, 32)
    assert not torch.allclose(before, model(ids()))


def test_losses_of_layers_add_up_and_statistics_are_told_once():
    for checkpointing in (False, True):
        model = scramble(contract_parts.small(ffn="test_auxiliary")).train()
        set_checkpointing(model, checkpointing)
        total, terms = contract_parts.loss_of(model, ids(), ids(seed=2))
        total.backward()
        assert terms.losses["size"][1] == 2 * LENGTH * 32, "the weight of one layer: means add up, not weights"
        assert {k: v.item() for k, v in terms.stats.items()} == {
            f"stack.layers.{i}.block.ffn.tokens": 2 * LENGTH for i in range(4)
        }
        assert all(m.seen == 0 for m in model.modules() if hasattr(m, "seen")), "forward wrote a buffer"


def test_auxiliary_loss_under_fsdp2_is_exact():
    """Two processes, sharded layers, with and without checkpointing: the gradients of one process."""
    lines = run_two("fsdp_auxiliary.py")
    assert len(lines) == 2
    assert all(float(line.split()[1]) < 1e-4 for line in lines), lines


def set_checkpointing(model, value):
    for module in model.modules():
        if isinstance(module, Layer):
            module.checkpointing = value


def run_two(script: str, timeout: int = 120) -> list[str]:
    """The script under torchrun in a process group of its own, which is killed whole on a time-out."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(HERE / script)]
    env = {
        **os.environ,
        "PYTHONPATH": warm_server.on_path(str(HERE)),
        "OMP_NUM_THREADS": "1",
        warm_server.ADDRESS: warm_server.address(),
    }
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=env
    )
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, out
    return [line for line in out.splitlines() if line.startswith("worst")]
