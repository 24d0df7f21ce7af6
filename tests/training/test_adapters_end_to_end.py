"""A run, a fine-tuning of it with an adapter, generation from that, and the merged model: as a user types it, and from Python."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import components
from components.core.errors import UserError
from components.runs import checkpoints
from components.training.experiment import Job, fit

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from tiny_recipe import write

ADAPTERS = {
    "lora": ["adapter=lora", "adapter.rank=2"],
    "dora": ["adapter=dora", "adapter.rank=2", "adapter.targets=['*.ffn.*']"],
    "ia3": ["adapter=ia3", "adapter.train=['*norm*']"],
}


@pytest.fixture
def base(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    return components.train("./tiny.yaml", quiet=True).folder


@pytest.mark.parametrize("name", ADAPTERS)
def test_fine_tuned_saved_loaded_and_merged(name, base, tmp_path, capsys):
    options = [f"init_from={base}", *ADAPTERS[name]]
    run = components.train("./tiny.yaml", [*options, "optimizer.lr=0.05"])
    said = capsys.readouterr().out
    assert "of them trained" in said
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["adapter"]["name"] == name
    before, after = (components.load(f) for f in (base, run.folder / "checkpoints" / "last.ckpt"))
    plain = before.model.state_dict()
    changed = {n for n, v in after.model.state_dict().items() if n not in plain or not torch.equal(v, plain[n])}
    trained = components.adapter_state_dict(after.model)
    assert changed == set(trained)  # the base is as it was, bit for bit; all that is trained has moved
    assert after.generate("the tree", max_new_tokens=8, seed=1).startswith("the tree")
    ids = torch.randint(0, 100, (2, 16))
    logits = after.model(ids)
    assert (logits - before.model(ids)).abs().max() > 1e-3
    for kind in ("last", "best"):
        kept = torch.load(run.folder / "checkpoints" / f"{kind}.adapter.pt", weights_only=True)
        assert set(kept["state_dict"]) == set(trained)
        assert kept["components"]["adapter"]["name"] == name
        whole = checkpoints.weights_in(checkpoints.read(run.folder / "checkpoints" / f"{kind}.ckpt"))
        assert all(torch.equal(whole[n], v) for n, v in kept["state_dict"].items())
    # the small file and the base are the fine-tuned model
    rebuilt = components.load_recipe("./tiny.yaml", options).model.eval()
    rebuilt.load_state_dict(
        torch.load(run.folder / "checkpoints" / "last.adapter.pt", weights_only=True)["state_dict"], strict=False
    )
    assert torch.equal(rebuilt(ids), logits)
    merged = components.merge(after.model)
    assert (merged(ids) - logits).abs().max() < 1e-6
    assert list(merged.state_dict()) == list(plain)
    # and goes on as a plain model
    assert (run.folder / "checkpoints" / "last.adapter.pt").stat().st_size < (
        run.folder / "checkpoints" / "last.ckpt"
    ).stat().st_size / 2
    del tmp_path


def test_first_validation_of_dora_is_the_bases(base):
    """Magnitudes follow the weights that init_from brings, not those that were drawn."""
    recipe = components.load_recipe("./tiny.yaml", [f"init_from={base}", "adapter=dora", "adapter.targets=['*']"])
    loaded = components.load(base)
    ids = torch.randint(0, 100, (2, 16))
    torch.testing.assert_close(recipe.model.eval()(ids), loaded.model(ids), rtol=0, atol=1e-5)


def test_a_fine_tuning_that_was_cut_goes_on_bit_for_bit(base, tmp_path):
    options = [f"init_from={base}", "adapter=lora", "schedule=constant"]
    whole = components.train("./tiny.yaml", options, quiet=True).folder
    cut = components.train("./tiny.yaml", [*options, "trainer.max_steps=5"], quiet=True).folder
    components.train(None, [f"resume={cut}", "trainer.max_steps=10"], quiet=True)
    a, b = (checkpoints.weights_in(checkpoints.read(f / "checkpoints" / "last.ckpt")) for f in (whole, cut))
    assert all(torch.equal(a[n], b[n]) for n in a)
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_with_an_average_of_the_adapter(base):
    run = components.train("./tiny.yaml", [f"init_from={base}", "adapter=lora", "optimizer=schedule_free"], quiet=True)
    saved = checkpoints.read(run.folder / "checkpoints" / "last.ckpt")
    trained = components.adapter_state_dict(components.load(run.folder / "checkpoints" / "last.ckpt").model)
    averages = [s["x"] for s in saved["optimizer_states"][0]["state"].values()]
    assert len(averages) == len(trained)
    assert all(any(torch.equal(v, x) for x in averages if x.shape == v.shape) for v in trained.values())


def test_a_config_without_an_adapter_still_trains(tiny):
    """Configs of runs that were saved before there were adapters."""
    config = tiny(trainer={"max_steps": 2})
    assert "adapter" not in config
    assert fit(Job(config, "tiny", quiet=True)).figures["step"] == 2


def test_a_pattern_that_matches_nothing_is_said_before_there_is_a_run(base):
    before = sorted(base.parent.iterdir())
    with pytest.raises(UserError, match=r"adapter\.targets: '\*\.attention\.qq' matches no"):
        components.train("./tiny.yaml", ["adapter=lora", "adapter.targets=['*.attention.qq']"], quiet=True)
    assert sorted(base.parent.iterdir()) == before


def test_an_adapter_is_never_lost_on_the_way(base):
    tuned = components.train("./tiny.yaml", [f"init_from={base}", "adapter=lora"], quiet=True).folder
    for adapter in ("none", "ia3"):
        with pytest.raises(UserError, match="has an adapter, and this model has none"):
            components.load_recipe("./tiny.yaml", [f"init_from={tuned}", f"adapter={adapter}"])
    again = components.load_recipe("./tiny.yaml", [f"init_from={tuned}", "adapter=lora"]).model.eval()
    ids = torch.randint(0, 100, (2, 16))
    assert torch.equal(again(ids), components.load(tuned).model(ids))
