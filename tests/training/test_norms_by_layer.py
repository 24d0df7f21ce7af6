"""Norms by layer: those of plain sums over weights and tokens, however the step is cut."""

# ruff: noqa: ARG005  hooks
from __future__ import annotations

import math

import pytest
import torch

from components.core.errors import UserError
from components.runs.metrics_file import read_rows
from components.training.callback.norms import Norms, units
from components.training.experiment import Job, fit
from components.training.task._training import Training

CONFIG = {"callbacks": {"norms": True}, "trainer": {"max_steps": 4, "log_every_n_steps": 2, "precision": "64-true"}}
LAYERS = ["embedding", "stack.layers.0", "stack.layers.1", "stack.final_norm", "head"]


def rows(config) -> list[dict[str, float]]:
    folder = fit(Job(config, "tiny", quiet=True)).folder
    return [
        {n: v for n, v in row.items() if n.startswith("norm/") and v is not None} for row in read_rows(folder / "metrics.csv")
    ]


def test_they_are_what_plain_sums_give_and_accumulation_changes_nothing(tiny, monkeypatch):
    seen: dict[int, dict[str, float]] = {}
    hook = Training.on_before_optimizer_step

    def also(self, optimizer):
        hook(self, optimizer)
        held = seen[self.trainer.global_step + 1] = {}
        for what in ("gradient", "weight"):
            sums: dict[str, float] = {}
            for name, p in self.model.named_parameters():
                layer = ".".join(name.split(".")[:3]) if name.startswith("stack.layers") else name.rpartition(".")[0]
                layer = layer if layer.startswith("stack") else layer.split(".")[0]
                sums[layer] = sums.get(layer, 0.0) + float(((p.grad if what == "gradient" else p).detach() ** 2).sum())
            held.update({f"norm/{what}/{n}": math.sqrt(v) for n, v in sums.items()})

    monkeypatch.setattr(Training, "on_before_optimizer_step", also)
    one = rows(tiny(**CONFIG))
    assert [len(row) > 0 for row in one] == [True, True]
    for row, step in zip(one, (2, 4)):
        expected = seen[step]
        assert set(expected) == {n for n in row if "activation" not in n}
        assert {n: row[n] for n in expected} == pytest.approx(expected, rel=1e-6)
    four = {**CONFIG, "trainer": {**CONFIG["trainer"], "accumulate_grad_batches": 4}}
    for row, other in zip(one, rows(tiny(**four))):
        assert other == pytest.approx(row, rel=1e-6)


def test_activations_are_the_root_mean_square_of_what_a_layer_gives(tiny, monkeypatch):
    gave: dict[str, list[torch.Tensor]] = {}
    placed = Training.place

    def watched(self, model, *rest, **more):
        placed(self, model, *rest, **more)
        for path in ("stack.layers.0", "stack.layers.1"):
            layer = model.get_submodule(path)
            layer.register_forward_hook(
                lambda m, i, o, p=path: gave.setdefault(p, []).append((o[0] if isinstance(o, tuple) else o).detach())
            )

    monkeypatch.setattr(Training, "place", watched)
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], "accumulate_grad_batches": 2}}
    first, _ = rows(tiny(**config))
    for path, outs in gave.items():
        both = torch.stack(outs[2:4])  # the micro-batches of step 2
        assert first[f"norm/activation/{path}"] == pytest.approx(float(both.square().mean().sqrt()), rel=1e-6)


def test_what_is_off_is_not_there_and_every_decides(tiny):
    config = {**CONFIG, "callbacks": {"norms": {"every": 3, "activations": False, "weights": False}}}
    found = {len(row): row for row in rows(tiny(**config))}
    assert sorted(found)[0] == 0
    (names,) = [row for n, row in found.items() if n]
    assert all(n.startswith("norm/gradient/") for n in names)


def test_between_measurements_no_hook_is_left(tiny, monkeypatch):
    hooks = []
    end = Norms.on_train_batch_end

    def count(self, trainer, module, *rest):
        end(self, trainer, module, *rest)
        hooks.append(sum(len(m._forward_hooks) for m in module.model.modules()))

    monkeypatch.setattr(Norms, "on_train_batch_end", count)
    rows(tiny(**CONFIG))
    assert hooks == [0, 0, 0, 0]


def test_compiled_layers_are_refused_in_one_line(tiny):
    with pytest.raises(UserError, match=r"callbacks\.norms\.activations: task\.compile=layers shows nothing"):
        fit(Job(tiny(**CONFIG, task={"compile": "layers"}), "tiny", quiet=True))


def test_every_weight_is_in_one_unit(tiny):
    from components.runs.loading import model_of

    model = model_of(tiny(), 256)
    found = units(model)
    assert sum(len(weights) for weights in found.values()) == len(list(model.parameters()))
    assert set(found) <= set(LAYERS) | {"embedding.token"}
    assert {"stack.layers.0", "stack.layers.1"} <= set(found)
