"""Whether an imported model gives what its class in transformers gives, and where the first difference arises if it does not.

The rules say which module of theirs is which of ours. Each pair is asked what it read and what it gave, in the order of our layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.extras import lacking
from components.core.registry import find
from components.core.sockets import Batch
from components.core.traits import provides
from components.core.weights import initialise
from components.interop import tensors
from components.interop.architectures._held import HELD
from components.interop.compare import explicit
from components.interop.config import at, names_of
from components.interop.convert import Imported, on_meta, vocab_of
from components.interop.layouts import Same, Transposed
from components.interop.own import OWN

TOLERANCE = 1e-4  # of the largest value: fp32 sums in another order differ by less, a wrong rotation by more
ROWS, LENGTH, LONGEST = 2, 48, 512  # of the ids that are compared; a window is passed where it is short

# what a module's name says about where a difference comes from, if what it read differs, and if only what it gave does
READ = {
    "_norm": "the residual before it: a multiplier, or where the norms stand",
    "attention": "queries, keys or values: rotation, mask, scale, or a norm of heads",
    "cross": "queries, keys or values: mask, scale",
    "ffn": "the activation, or gate and up in each other's place",
    "head": "what stands between the last layer and the head",
}
GAVE = {
    "norm": "the norm itself: its kind, eps, or 1 + weight",
    "embedding": "a scale of the embedding",
    "head": "a soft cap or multiplier of the logits",
}


@dataclass(frozen=True)
class Agreement:
    """``difference``: the largest of all logits, relative to the largest logit. ``place``: layer and branch where one arises, empty if none does;
    ``first``: which module there, and what it may be."""

    label: str
    difference: float
    length: int
    place: str = ""
    first: str = ""
    idle: tuple[str, ...] = ()  # rules that match none of the model's tensors

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE

    @property
    def line(self) -> str:
        said = f"logits differ from those of {self.label} by {self.difference:.1e} of the largest"
        return f"{said}, first in {self.place}" if self.place else said

    def __str__(self) -> str:
        said = f"{self.line}: {self.first}" if self.first else f"{self.line}, over {self.length} positions"
        return f"{said}\nrules that match nothing in this model: {', '.join(self.idle)}" if self.idle else said


def wanted(imported: Imported, check: bool | None) -> bool:
    """Whether to compare: as asked; if nothing is said, where the mapping is new (no row of the tests holds it) and transformers is there."""
    if check is None:
        return imported.architecture.label not in HELD and not why_not(imported) and find_spec("transformers") is not None
    return check


def why_not(imported: Imported) -> str:
    """Why the model cannot be compared with its class; empty if it can."""
    if imported.whole is not None:
        return f"{imported.whole} reads more than text"
    if imported.architecture is OWN:
        return "it is this package's own"
    headless = imported.bare or imported.config["model"].get("head", {}).get("name") == "none"
    return "the files are those of a model without its head" if headless else ""


def agreement(imported: Imported, folder: Path) -> Agreement:
    """Both models on the same random ids, in fp32.

    Raises:
        UserError: transformers is not installed, or does not load the folder; or the files are not those of a whole model.
    """
    if said := why_not(imported):
        raise UserError(str(folder), f"cannot be compared with its class: {said}", "--no-check imports it all the same")
    label = next(iter(names_of(imported.source)), imported.architecture.label)
    theirs, ours = _theirs(label, folder), _ours(imported)
    length = _length(imported)
    generator = torch.Generator().manual_seed(0)
    ids, source = (torch.randint(vocab_of(imported.recipe), (ROWS, n), generator=generator) for n in (length, LENGTH // 2))
    reads = provides(find("model", imported.config["model"]["name"]), "source")
    config, shapes = explicit(imported.config), {n: t.shape for n, t in imported.weights.like.items()}
    steps = tensors.steps(imported.architecture, shapes, lambda path: at(config, path))
    pairs, idle = _pairs(steps, ours, theirs), tensors.idle(imported.architecture, steps)
    told = {side: _listen(model, names) for side, model, names in (("ours", ours, pairs), ("theirs", theirs, pairs.values()))}
    with torch.no_grad():
        given = ours(Batch(ids, source=Batch(source) if reads else None))
        right = theirs(**({"input_ids": source, "decoder_input_ids": ids} if reads else {"input_ids": ids})).logits
    difference = apart(given, right)
    first = ("", "") if difference <= TOLERANCE else _first(pairs, told["ours"], told["theirs"])
    return Agreement(label, difference, length, *first, idle=tuple(" + ".join(r.their_names) for r in idle))


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value of ``theirs``; infinite for another number of values."""
    if ours.numel() != theirs.numel():
        return float("inf")
    return ((ours.reshape(-1) - theirs.reshape(-1)).abs().max() / theirs.abs().max().clamp_min(1e-30)).item()


