"""``trace(model, ids)``: one forward pass as tensors with names. What the glass box draws of one prompt, of a batch of any size, for code to read.

The pass is that of the glass box: eval mode, hooks that only listen, and the kernels that the model chooses anyway. Fused kernels give no weights, so
these are computed beside, by the plain formula, from what the kernel was given, when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from components.core.errors import UserError, nearest
from components.core.sockets import Batch
from components.explain.layer_activations import LayerActivations
from components.explain.layers import branches, closed, layer_calls, sides_of, wiring_of
from components.explain.recorder import Recorder, eval_uncompiled
from components.explain.subject import Loaded
from components.explain.traced_batch import batch_of, model_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class HasLogits(Protocol):
    """What classes of transformers return."""

    logits: object


class Activations(Mapping[str, Tensor]):
    """One forward pass. B rows, T positions, S of an encoder's source, D the width of the stream, H heads, V ids.

    ``t.layers[3]`` is a layer of the side that leads to the answer; ``t.hidden[3]``, ``t.attention[3]`` and ``t.cross[3]`` are its tensors. A looped
    stack has an entry for each pass through a layer. ``t.encoder`` has the layers that read the source; it is empty without one.

    As a mapping it has what every module returned, by its path or the end of it: ``t["stack.layers.3.block.ffn"]``, ``t["layers.3.ffn"]``; a module that
    was called more than once has ``path:0``, ``path:1``, ... ``t.names()`` lists them in the order of the pass. Of a layer or a stack it is the stream
    alone, of a module that returns several tensors the first one.

    Args:
        output: what the model returned.
        batch: what it read.
        tokens: (B, T) texts of the ids, where a text was given.
        layers, encoder: as above.
        embedded: (B, T, D) what the first of ``layers`` read; None without layers.
    """

    def __init__(
        self,
        output: object,
        batch: Tensor | Batch,
        tokens: list[list[str]] | None,
        layers: list[LayerActivations],
        encoder: list[LayerActivations],
        embedded: Tensor | None,
        outputs: Mapping[str, Tensor],
    ) -> None:
        self.output, self.batch, self.tokens = output, batch, tokens
        self.layers, self.encoder, self.embedded = layers, encoder, embedded
        self._outputs = outputs

    @property
    def logits(self) -> Tensor:
        """(B, T, V); of a head that speaks of the whole input (B, C). UserError where the model returned something else."""
        found = self.output.logits if isinstance(self.output, HasLogits) else self.output
        if not isinstance(found, Tensor):
            raise UserError("logits", f"the model returned a {type(found).__name__}", "output has it")
        return found

    @property
    def hidden(self) -> list[Tensor]:
        """(B, T, D) of each layer: the stream after it. ``embedded`` stands before the first; ``final_norm`` comes after the last."""
        return [layer.hidden for layer in self.layers]

    @property
    def attention(self) -> list[Tensor | None]:
        """(B, H, T, T) of each layer, or None: ``t.layers[3].why_no_attention``."""
        return [layer.attention for layer in self.layers]

    @property
    def cross(self) -> list[Tensor | None]:
        """(B, H, T, S) of each layer that reads an encoder's memory, else None."""
        return [layer.cross for layer in self.layers]

    def names(self) -> list[str]:
        """Of everything that ``t[name]`` has."""
        return list(self._outputs)

    def __getitem__(self, name: str) -> Tensor:
        """What the module ``name`` returned. UserError (a KeyError too) where there is none, or more than one."""
        return self._outputs[self._path(name)]

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self._path(name) in self._outputs
        except UnknownName:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def _path(self, name: str) -> str:
        """The one path that has the words of ``name`` in this order, the last one last; of several, the one with the fewest words."""
        if name in self._outputs:
            return name
        found = [p for p in self._outputs if _meant(name, p)]
        fewest = min((p.count(".") for p in found), default=0)
        found = [p for p in found if p.count(".") == fewest]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownName(name, f"{len(found)} outputs are called so", f"one of {', '.join(found[:6])}")
        raise UnknownName(name, "no module of that name returned a tensor", nearest(name, self._outputs, called="names"))

    def figure(self, layer: int = 0, row: int = 0) -> Figure:
        """A picture of the attention weights of ``layer`` (from 0, negative from the end), a panel for each head.

        Raises:
            UserError: there is no such layer, or it has no weights.
        """
        from components.explain.figures import weights_figure

        if not -len(self.layers) <= layer < len(self.layers):
            raise UserError("layer", f"there is no layer {layer}", f"the pass went through {len(self.layers)} layers, from 0")
        weights = self.layers[layer].attention
        if weights is None:
            raise UserError("layer", self.layers[layer].why_no_attention, "hidden and names() have what there is")
        return weights_figure(
            weights[row], self.layers[layer].attention_path, None if self.tokens is None else self.tokens[row]
        )

    def __repr__(self) -> str:
        shape = "" if not isinstance(self.output, Tensor) else f", output {tuple(self.output.shape)}"
        return f"<Activations of {len(self.layers)} layers{shape}, {len(self)} named outputs: .hidden, .attention, .logits, [name]>"

    def _repr_html_(self) -> str:
        from components.core.html import table

        rows = [(n, str(tuple(x.shape)), str(x.dtype).removeprefix("torch.")) for n, x in self.items()]
        return table(rows, ("output", "shape", "dtype"), title=repr(self).strip("<>"))


