"""adapter.base=int8 and nf4: the adapter learns over frozen matrices in few bits, and everything that comes after a training knows them."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import ModelParallelStrategy, SingleDeviceStrategy
from torch import nn

import components
from components import build
from components.cli import main
from components.core.errors import UserError
from components.functional.quantised_tensor import Quantised, bytes_of, dequantise, unpacked
from components.runs import checkpoints
from components.training.quantised_base import check_base

BITS = ("int8", "nf4")
ADAPTERS = {"lora": {"rank": 4, "targets": ["*.attention.*"]}, "dora": {"rank": 4}, "ia3": {}}
every_format = pytest.mark.parametrize("bits", BITS)


def decoder(**options):
    attention = {"name": "gqa", "n_heads": 4, "bias": ["q", "k", "v"]}
    sizes = {"vocab_size": 30, "d_model": 64, "n_layers": 2, "context_length": 12}
    return build("model", "decoder", **{**sizes, "attention": attention, **options})


def adapted(bits, name="lora", model=None, **options):
    return build("adapter", name, base=bits, **{**ADAPTERS[name], **options}).apply(model or decoder())


def whole(model):
    """The same model, its frozen matrices as the bits say and whole."""
    made = copy.deepcopy(model)
    for module in made.modules():
        if isinstance(module, nn.Linear) and isinstance(module.weight, Quantised):
            dequantise(module)
            module.weight.requires_grad_(False)
    return made


def learn(model, steps=5):
    """Losses of some steps on the same rows, and the gradients of the last."""
    ids = torch.randint(0, 30, (4, 12), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@every_format
@pytest.mark.parametrize("name", ADAPTERS)
def test_it_learns_as_over_the_whole_matrices_that_the_bits_mean(bits, name):
    model = adapted(bits, name)
    other = whole(model)
    before = {n: t.clone() for n, t in model.state_dict().items() if ".weight." in n}
    (losses, gradients), (right, theirs) = learn(model), learn(other)
    torch.testing.assert_close(losses, right, rtol=1e-5, atol=0)
    assert losses[-1] < losses[0]
    assert gradients.keys() == theirs.keys()
    assert all("weight" not in n for n in gradients)
    for n, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[n], rtol=1e-3, atol=1e-6)
    assert before
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in before.items()), "the base stays as it is"


@pytest.mark.parametrize(("bits", "share"), [("int8", 0.2661), ("nf4", 0.1306)])
def test_bytes_of_the_frozen_matrices(bits, share):
    """A step of 4 bytes for each row of 64 numbers is 1/64 more in int8."""
    model = adapted(bits)
    held = [p for p in model.parameters() if isinstance(p, Quantised)]
    assert len(held) == 2 * (4 + 2) or len(held) == 2 * (4 + 3)  # all maps of a layer, adapted or not
    assert sum(map(bytes_of, held)) / sum(4 * p.numel() for p in held) == pytest.approx(share, rel=0.03)
    assert all(
        type(p) is nn.Parameter for n, p in model.named_parameters() if n.startswith(("embedding", "head")) or "norm" in n
    )


@every_format
def test_what_the_adapter_trains_beside_it_stays_whole(bits):
    model = adapted(bits, train=["*.ffn.*"])
    ffn = [p for n, p in model.named_parameters() if ".ffn." in n]
    assert ffn
    assert all(type(p) is nn.Parameter and p.requires_grad for p in ffn)
    assert any(isinstance(p, Quantised) for p in model.parameters())


@every_format
@pytest.mark.parametrize("name", ADAPTERS)
def test_merged_it_is_plain_and_the_same(bits, name):
    model = adapted(bits, name)
    learn(model, 2)
    ids = torch.randint(0, 30, (2, 12))
    right = model.eval()(ids)
    merged = components.merge(model)
    torch.testing.assert_close(merged(ids), right, rtol=0, atol=5e-5)
    assert all(type(p) is nn.Parameter and p.requires_grad for p in merged.parameters())
    assert list(merged.state_dict()) == list(decoder().state_dict())


def refused(text):
    return pytest.raises(UserError, match=f"adapter.base: .*{text}")


def test_what_cannot_be_kept_in_few_bits_is_refused_in_one_line():
    with refused("stack of experts"):
        adapted("int8", model=decoder(ffn={"name": "moe", "n_experts": 4}))
    with refused("no layer has a frozen linear map"):
        adapted("int8", model=build("model", "mlp", vocab_size=30, d_model=16, context_length=4), targets=["*"])
    tied = decoder()
    first, second = (layer.block.attention for layer in tied.stack.layers)
    second.k.weight = first.k.weight
    with refused("a tied matrix"):
        adapted("nf4", model=tied)
    odd = decoder()
    odd.stack.layers[0].block.ffn.out = nn.Linear(33, 64)
    with refused("has 33 inputs"):
        adapted("nf4", model=odd.requires_grad_(False))
    model = adapted("nf4")
    with refused("trainer.strategy=fsdp2 does not lay out"):
        check_base(model, ModelParallelStrategy(), {"strategy": "fsdp2"})
    with refused("fp8"):
        check_base(model, SingleDeviceStrategy(), {"precision": "fp8-mixed"})
    assert check_base(model, SingleDeviceStrategy(), {}).startswith("base in nf4: ")


TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(150) for w in ("tree", "stone", "river"))
OTHER = "\n\n".join(f"a {w} of {i} rooms was sold" for i in range(150) for w in ("house", "barn", "mill"))
RUN = [
    *("data=text", "tokenizer=byte", "task.batch_size=8", "task.samples=0", "task.judged_samples=0", "trainer.accelerator=cpu"),
    *(
        "model.d_model=32",
        "model.n_layers=2",
        "model.context_length=32",
        "model.attention.n_heads=4",
        "trainer.precision=32-true",
    ),
]
TUNED = [
    *RUN,
    "data.path=other.txt",
    "adapter=lora",
    "adapter.targets=['*.attention.*','*.ffn.*']",
    "optimizer.lr=1e-2",
    "schedule=constant",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model trained on one text, and tuned on another over a base of each kind."""
    folder = tmp_path_factory.mktemp("quantised")
    (folder / "text.txt").write_text(TEXT)
    (folder / "other.txt").write_text(OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = [*RUN, "data.path=text.txt", "trainer.max_steps=60", "optimizer.lr=1e-2"]
        base = components.train("llama_tiny", options, quiet=True).folder.absolute()
        made = {"base": base}
        for bits in ("full", *BITS):
            tuned = [*TUNED, f"init_from={base}", f"adapter.base={bits}", "trainer.max_steps=20", "task.validation_every=2"]
            made[bits] = components.train("llama_tiny", tuned, quiet=True).folder.absolute()
        yield made


def summary(run: Path):
    return json.loads((run / "summary.json").read_text())


def first_loss(run: Path) -> float:
    with (run / "metrics.csv").open() as file:
        return next(float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss"))


def test_the_tuned_loss_is_near_that_of_a_full_base(runs):
    """The table of docs/how_to/adapters.md is of the same kind."""
    loss = {bits: summary(runs[bits])["val_loss"] for bits in ("full", *BITS)}
    assert loss["int8"] == pytest.approx(loss["full"], rel=0.01)
    assert loss["nf4"] == pytest.approx(loss["full"], rel=0.03)
    assert max(loss.values()) < 0.75 * first_loss(runs["full"]), "tuning has moved all of them"


def test_a_run_that_was_cut_goes_on_bit_for_bit(runs, monkeypatch):
    monkeypatch.chdir(runs["base"].parents[2])
    options = [*TUNED, f"init_from={runs['base']}", "adapter.base=nf4", "task.validation_every=2"]
    run = components.train("llama_tiny", [*options, "trainer.max_steps=10"], quiet=True).folder
    components.train(None, [f"resume={run}", "trainer.max_steps=20"], quiet=True)
    cut, whole = (checkpoints.weights_in(checkpoints.read(r / "checkpoints" / "last.ckpt")) for r in (run, runs["nf4"]))
    assert cut.keys() == whole.keys()
    assert all(torch.equal(cut[n], t) for n, t in whole.items())


def test_exports_are_those_of_the_same_adapter_over_the_whole_base(runs, tmp_path, capsys, monkeypatch):
    """PEFT's folder, the merged model, and a run that begins with it."""
    read = checkpoints.read(runs["nf4"] / "checkpoints" / "best.ckpt")
    read["state_dict"] = {n: t.clone() for n, t in unpacked(read["state_dict"]).items()}
    read["components"]["config"]["adapter"]["base"] = "full"
    torch.save(read, tmp_path / "full.ckpt")
    ids = torch.randint(0, 100, (2, 16))
    with torch.no_grad():
        right = components.load(runs["nf4"]).model(ids)
        torch.testing.assert_close(components.load(tmp_path / "full.ckpt").model(ids), right, rtol=0, atol=5e-5)
    for name, run in (("few", runs["nf4"]), ("full", tmp_path / "full.ckpt")):
        assert main(["export", str(run), "--adapter", "--to", str(tmp_path / name)]) == 0
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "few" / file).read_bytes() == (tmp_path / "full" / file).read_bytes()
    assert main(["export", str(runs["nf4"]), "--to", str(tmp_path / "merged")]) == 0
    with torch.no_grad():
        torch.testing.assert_close(components.load(tmp_path / "merged").model(ids), right, rtol=0, atol=5e-5)
    monkeypatch.chdir(runs["base"].parents[2])
    begun = components.load_recipe("llama_tiny", [*TUNED, f"init_from={runs['nf4']}", "adapter.base=full"]).model.eval()
    with torch.no_grad():
        torch.testing.assert_close(begun(ids), right, rtol=0, atol=5e-5)
    loaded = components.load(runs["nf4"])
    assert loaded.generate("a house", max_new_tokens=4).startswith("a house")
    loaded.adapters.add("again", tmp_path / "few")  # over the base in few bits, which stays so
    loaded.use("again")
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids), right, rtol=0, atol=5e-5)
    assert any(isinstance(p, Quantised) for p in loaded.model.parameters())
    capsys.readouterr()


def test_it_is_evaluated_and_refused_by_the_command(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs["base"].parents[2])
    assert main(["evaluate", str(runs["nf4"])]) == 0
    assert "loss" in capsys.readouterr().out
    words = ["train", "recipe=llama_tiny", *TUNED, f"init_from={runs['base']}", "adapter.base=nf4", "trainer.max_steps=1"]
    before = sorted(runs["base"].parent.iterdir())
    assert main([*words, "trainer.strategy=fsdp2", "trainer.devices=1"]) == 2
    said = capsys.readouterr().err
    assert "adapter.base: trainer.strategy=fsdp2 does not lay out matrices in nf4; trainer.strategy=ddp" in said
    assert sorted(runs["base"].parent.iterdir()) == before, "nothing was written"
