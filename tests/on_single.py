"""Run by a process of its own: training, validation, decoding and every part on a device without fp64. Prints what failed, a line each."""

from __future__ import annotations

import sys
import traceback
from types import SimpleNamespace

import single_device
import torch

from components import build
from components.check.host import ON_PATH, Host, ids
from components.check.subject import subject_of
from components.core.makers import make
from components.core.registry import static_entries
from components.core.sockets import Batch
from components.corpus.batches import totals
from components.corpus.steps import MicroBatch
from components.functional import precision
from components.training.clipping import clip_gradients
from components.training.task.language_modeling import LanguageModeling
from components.training.tuning import tuned

if "--as-if-it-had" not in sys.argv:
    precision.NO_DOUBLES = (*precision.NO_DOUBLES, single_device.NAME)
DEVICE = torch.device(single_device.NAME)
FAILED: list[str] = []


def tried(what: str, do) -> None:
    try:
        do()
    except Exception as e:
        if "-v" in sys.argv:
            traceback.print_exc()
        FAILED.append(f"{what}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")


class Tokenizer:
    vocab_size = 40
    specials = {"endoftext": 0}


def task(optimizer: str, loss: str = "next_token") -> LanguageModeling:
    config = {
        "seed": 1,
        "model": {
            "name": "decoder",
            "d_model": 16,
            "n_layers": 2,
            "context_length": 12,
            "attention": {"name": "gqa", "n_heads": 2},
        },
        "loss": {"name": loss},
        "optimizer": {"name": optimizer},
        "schedule": {"name": "constant"},
    }
    made = LanguageModeling(config, Tokenizer())
    made.total_steps = 3
    made.place(made.new_model(), DEVICE)
    made.metrics.to(DEVICE)
    made._trainer = SimpleNamespace(accumulate_grad_batches=1, global_rank=0, world_size=1, strategy=None)
    return made


def batch() -> Batch:
    values = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(0))
    return Batch(values, targets=values.roll(-1, 1))


def trains(optimizer: str) -> None:
    """Two steps with clipping, a validation, and what the run reads off the device."""
    module = task(optimizer)
    own = make(module.config["optimizer"], "optimizer", weights=tuned(module.model, module.config))
    for _ in range(2):
        item = MicroBatch(batch(), totals(batch())).to(DEVICE)
        module.training_step(item, 0).backward()
        assert clip_gradients(module.model.parameters(), 1.0).device.type == DEVICE.type
        own.step()
        own.zero_grad()
    with torch.no_grad():
        module.validation_step(item, 0)
    assert 0 < module.take_train()["loss"] < 10
    loss, nats, weight = module.take_eval()
    assert 0 < loss["loss"] < 10
    assert weight == 24
    assert nats > 0


def decodes(name: str, sampler: str | None) -> None:
    model = task("sgd").model.eval()
    options = {"samplers": [{"name": sampler, **({"ids": [3, 4]} if sampler.endswith("_tokens") else {})}]} if sampler else {}
    prompt = Batch(torch.randint(1, 40, (2, 4), generator=torch.Generator().manual_seed(0))).to(DEVICE)
    if name == "speculative":
        prompt = Batch(prompt.ids[:1])
        own = build("decoding", name, draft="none", **options)
        own.draft = task("sgd").model.eval()
    else:
        own = build("decoding", name, **options)
    own.generate(model, prompt, cache=build("cache", "growing"), max_new_tokens=3, **({"generator": 1} if sampler else {}))


def passes(label: str) -> None:
    """A forward and a backward pass of the small model around the part."""
    host = Host.of(subject_of(label))
    model = host.model(0.1, dtype=torch.float32).to(DEVICE).train()
    values = ids()
    padded = torch.arange(values.shape[1]).expand(values.shape) < values.shape[1] - 2
    model(host.batch(values, valid=padded).to(DEVICE)).float().square().mean().backward()


def main() -> None:
    static = {(k, n) for (k, n), e in static_entries().items() if not e.preset_of}
    for kind, name in sorted(static):
        if kind == "optimizer":
            tried(f"optimizer/{name}", lambda name=name: trains(name))
        elif kind == "sampler":
            tried(f"sampler/{name}", lambda name=name: decodes("sample", name))
        elif kind == "decoding" and name != "sample":
            tried(f"decoding/{name}", lambda name=name: decodes(name, None))
        elif kind in ON_PATH and kind != "init":
            tried(f"{kind}/{name}", lambda kind=kind, name=name: passes(f"{kind}/{name}"))
    for refused in (lambda: torch.ones(2, device=DEVICE).double(), lambda: torch.zeros(2, dtype=torch.float64, device=DEVICE)):
        try:
            refused()
        except TypeError:
            continue
        FAILED.append("the device takes doubles")
    print("\n".join(FAILED) if FAILED else "nothing failed", flush=True)
    sys.exit(len(FAILED) > 0)


if __name__ == "__main__":
    main()
