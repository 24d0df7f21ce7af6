"""Runs over frozen matrices in few bits by several processes, in bf16, with compiled layers, and planned. One process in fp32: test_quantised_base.py."""

from __future__ import annotations

import csv
import weakref
from pathlib import Path

import few_bits
import pytest
import rank_server
import torch
from torch._dynamo.utils import counters

import components
from components import build
from components.cli import main
from components.core.sockets import Layer
from components.functional.quantised_tensor import Quantised, bytes_of

CUT = ("fsdp2", "hsdp", "tp", "fsdp2_tp", "cp")  # strategies that leave a rank no whole matrix
TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(150) for w in ("tree", "stone", "river"))
NEAR = {
    "64-true": 1e-9,
    "32-true": 1e-5,
    "bf16-mixed": 5e-3,
    "bf16-true": 5e-3,
}  # AdamW makes a whole step of a gradient's last bit: of bf16 the losses alone


COMPILED = [name for name, words in few_bits.RUNS.items() if "task.compile=layers" in words]
OTHERS = [name for name in few_bits.RUNS if name not in COMPILED]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("names", [OTHERS, pytest.param(COMPILED, marks=pytest.mark.slow)], ids=["plain", "compiled"])
def test_two_ranks_train_what_one_does(names, tmp_path):
    """What orders of summation leave, in each precision; the base is the same bits, and stays so."""
    (tmp_path / "text.txt").write_text(TEXT)
    for ranks in (1, 2):
        rank_server.launch(ranks, Path(few_bits.__file__), str(tmp_path), *names, folder=tmp_path)
    for name in names:
        one, two = (torch.load(tmp_path / f"{name}, {ranks}.pt") for ranks in (1, 2))
        precision = few_bits.RUNS[name][1].partition("=")[2]
        assert one["weights"].keys() == two["weights"].keys()
        assert any(n.endswith(".weight.codes") for n in one["weights"])
        for what, figure in one["figures"].items():
            assert two["figures"][what] == pytest.approx(figure, abs=NEAR[precision]), f"{name}: {what}"
        for n, tensor in one["weights"].items():
            assert tensor.dtype == two["weights"][n].dtype
            far = (two["weights"][n].double() - tensor.double()).abs().max()
            if ".weight." in n:
                assert far == 0, f"{name}: {n} is other bits"
            elif precision == "64-true":
                assert far <= NEAR[precision], f"{name}: {n} differs by {far:.1e}"


def test_bf16_true_has_the_adapter_in_bf16_over_the_bits_that_fp32_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    held = {}
    for precision in ("32-true", "bf16-true"):
        words = [*few_bits.SETTINGS, few_bits.LORA % "nf4", f"trainer.precision={precision}"]
        run = components.train(None, words, quiet=True)
        held[precision] = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    wide, narrow = held.values()
    assert {t.dtype for n, t in narrow.items() if "lora" in n} == {torch.bfloat16}
    assert {t.dtype for n, t in wide.items() if "lora" in n} == {torch.float32}
    bits = [n for n in wide if ".weight." in n]
    assert bits
    assert all(torch.equal(wide[n], narrow[n]) for n in bits)


def test_a_matrix_that_something_refers_to_weakly_can_be_moved():
    """As compiled programs of several ranks do; torch's way to change such a tensor in its place refuses."""
    model = decoder("nf4")
    before, names = {n: t.clone() for n, t in model.state_dict().items()}, list(model.state_dict())
    refs = [weakref.ref(p) for p in model.parameters()]
    model.to(torch.bfloat16)
    assert refs
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert list(model.state_dict()) == names
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items() if ".weight." in n)
    assert not any(p.requires_grad for p in model.parameters() if isinstance(p, Quantised))


def decoder(bits, adapter="lora"):
    torch.manual_seed(0)
    attention = {"name": "gqa", "n_heads": 4, "bias": ["q", "k", "v"]}
    model = build("model", "decoder", vocab_size=30, d_model=128, n_layers=1, context_length=12, attention=attention)
    options = {} if adapter == "ia3" else {"rank": 4, "targets": ["*.attention.*", "*.ffn.*"]}
    return build("adapter", adapter, base=bits, **options).apply(model)


def passed(model, compiled):
    """(loss, gradients by name, bytes that the forward pass leaves for the backward pass beside the model's own) of a step."""
    if compiled:
        torch._dynamo.reset()
        counters.clear()
        for layer in (m for m in model.modules() if isinstance(m, Layer)):
            layer.compile(dynamic=True, backend="aot_eager")
    own = {t.data_ptr() for p in model.parameters() for t in (p.pieces.values() if isinstance(p, Quantised) else (p,))}
    kept: dict[int, int] = {}

    def keep(tensor):
        if not isinstance(tensor, Quantised) and tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(0, 30, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = model(ids).square().mean()
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize(
    ("bits", "adapter"), [("int8", "lora"), ("nf4", "ia3"), pytest.param("nf4", "dora", marks=pytest.mark.slow)]
)
def test_compiled_layers_keep_no_whole_matrix(bits, adapter):
    """The compiler merges what the forward and the backward pass both compute, and would keep each matrix from the one to the other."""
    (right, gradients, plain), (loss, found, kept) = (passed(decoder(bits, adapter), compiled) for compiled in (False, True))
    assert not counters["graph_break"]
    torch.testing.assert_close(loss, right)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    whole = sum(4 * p.numel() for p in decoder(bits).parameters() if isinstance(p, Quantised))
    assert sum(bytes_of(p) for p in decoder(bits).parameters() if isinstance(p, Quantised)) < whole / 3
    assert kept < plain + whole / 20


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_a_compiled_run_in_bf16_learns_the_same(bits, tmp_path, monkeypatch):
    """A minute each: the compiler's C++."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    curves = []
    for compile in ("none", "layers"):
        torch._dynamo.reset()
        counters.clear()
        words = [*few_bits.SETTINGS, few_bits.LORA % bits, "trainer.precision=bf16-mixed", "trainer.log_every_n_steps=1"]
        run = components.train(None, [*words, f"task.compile={compile}"], quiet=True)
        with (run.folder / "metrics.csv").open() as file:
            curves.append([float(row["train_loss"]) for row in csv.DictReader(file) if row.get("train_loss")])
    assert counters["stats"]["unique_graphs"]
    assert len(curves[0]) == len(curves[1]) == 5
    assert curves[1] == pytest.approx(curves[0], abs=5e-3)


@pytest.mark.parametrize("strategy", CUT)
def test_strategies_that_cut_matrices_are_refused_by_name_before_the_launch(strategy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    words = [*few_bits.SETTINGS, few_bits.LORA % "nf4", f"trainer.strategy={strategy}", "trainer.devices=2"]
    line = f"adapter.base: trainer.strategy={strategy} does not lay out matrices in nf4; trainer.strategy=ddp, or adapter.base=full"
    for command in ("train", "plan"):
        assert main([command, *words]) == 2
        said = capsys.readouterr().err
        assert line in said, command
        assert "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"], "nothing was written"


def test_a_search_of_layouts_tries_those_that_leave_matrices_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    words = [*few_bits.SETTINGS, few_bits.LORA % "int8", "trainer.devices=2"]
    assert main(["plan", *words, "--search", "--accelerator", "t4"]) == 0
    said = capsys.readouterr().out
    assert "trainer.strategy=ddp" in said
    assert "trainer.strategy=fsdp2: adapter.base: trainer.strategy=fsdp2 does not lay out matrices in int8" in said
