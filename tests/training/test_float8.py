"""fp8-mixed: which maps are fp8, what they compute, runs under each strategy that takes it, and one line where it cannot be.

No device here has products of fp8: torchao rounds to fp8 and multiplies in fp32, the numbers that a GPU would give but for the order of sums.
"""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import nn

import components
from components.cli import main
from components.compose import compose
from components.core.errors import UserError
from components.core.makers import make
from components.runs.loading import model_of
from components.runs.weights import materialise
from components.training import devices, float8
from components.training.estimate.accelerators import accelerator
from components.training.estimate.activations import batch_of
from components.training.estimate.bill import Terms, bill
from components.training.estimate.estimating import Subject
from components.training.estimate.layouts import Layout
from components.training.estimate.live import Live
from components.training.estimate.searching import candidates
from components.training.estimate.step import Step
from components.training.limits import check_values

pytest.importorskip("torchao")
SMALL = [
    *(
        "model.d_model=32",
        "model.n_layers=2",
        "model.context_length=32",
        "model.attention.n_heads=2",
        "tokenizer=byte",
        "data=text",
    ),
    *("data.path=text.txt", "task.batch_size=8", "task.samples=0", "task.judged_samples=0", "task.validation_batches=2"),
    *("trainer.max_steps=12", "trainer.accelerator=cpu", "optimizer.lr=3e-3"),
]


@pytest.fixture
def forced(monkeypatch, tmp_path):
    """A run of fp8 is let through here, and finds a text in its folder."""
    monkeypatch.setattr(devices, "multiplies_float8", lambda _: True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(f"the tree number {i} is here" for i in range(400)))
    monkeypatch.delenv("MASTER_PORT", raising=False)
    yield
    if torch.distributed.is_initialized():  # what Lightning leaves of a run in this process
        torch.distributed.destroy_process_group()


def model(*overrides: str) -> nn.Module:
    built = model_of(compose("llama_tiny", [*SMALL, *overrides]).config, 256)
    materialise(built, "cpu", seed=0)
    return built


def test_maps_of_layers_alone_and_no_router():
    names = {path for path, _ in float8.float8_maps(model("model/ffn=moe", "model.ffn.n_experts=16", "model/head=linear"))}
    assert {name.rsplit(".", 1)[-1] for name in names} >= {"q", "k", "v", "out"}
    assert not any("router" in name or name.startswith(("head", "embedding")) for name in names)
    assert not list(float8.float8_maps(nn.Sequential(nn.Linear(32, 32))))  # no layer


def test_a_matrix_of_other_sizes_stays_in_bf16():
    paths = {path for path, _ in float8.float8_maps(model("model.ffn.d_ff=40"))}
    assert paths
    assert not any("ffn" in path for path in paths)


def test_a_layer_that_is_shared_is_replaced_wherever_it_stands():
    layered = model()
    twice = nn.ModuleDict({"a": layered, "b": layered})
    float8.multiply_in_float8(twice)
    assert not list(float8.float8_maps(twice))
    assert len(twice.state_dict()) == 2 * len(model().state_dict())


