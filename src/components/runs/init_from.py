"""``init_from=``: start a run from the weights of another, matched by name and shape, with a report of what was loaded, new and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.abilities import FollowsBase
from components.core.errors import UserError
from components.core.weight_names import first_few, summarize_names
from components.core.weights import copy_full, roles
from components.corpus.tokens import LABELS_FILE, Tokens, same_tokens
from components.functional.quantised_tensor import unpacked
from components.runs import checkpoints, run_folder
from components.runs.archive import check_kinds

ADDED = (".lora_b", ".ia3")  # the end of a name that only an adapter has


@dataclass(frozen=True)
class Start:
    """Weights of another run, the checkpoint that they are from, and the files of its tokenizer."""

    weights: dict[str, Tensor] = field(repr=False)
    origin: str
    tokenizer: dict[str, str] = field(repr=False)


def start_from(name: str, runs: Path) -> Start:
    """The weights that ``init_from=name`` means: a run's best checkpoint, or the named one."""
    folder, file = run_folder.find_run(name, runs)
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint = checkpoints.read(file, "weights")
    return Start(unpacked(checkpoints.weights_in(checkpoint)), str(file.absolute()), checkpoint["components"]["tokenizer"])


@dataclass(frozen=True)
class Match:
    """Which weights of a start a model takes, by name. Each list is in the order of the model, or of the checkpoint.

    Args:
        start: the weights.
        sizes: numbers in each tensor of the model.
        loaded: names of the weights that are taken.
        new: names that only the model has.
        left: names that only the checkpoint has.
        reshaped: {name: (shape there, shape here)} where the shapes differ; these weights are new as well.
    """

    start: Start
    sizes: dict[str, int]
    loaded: list[str]
    new: list[str]
    left: list[str]
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def load(self, model: nn.Module) -> None:
        """Copy what fits into a model that has its memory, sharded or not."""
        own, taken = tensors(model), {*self.loaded}
        with torch.no_grad():
            for name in self.loaded:
                copy_full(own[name], self.start.weights[name])
        for path, module in model.named_modules():
            if (
                isinstance(module, FollowsBase)  # an adapter whose base weights have just been loaded
                and f"{path}.weight" in taken
                and taken.isdisjoint(f"{path}.{n}" for n in module.added)
            ):
                module.follow_base()

    def parts(self) -> dict[str, list[str]]:
        """``loaded``, ``new`` and ``left``, each in short: whole modules by their path, layers that are alike as one."""
        names = {**self.sizes, **dict.fromkeys(self.left)}
        lists = {"loaded": self.loaded, "new": self.new, "left": self.left}
        return {what: summarize_names(found, names) for what, found in lists.items()}

    def report(self) -> dict[str, object]:
        """For run.json."""
        shapes = {n: {"there": list(there), "here": list(here)} for n, (there, here) in self.reshaped.items()}
        return {"tensors": len(self.sizes), "tensors_loaded": len(self.loaded), **self.parts(), "of_another_shape": shapes}

    def lines(self) -> list[str]:
        """For people."""
        found, count = self.parts(), len(self.loaded)
        share = sum(self.sizes[n] for n in self.loaded) / max(1, sum(self.sizes.values()))
        lines = [
            f"init_from {self.start.origin}: {count} of {len(self.sizes)} tensors loaded, {share:.1%} of the numbers: {first_few(found['loaded'])}"
        ]
        for what, names, text in (
            ("new", self.new, "not in the checkpoint, new here"),
            ("left", self.left, "in the checkpoint, not used"),
        ):
            if names:
                lines.append(f"  {len(names)} {text}: {first_few(found[what])}")
        if self.reshaped:
            shapes = [f"{n} {there} there, {here} here" for n, (there, here) in self.reshaped.items()]
            lines.append(f"  {len(shapes)} of another shape, new here: {first_few(shapes)}")
        return lines


def match(model: nn.Module, start: Start) -> Match:
    """Match the weights with a model, which may be on the meta device.

    Raises:
        UserError: no weight fits, or an adapter would be lost.
    """
    own, found = tensors(model), start.weights
    check_kinds(own, found, start.origin)
    fitting = [n for n in own if n in found and found[n].shape == own[n].shape]
    left = [n for n in found if n not in own]
    if not fitting:
        raise UserError(
            "init_from", f"no weight of {start.origin} fits this model", "compare the two configs: components runs A B"
        )
    if any(n.endswith(ADDED) for n in left):
        raise UserError(
            "init_from",
            f"{start.origin} has an adapter, and this model has none: without it the weights are not what was trained",
            "give the adapter= of that run, or the run that it began with",
        )
    shapes = {n: (tuple(found[n].shape), tuple(own[n].shape)) for n in own if n in found and n not in fitting}
    sizes = {n: t.numel() for n, t in own.items()}
    return Match(start, sizes, fitting, [n for n in own if n not in found], left, shapes)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and the buffers that are saved, by name."""
    saved = model.state_dict()
    return dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in saved}


def begin_from(tokenizer: Tokens, model: nn.Module, start: Start, say: Callable[[str], None]) -> Match:
    """Match the weights and report it; the ``load`` of what is returned copies them. ``model`` may be on any device.

    Raises:
        UserError: the weights do not fit, or their ids mean other tokens.
    """
    matched, own = match(model, start), checkpoints.tokenizer_files(tokenizer)
    for line in matched.lines():
        say(line)
    if not same_tokens(own, start.tokenizer):
        tables = [w.name for w in roles(model) if w.role == "embedding" and w.axes[0] == "vocab" and w.name in matched.loaded]
        if tables:
            raise UserError(
                "tokenizer",
                f"its ids mean other tokens than those of init_from={start.origin}, whose vectors ({tables[0]}) would be of the wrong ones",
                "tokenizer=of_run takes the tokenizer of that run",
            )
        say("  its tokenizer is another one, of another size: vectors of tokens begin anew; tokenizer=of_run would keep both")
    if start.tokenizer.get(LABELS_FILE, own.get(LABELS_FILE)) != own.get(LABELS_FILE) and "head" in matched.parts()["loaded"]:
        say("  its labels are others, or in another order, and its head is loaded: what it knows of them is of no use")
    return matched