class UnknownName(UserError, KeyError):
    """``t[name]`` where there is no such output, as a mapping says it, in one line."""

    __str__ = ValueError.__str__


def trace(
    model: nn.Module | Loaded | str | Path, ids: Tensor | Batch | str | Sequence[str], *, gradients: bool = False
) -> Activations:
    """One forward pass of ``model`` over ``ids``: hidden states, attention weights, and what every module returned.

    The model is in eval mode meanwhile, and uncompiled; its output is what it would be without. Afterwards everything is as it was, after an
    error too. All outputs of the pass are kept, so a long batch of a large model takes memory.

    Args:
        model: any module; or what ``components.load`` and ``components.load_recipe`` return, a run or a recipe by name, which can read text.
        ids: (B, T) token ids, a ``Batch``, a text, or several.
        gradients: keep the graph: ``torch.autograd.grad(t.logits[0, -1, 5], t.hidden[3])``. What is written in place afterwards changes then.
            Attention weights are computed beside, and have no gradient.

    Raises:
        UserError: the model has no tokenizer for a text, or cannot read it; there is nothing of that name.
    """
    module, subject = model_of(model)
    batch, tokens = batch_of(ids, module, subject)
    recorder = Recorder(module, every=True)
    with eval_uncompiled(module), torch.set_grad_enabled(gradients), recorder.listening():
        output = module(batch)
        source = isinstance(batch, Batch) and batch.source is not None
        sides = sides_of(recorder, source)
    inner, found, first = branches(recorder), [], None
    for call, side in layer_calls(recorder, sides, source=source):
        _, wiring = wiring_of(module, call.path)
        alone = call.kind == "attention"
        if first is None and side == len(sides) - 1 and not alone:
            first = closed(wiring, call.x)
        visit = sum(layer.path == call.path for layer, _ in found)
        hidden = call.y if alone else closed(wiring, call.y)
        inside = [call] if alone else [c for c in inner if c.layer == call.layer]
        found.append((LayerActivations(call.path, visit, hidden, wiring, call, inside, recorder), side))
    last = [layer for layer, side in found if side == len(sides) - 1]
    before = [layer for layer, side in found if side < len(sides) - 1]
    return Activations(output, batch, tokens, last, before, first, named(recorder.outputs))


def named(outputs: Mapping[str, list[object]]) -> dict[str, Tensor]:
    """{name: tensor} of what modules returned; of a tuple the first, and nothing of what holds none."""
    found: dict[str, Tensor] = {}
    for path, calls in outputs.items():
        for number, y in enumerate(calls):
            first = y[0] if isinstance(y, tuple) and y else y
            if path and isinstance(first, Tensor):
                found[path if len(calls) == 1 else f"{path}:{number}"] = first
    return found


def _meant(name: str, path: str) -> bool:
    """Whether ``path`` has the words of ``name`` in this order, the last one last; ``:0`` counts where ``name`` has it too."""
    found, asked = (path if ":" in name else path.partition(":")[0]).split("."), name.split(".")
    words = iter(found)
    return found[-1] == asked[-1] and all(word in words for word in asked)