def as_float8(x: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """The published rule: one scale for the tensor, by which its largest number becomes the largest of the format."""
    scale = torch.finfo(kind).max / x.abs().max().double()
    return (x * scale.float()).clamp(-torch.finfo(kind).max, torch.finfo(kind).max).to(kind).double() / scale


def test_a_map_and_its_gradients_are_products_of_what_is_rounded():
    plain = model()
    path = next(path for path, _ in float8.float8_maps(plain))
    rounded = copy.deepcopy(plain)
    float8.multiply_in_float8(rounded)
    one, other = plain.get_submodule(path), rounded.get_submodule(path)
    assert isinstance(other, nn.Linear)
    assert rounded.state_dict().keys() == plain.state_dict().keys()
    x, grad = torch.randn(3, 7, one.in_features), torch.randn(3, 7, one.out_features)
    x.requires_grad_()
    other(x).backward(grad)
    x8, w8 = as_float8(x.detach(), torch.float8_e4m3fn), as_float8(one.weight.detach(), torch.float8_e4m3fn)
    g8 = as_float8(grad, torch.float8_e5m2)  # wider: gradients spread over more powers of two
    torch.testing.assert_close(other(x).double(), x8 @ w8.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), g8 @ w8, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.weight.grad.double(), g8.flatten(0, 1).T @ x8.flatten(0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp2", "hsdp"])
def test_a_run_learns_what_bf16_learns_and_is_read_without_fp8(strategy):
    words = [*SMALL, f"trainer.strategy={strategy}", "trainer.devices=1"]
    losses = {}
    for precision in ("bf16-mixed", "fp8-mixed"):
        run = components.train("llama_tiny", [*words, f"trainer.precision={precision}"], quiet=True)
        losses[precision] = float(run.figures["val_loss"])
    assert losses["fp8-mixed"] != losses["bf16-mixed"]  # or nothing was rounded
    assert abs(losses["fp8-mixed"] / losses["bf16-mixed"] - 1) < 0.02
    assert components.load(run.folder)  # the file knows nothing of fp8


def test_one_line_where_it_cannot_be(monkeypatch, capsys):
    assert main(["train", "recipe=llama_tiny", "trainer.precision=fp8-mixed", "trainer.max_steps=1"]) == 2
    assert "fp8-mixed needs a GPU that multiplies fp8" in capsys.readouterr().err
    for strategy in ("tp", {"name": "fsdp2_tp", "tensor_size": 2}, "cp"):
        with pytest.raises(UserError, match="not tried under"):
            check_values({"precision": "fp8-mixed", "strategy": strategy, "max_steps": 1})
    with pytest.raises(UserError, match="divide by 16"):
        float8.check_float8(model("model.d_model=36", "model.ffn.d_ff=40"))
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(UserError, match=r"lightning-components\[fp8\]"):
        float8.check_float8(model())


WIDE = ["model.d_model=64", "model.context_length=64", "model.attention.n_heads=4", "trainer.precision=fp8-mixed"]


def planned(*overrides: str) -> Subject:
    return Subject(compose("llama_tiny", [*SMALL, *WIDE, *overrides]).config, 256)


def test_a_plan_of_fp8_has_no_copies_of_its_maps():
    subject = planned()
    narrow, wide = (Layout("single", precision=p) for p in ("fp8-mixed", "bf16-mixed"))
    assert subject.state(narrow) == subject.state(wide), "weights, gradients and optimizer stay fp32"
    eight, sixteen = (subject.passes(layout, 2).layers[0] for layout in (narrow, wide))
    maps = [m.weight.numel() for path, m in float8.float8_maps(subject.model) if path.startswith("stack.layers.0.")]
    assert eight.rounded == sum(maps)
    assert sixteen.rounded == 0
    assert sixteen.kept - eight.kept == 2 * sum(maps), "autocast keeps a copy in bf16 of each that it casts"
    assert eight.backward > sixteen.backward, "rounded factors are there as well"


def kept(subject: Subject, rows: int, *, eight: bool) -> int:
    """Bytes that are there after a forward pass; products are emulated, which keeps the same for the backward pass."""
    held = model_of(subject.config, 256)
    materialise(held, "cpu", seed=0)
    if eight:
        float8.multiply_in_float8(held)
    loss, batch = make(subject.config["loss"], "loss", vocab_size=256), batch_of(held, rows, subject.context)
    with Live((*held.parameters(), *held.buffers(), batch.ids, batch.targets)) as live, torch.autocast("cpu", torch.bfloat16):
        terms = held.train()(batch, loss)
        found = live.now
    del terms
    return found


def test_what_fp8_keeps_less_than_bf16_is_what_a_run_keeps_less():
    subject, rows = planned(), 4
    narrow, wide = (subject.passes(Layout("single", precision=p), rows).total() for p in ("fp8-mixed", "bf16-mixed"))
    assert wide - narrow == kept(subject, rows, eight=False) - kept(subject, rows, eight=True) > 0


def test_days_of_fp8_by_hand():
    subject, device = planned(), accelerator("h100")
    estimate = subject.estimate(Layout("ddp", 4, replicas=4, precision="fp8-mixed"), Step(2))
    maps = sum(m.weight.numel() for _, m in float8.float8_maps(subject.model))
    assert estimate.flops8 == 6 * maps * estimate.tokens
    rest = subject.flops_per_token - 6 * maps
    seconds = 1e9 * (6 * maps / 1979e12 + rest / 989e12) / (4 * 0.5)
    assert bill(estimate, Terms(device, utilisation=0.5, tokens=1e9)).days == pytest.approx(seconds / 86400)


def test_plans_of_fp8_that_cannot_be_are_refused(monkeypatch):
    estimate = planned().estimate(Layout("single", precision="fp8-mixed"), Step(1))
    with pytest.raises(UserError, match=r"no figure of a100 in float8_e4m3fn.*bf16-mixed or 16-mixed"):
        bill(estimate, Terms(accelerator("a100")))
    assert {layout.strategy for layout in candidates(4, "fp8-mixed", 8)} == {"ddp", "fsdp2", "hsdp"}
    with pytest.raises(UserError, match="nothing would be fp8"):
        planned("model.d_model=24", "model.ffn.d_ff=20", "model.attention.n_heads=2").pieces(
            Layout("single", precision="fp8-mixed")
        )
    monkeypatch.setattr(float8, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs the package torchao"):
        planned().pieces(Layout("single", precision="fp8-mixed"))
