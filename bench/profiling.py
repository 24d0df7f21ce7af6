"""Where the time of a training step goes, by part, and of a decoded token.

``python bench/profiling.py a|b|c|recipe=NAME [key=value ...] [--decode] [--precision bf16|fp32] [--rows 16] [--vocab 65] [--steps 5]``. (a), (b) and (c) are the
shapes of docs/performance.md. Times are torch.profiler's, of one thread; each operation counts to the part whose ``forward`` called it, and its
backward pass to the part of its forward pass. Nothing is written. (The file is not called profile.py: Python's cProfile would import it.)
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from components import build
from components.compose import compose
from components.core.makers import make
from components.core.sockets import Batch, Terms
from components.training.tuning import tuned

MARK, ENGINE = "part: ", "autograd::engine::evaluate_function: "
DROPS = ["model.embedding.dropout=0", "model.attention.dropout=0", "model.residual.dropout=0"]
SMALL = ["model.d_model=384", "model.n_layers=6", "model.context_length=256", "model.attention.n_heads=6"]
# recipe with overrides, rows, vocabulary
SHAPES: dict[str, tuple[list[str], int, int]] = {
    "a": (["recipe=gpt2_124m", *DROPS, *SMALL, "model.ffn.activation=gelu"], 16, 65),
    "b": (["recipe=gpt2_124m", *DROPS, "model.context_length=512", "model.ffn.activation=gelu"], 2, 50304),
    "c": (["recipe=llama_python", *SMALL, "model.attention.n_kv_heads=2", "optimizer=adamw"], 4, 32000),
}


class Share(NamedTuple):
    """Microseconds of one step."""

    forward: float
    backward: float

    @property
    def whole(self) -> float:
        return self.forward + self.backward


def kind_of(module: nn.Module) -> str:
    """The kind of a part, ``components.parts.<kind>.<name>``; "" for what is no part of ours."""
    path = type(module).__module__.split(".")
    return path[2] if path[:2] == ["components", "parts"] else ""


@contextmanager
def scopes(model: nn.Module) -> Iterator[None]:
    """While it is open, the forward of each part has a scope named after its kind."""
    handles, opened = [], []

    def opens(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            opened.append(record_function(MARK + name))
            opened[-1].__enter__()

        return hook

    def closes(*_: object) -> None:
        opened.pop().__exit__(None, None, None)

    for module in model.modules():
        if kind := kind_of(module):
            handles.append(module.register_forward_pre_hook(opens(kind)))
            handles.append(module.register_forward_hook(closes))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scope_of(event: Any) -> str:
    """The part in whose forward an event happened, the innermost one; "" outside of all."""
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        event = event.cpu_parent
    return ""


def engine_of(event: Any) -> Any:
    """The node of the backward pass that an event belongs to, or None."""
    while event is not None and not event.name.startswith(ENGINE):
        event = event.cpu_parent
    return event


def shares(events: Any, steps: int) -> tuple[dict[str, Share], dict[tuple[str, str], float]]:
    """({part: its share}, {(part, operation): microseconds of one step}), each event's own time counted once."""
    forward_of: dict[int, str] = {}
    for event in events:
        if event.sequence_nr >= 0 and engine_of(event) is None and (scope := scope_of(event)):
            forward_of[event.sequence_nr] = scope
    parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    operations: dict[tuple[str, str], float] = defaultdict(float)
    for event in events:
        node = engine_of(event)
        scope = scope_of(event)
        if not scope and node is not None:
            gradients = "AccumulateGrad" in node.name
            scope = "gradients added up" if gradients else forward_of.get(node.sequence_nr, "")
        scope = scope or "the rest"
        own = event.self_cpu_time_total / steps
        parts[scope][node is not None] += own
        name = event.name.removeprefix(ENGINE)
        operations[scope, "Python" if name.startswith(MARK) else name] += own
    return {name: Share(*two) for name, two in parts.items()}, dict(operations)


def step_of(words: list[str], rows: int, vocab: int, precision: str) -> tuple[nn.Module, Callable[[], None]]:
    """A model, and what takes a training step with it; loss and optimizer have scopes."""
    config = compose(None, words).config
    torch.manual_seed(0)
    model = make(config["model"], "model", vocab_size=vocab)
    loss = build("loss", "next_token", vocab_size=vocab)
    optimizer = make(config["optimizer"], "optimizer", weights=tuned(model, config))
    x, y = (torch.randint(0, vocab, (rows, model.context_length)) for _ in range(2))

    def scoped(hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
        with record_function(MARK + "loss"):
            return loss(hidden, head, batch)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            total, weight = model(Batch(x, targets=y), scoped).losses["loss"]
        (total / weight).backward()
        with record_function(MARK + "optimizer"):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return model, step


def training(words: list[str], rows: int, vocab: int, precision: str, steps: int) -> tuple[Any, int]:
    """The profile of so many training steps."""
    return profiled(*step_of(words, rows, vocab, precision), steps), steps


def decoding(words: list[str], vocab: int, tokens: int) -> tuple[Any, int]:
    """The profile of so many tokens, written greedily for one text with a growing cache."""
    config = compose(None, words).config
    torch.manual_seed(0)
    model = make(config["model"], "model", vocab_size=vocab).eval()
    prompt = torch.randint(0, vocab, (1, 1))

    def write() -> None:
        build("decoding", "greedy").generate(
            model, Batch(prompt), cache=build("cache", "growing"), max_new_tokens=tokens, stop_ids=()
        )

    return profiled(model, write, 1), tokens


def profiled(model: nn.Module, work: Callable[[], None], times: int) -> Any:
    with scopes(model):
        work()  # the first makes states
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(times):
                work()
    return found.events()


def table(parts: dict[str, Share], operations: dict[tuple[str, str], float], most: int) -> str:
    """Both tables, in Markdown."""
    whole = sum(s.whole for s in parts.values()) or 1.0
    out = ["| part | share | ms forward | ms backward |", "|---|--:|--:|--:|"]
    for name, share in sorted(parts.items(), key=lambda i: -i[1].whole):
        out.append(f"| {name} | {share.whole / whole:.1%} | {share.forward / 1e3:.3f} | {share.backward / 1e3:.3f} |")
    out += [f"| all | | {whole / 1e3:.3f} | in both |", "", "| operation | in | share | ms |", "|---|---|--:|--:|"]
    for (part, name), own in sorted(operations.items(), key=lambda i: -i[1])[:most]:
        out.append(f"| {name} | {part} | {own / whole:.1%} | {own / 1e3:.3f} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="a|b|c|recipe=NAME, key=value")
    parser.add_argument("--decode", action="store_true", help="a decoded token instead of a training step")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="of training")
    parser.add_argument("--rows", type=int, help="of a training step")
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--steps", type=int, default=5, help="that are profiled; of --decode, tokens in tens")
    parser.add_argument("--operations", type=int, default=12, help="lines of the second table")
    asked = parser.parse_intermixed_args()
    first, *more = asked.words
    words, rows, vocab = SHAPES.get(first, ([first], 8, 1024))
    torch.set_num_threads(1)
    if asked.decode:
        events, count = decoding([*words, *more], asked.vocab or vocab, 10 * asked.steps)
    else:
        events, count = training([*words, *more], asked.rows or rows, asked.vocab or vocab, asked.precision, asked.steps)
    print(table(*shares(events, count), asked.operations))


if __name__ == "__main__":
    main()
