"""Several adapters over one model that is loaded, of which one is in use: switching changes small tensors and never copies the base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.makers import ScopedMaker, make
from components.core.meta import on_meta
from components.corpus.tokens import Tokens
from components.functional.quantised_tensor import unpacked
from components.interop.peft import Adapter
from components.parts.adapter._merge import adapter_state_dict, take_off
from components.runs.adapters import NONE, read_adapter
from components.runs.loading import vocab_size_of

OWN = "default"  # the adapter that a run came with, by the name that PEFT gives the first


class Adapters:
    """Names of a model's adapters, and which one is in use.

    Args:
        model: as it was loaded; with an adapter, that one is ``default`` and in use.
        tokenizer: of the model.
        config: spelled out.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokens, config: Config) -> None:
        self.in_use: str | None = None
        self._model, self._config, self._vocab_size = model, config, vocab_size_of(config, tokenizer)
        self._names = list(on_meta(config, self._vocab_size).state_dict())
        self._held: dict[str, Adapter] = {}
        self._under: dict[str, Tensor] = {}  # what the adapter in use has put others in the place of
        self._lost: list[str] = []  # of the adapter that the run came with: weights whose values before it nobody kept
        if (config.get("adapter") or NONE)["name"] != "none":
            held = {n: t.clone() for n, t in adapter_state_dict(model).items()}
            self._held[OWN] = Adapter(config["adapter"], held, {})
            self._lost = [n for n in held if n in self._names]
            self.in_use = OWN

    def add(self, name: str, path: str | Path) -> None:
        """Read one more; ``use`` puts it in place.

        Args:
            name: what it is called here.
            path: PEFT's folder of an adapter, or a run of ours with one, over the same base.

        Raises:
            UserError: the name is taken, there is no adapter, or it does not fit the model.
        """
        if name in self._held:
            raise UserError("adapters.add", f"{name} is there already", "another name")
        self._need_base()
        now = {**unpacked(self._model.state_dict()), **self._under}
        base = {n: now[n] for n in self._names}
        self._held[name] = read_adapter(path, {**self._config, "adapter": NONE}, base, self._vocab_size)

    def use(self, name: str | None) -> None:
        """Put one in place of the one in use; None: the model without any."""
        if name is not None and name not in self._held:
            raise UserError("use", f"no adapter is called {name!r}", nearest(name, self._held, called="there are"))
        if name == self.in_use:
            return
        self._need_base()
        if self.in_use is not None:
            take_off(self._model)
            self._put(self._under)
            self._under, self.in_use = {}, None
        if name is not None:
            adapter = self._held[name]
            node = {k: v for k, v in adapter.node.items() if k != "base"}  # the base is there, and stays as it is
            made = make(ScopedMaker(node, where="adapter"), "adapter").apply(self._model)
            now = made.state_dict()
            self._under = {n: now[n].clone() for n in adapter.tensors if n in self._names}
            self._put(adapter.tensors)
            self.in_use = name

    def _put(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self._model.load_state_dict(tensors, strict=False)

    def _need_base(self) -> None:
        if self._lost and self.in_use == OWN:
            said = f"the run has trained {self._lost[0]} itself, and its value before is not there"
            raise UserError("adapters", said, "load the run that it began with, and add this one to it")

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __repr__(self) -> str:
        return f"<Adapters {', '.join(self._held) or 'none'}; in use: {self.in_use}>"
