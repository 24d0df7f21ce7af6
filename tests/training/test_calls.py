"""What a step and a token cost in Python: calls are counted, since they are the same on a busy machine and seconds are not."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType

import lightning
import torch

import components
from components.core.makers import make
from components.core.sockets import Batch

# Of Lightning's loops, our trainer and the rows that it reads, in a step of one micro-batch with clipping on one device; 800 with Lightning's Trainer as it is.
A_STEP = 240
# Of everything above torch's own calls, for one token of a model of two layers with a cache.
A_TOKEN = 360
TINY = [
    *(
        "recipe=llama_tiny",
        "data=text",
        "data.path=text.txt",
        "tokenizer=byte",
        "optimizer=adamw",
        "model.n_layers=1",
        "model.d_model=16",
    ),
    *(
        "model.attention.n_heads=2",
        "model.attention.n_kv_heads=2",
        "model.context_length=8",
        "task.batch_size=2",
        "task.samples=0",
    ),
    *("task.validation_every=100", "trainer.max_steps=40", "trainer.log_every_n_steps=100", "trainer.gradient_clip_val=1.0"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "callbacks.counted=true", "task.judged_samples=0"),
]


class Calls:
    """Counts calls of Python functions by the file that they stand in."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def begin(self) -> None:
        sys.setprofile(self._seen)

    def end(self) -> None:
        sys.setprofile(None)

    def _seen(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.of[frame.f_code.co_filename] += 1

    def within(self, *pieces: str) -> int:
        return sum(n for file, n in self.of.items() if any(p in file for p in pieces))


def test_a_training_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the tree and the stone by the river. " * 400)
    calls = Calls()

    class Counted(lightning.pytorch.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 10:
                calls.begin()
            if trainer.global_step == 30:
                calls.end()

    components.register("callback", "counted")(Counted)
    components.train(None, TINY, quiet=True)
    step = (
        calls.within(
            "/lightning/",
            "/lightning_utilities/",
            "/components/training/",
            "/components/corpus/",
            "/inspect.py",
            "/enum.py",
            "/contextlib.py",
        )
        / 20
    )
    assert 100 < step <= A_STEP, f"{step} calls a step: {calls.of.most_common(12)}"


def test_a_decoded_token():
    torch.manual_seed(0)
    options = {
        "name": "decoder",
        "d_model": 16,
        "n_layers": 2,
        "context_length": 128,
        "attention": {"name": "mha", "n_heads": 2},
    }
    model = make(options, "model", vocab_size=32)
    decoding, counted, rows = components.build("decoding", "greedy"), dict[int, int](), list[tuple[str, int]]()
    for n in (20, 60):
        calls = Calls()
        calls.begin()
        decoding.generate(
            model, Batch(torch.zeros(1, 4, dtype=torch.long)), cache=components.build("cache", "growing"), max_new_tokens=n
        )
        calls.end()
        counted[n] = calls.of.total()
        rows = calls.of.most_common(12)
    token = (counted[60] - counted[20]) / 40
    assert 20 < token <= A_TOKEN, f"{token} calls a token: {rows}"
