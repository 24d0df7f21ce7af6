"""Memory that runs out is one line: the part, what takes the most, and what to lower; exit code 2."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import Tensor

from components.core.errors import UserError
from components.parts.ffn.mlp import MLP
from components.training.experiment import Job, fit
from components.training.out_of_memory import ran_out, size_in

pytestmark = pytest.mark.usefixtures("warm_processes")

TOO_MUCH = 2**50  # bytes, which no machine gives


@pytest.fixture
def greedy(monkeypatch):
    """The ffn of the second layer asks for too much in its third forward pass, or in the backward pass of it."""
    plain, calls = MLP.forward, [0]

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # noqa: ARG004
            return x.view_as(x)

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:  # noqa: ARG004
            return grad + torch.empty(TOO_MUCH, dtype=torch.uint8)[0]

    def choose(backward: bool) -> None:
        def forward(self: MLP, x: Tensor, info=None) -> Tensor:
            y = plain(self, x, info)
            calls[0] += self.training and "layers.1." in self.part_path
            if calls[0] < 3 or x.device.type == "meta" or "layers.1." not in self.part_path:
                return y
            return Backward.apply(y) if backward else y + torch.empty(TOO_MUCH, dtype=torch.uint8)[0]

        monkeypatch.setattr(MLP, "forward", forward)

    return choose


@pytest.mark.parametrize("backward", [False, True])
def test_the_line_names_the_part_and_the_biggest(tiny, greedy, backward):
    greedy(backward)
    config = tiny(model={"ffn": {"name": "mlp"}}, trainer={"max_steps": 6})
    with pytest.raises(UserError) as e:
        fit(Job(config, "greedy", quiet=True))
    said = str(e.value)
    where = "the backward pass" if backward else "stack.layers.1.ffn"
    assert said.startswith(f"training: out of memory in {where} for 1.1 PB; weights "), said
    assert "activations of 8 rows about " in said
    assert "set trainer.accumulate_grad_batches=2 or task.activation_checkpointing=true or less of" in said
    assert e.value.exit_code == 2
    assert len(e.value.line()) <= 300


def test_other_errors_are_left_alone():
    assert not ran_out(RuntimeError("a shape does not fit"))
    assert ran_out(MemoryError())
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"))
    assert size_in("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has") == "20.00 GiB"


def test_a_process_that_may_have_little_ends_with_2_and_a_line(tmp_path):
    """RLIMIT_AS is set when the run trains: what is there by then, and 1 GB; a step of 256 rows takes more."""
    (tmp_path / "text.txt").write_text("\n\n".join(f"the tree number {i} is here" for i in range(400)))
    script = """
        import resource, sys
        from components.cli import main
        from components.training.task._training import Training
        plain = Training.on_train_batch_start

        def limited(self, batch, batch_idx):
            size = int(open("/proc/self/statm").read().split()[0]) * 4096
            resource.setrlimit(resource.RLIMIT_AS, (size + 10**9, -1))
            plain(self, batch, batch_idx)

        Training.on_train_batch_start = limited
        sys.exit(main(sys.argv[1:]))
    """
    (tmp_path / "limited.py").write_text(textwrap.dedent(script))
    words = ["recipe=llama_tiny", "data=text", "data.path=text.txt", "tokenizer=byte", "task.batch_size=256", "task.samples=0"]
    words += [
        "model.context_length=512",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.max_steps=2",
        "paths.cache=c",
    ]
    command = [sys.executable, "limited.py", "train", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: training: out of memory in stack.layers.0" in done.stderr, done.stderr