def _theirs(label: str, folder: Path) -> nn.Module:
    try:
        import transformers
    except ImportError:
        raise lacking(str(folder), "is compared with its class", "transformers") from None
    made = getattr(transformers, label, None)
    if made is None:
        raise UserError(label, f"is no class of transformers {transformers.__version__}", "--no-check imports it all the same")
    progress = transformers.utils.logging
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()  # an import says what it did, in lines
    try:
        return made.from_pretrained(folder, dtype=torch.float32).eval()
    except Exception as e:  # whatever a stranger's class raises about a stranger's files
        said = f"{label} does not load it: {str(e).strip().splitlines()[0]}"
        raise UserError(str(folder), said, "--no-check imports it all the same") from e
    finally:
        if shown:
            progress.enable_progress_bar()


def _ours(imported: Imported) -> nn.Module:
    model = on_meta(imported.config, vocab_of(imported.recipe)).to_empty(device="cpu")
    initialise(model, None, 0, draw=False)
    model.load_state_dict(dict(imported.weights))
    return model.eval()


def _length(imported: Imported) -> int:
    """Twice the narrowest window, where the model has one and that is not too long."""
    windows = [int(w) for w in re.findall(r"'window': (\d+)", str(imported.config["model"]))]
    longest = min(imported.config["model"].get("context_length") or LONGEST, LONGEST)
    return min(max([LENGTH, *(2 * w for w in windows if 2 * w <= LONGEST)]), longest)


def _pairs(steps: Sequence[tensors.Step], ours: nn.Module, theirs: nn.Module) -> dict[str, str]:
    """{our module: theirs}, in our order, of the rules that say of one tensor which it is."""
    made = {}
    known = {name for name, _ in theirs.named_modules()}
    for step in steps:
        if len(step.ours) == len(step.theirs) == 1 and isinstance(step.layout, (Same, Transposed)):
            our, their = (n[0].rpartition(".")[0] for n in (step.ours, step.theirs))
            if their in known:
                made[our] = their
    return {name: made[name] for name, _ in ours.named_modules() if name in made}


Heard = dict[str, tuple[Tensor, Tensor]]  # {module: what it read, what it gave}


def _listen(model: nn.Module, names: Any) -> Heard:
    """Fills with the first call of each module."""
    heard: Heard = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Any, ...], made: object) -> None:
            if name not in heard and given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
                heard[name] = (given[0].detach().clone(), made.detach().clone())

        return hook

    for name in names:
        model.get_submodule(name).register_forward_hook(keep(name))
    return heard


def _first(pairs: Mapping[str, str], ours: Heard, theirs: Heard) -> tuple[str, str]:
    """(place, what) of the first of our modules, in the order of their calls, that read or gave something else than its counterpart."""
    agreed = "the ids"
    for name in ours:
        their = pairs[name]
        if their not in theirs:
            continue
        (read, gave), (their_read, their_gave) = ours[name], theirs[their]
        is_ids = not read.is_floating_point()
        for what, hints, a, b in (("reads", READ, read, their_read), ("gives", GAVE, gave, their_gave)):
            if (is_ids and what == "reads") or apart(a, b) <= TOLERANCE:
                continue
            hint = next((said for part, said in hints.items() if part in name.rpartition("block.")[2]), "")
            said = f"{name} ({their}) {what} other numbers, by {apart(a, b):.1e}, where {agreed} agreed"
            return _place(name), f"{said}: {hint}" if hint else said
        agreed = name
    return f"what comes after {agreed}", "the last that agreed"


def _place(name: str) -> str:
    """The layer and branch of a module, as ``layer 3, attention``."""
    found = re.search(r"(encoder|decoder)?.*?layers\.(\d+)\.block\.(\w+?)(?:_residual|_output_norm|_norm)?(?:\.|\Z)", name)
    if found is None:
        return name.partition(".")[0]
    side = f"{found[1]} " if found[1] else ""
    return f"{side}layer {found[2]}, {found[3]}"
