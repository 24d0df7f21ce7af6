"""fp16 with a loss scale: clipping sees the gradients themselves, whether the optimizer or the scaler divides by the scale."""

# ruff: noqa: ARG002  hooks and stand-ins
from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision

from components import build
from components.core import registry
from components.core.sockets import Batch
from components.core.weights import Weight
from components.training.building import quiet_lightning
from components.training.data_module import PackedDataModule
from components.training.task.language_modeling import LanguageModeling

VOCABULARY, T, STEPS = 11, 6, 12


class Rows:
    n_blocks = 48

    def batch(self, epoch, indices):
        ids = torch.stack([torch.randint(0, VOCABULARY, (T,), generator=torch.Generator().manual_seed(i)) for i in indices])
        return Batch(ids, ids.roll(-1, 1))


class Tokenizer:
    vocab_size = VOCABULARY
    specials = {"endoftext": 0}


class Norms(Callback):
    def __init__(self, overflow=()):
        self.seen, self.overflow = [], overflow

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step in self.overflow:
            next(pl_module.model.parameters()).grad.fill_(float("inf"))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(None if pl_module.grad_norm is None else float(pl_module.grad_norm))


def trained(optimizer, scale, *, clip=0.5, how="norm", overflow=()):
    """(norms, all weights) after a few steps in fp32 whose loss is scaled, or not: the products are the same to the digit."""
    config = {
        "seed": 1,
        "model": {
            "name": "decoder",
            "d_model": 8,
            "n_layers": 1,
            "context_length": T,
            "attention": {"name": "gqa", "n_heads": 2},
        },
        "loss": {"name": "next_token"},
        "optimizer": optimizer,
        "schedule": {"name": "constant"},
    }
    module, norms = LanguageModeling(config, Tokenizer()), Norms(overflow)
    module.total_steps = STEPS
    quiet_lightning()
    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale)) if scale else None
    if plugin:
        plugin.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator="cpu", devices=1, max_steps=STEPS, gradient_clip_val=clip, gradient_clip_algorithm=how,
        use_distributed_sampler=False, callbacks=[norms], plugins=[plugin] if plugin else None, **off,
    )  # fmt: skip
    trainer.fit(module, PackedDataModule(Rows(), batch_size=8))
    return norms.seen, torch.cat([p.detach().flatten() for p in module.model.parameters()])


FUSED = [
    {"name": "adamw", "lr": 0.01},
    {"name": "adam", "lr": 0.01, "fused": True},
    {"name": "adagrad", "lr": 0.01, "fused": True},
]
AROUND = [
    {"name": "ema", "inner": FUSED[0]},
    {"name": "skip_step", "inner": FUSED[0], "window": 4},
    {"name": "skip_step", "window": 4, "inner": {"name": "ema", "inner": FUSED[1]}},
    {"name": "muon"},
]


def named(optimizer):
    inner = optimizer.get("inner")
    return optimizer["name"] + (f"-{named(inner)}" if inner else "")


@pytest.mark.parametrize("optimizer", FUSED + AROUND, ids=named)
@pytest.mark.parametrize(("clip", "how"), [(0.5, "norm"), (0.01, "value"), (None, "norm")])
def test_a_scaled_loss_trains_as_one_that_is_not(optimizer, clip, how):
    plain, scaled = (trained(optimizer, scale, clip=clip, how=how) for scale in (None, 2.0**12))
    assert (plain[0][0] is not None) == (how == "norm" and clip is not None)
    if plain[0][0] is not None:
        assert scaled[0] == pytest.approx(plain[0], rel=1e-4)
    torch.testing.assert_close(scaled[1], plain[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [FUSED[0], AROUND[0]], ids=named)
def test_a_step_that_overflows_is_skipped_and_the_next_one_is_whole(optimizer):
    """Clipping must not turn infinities into NaN weights."""
    norms, weights = trained(optimizer, 2.0**12, overflow=(2,))
    assert [n == float("inf") for n in norms] == [i == 2 for i in range(STEPS)]
    assert weights.isfinite().all()


def test_all_that_divide_by_the_scale_themselves_are_tried():
    """An optimizer of the shelf that comes to do so must stand above."""
    parameter = torch.nn.Linear(2, 2)
    weights = [Weight("w", parameter.weight, "hidden", ("d_model", "d_ff"), parameter)]
    found = set()
    for _, name in registry.entries("optimizer"):
        options = {"fused": True} if "fused" in registry.entry("optimizer", name).signature.options else {}
        if getattr(build("optimizer", name, weights=weights, **options), "_step_supports_amp_scaling", False):
            found.add(name)
    assert found == {o["name"] for o in FUSED}
