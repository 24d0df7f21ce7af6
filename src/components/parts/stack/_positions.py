"""Which layers share one position module: by entry of the pattern, unless the part says ``share = "layer"`` or ``"stack"``."""

from __future__ import annotations

from typing import Any

from torch import nn

from components.core.makers import ScopedMaker, SharedModule, resolve, signature_of


class Positions:
    """Makers of positions for a stack's layers: equal makers of one entry give one module, which the stack owns."""

    def __init__(self, *, d_model: int, context_length: int) -> None:
        self.offers = {"d_model": d_model, "context_length": context_length}
        self._shared: list[tuple[Any, Any, SharedModule]] = []  # (who shares it, the maker itself, what builds it)

    def shared(self, maker: object, *, entry: str, index: int) -> SharedModule:
        plain = _unbound(maker)
        scope = {"entry": entry, "layer": index, "stack": None}[_share(plain)]
        for known_scope, known, shared in self._shared:
            if known_scope == scope and (known is plain or known == plain):
                return shared
        shared = SharedModule(maker, "position", **self.offers)
        self._shared.append((scope, plain, shared))
        return shared

    def modules(self, maker: object) -> list[nn.Module]:
        """What the layers built. Where no layer asked (mixers without a position), the model's own, so that ``embed`` still happens."""
        built = [m for _, _, shared in self._shared for m in shared.built]
        if not built and self._shared:
            return [SharedModule(maker, "position", **self.offers)({})]
        return built


def _unbound(maker: Any) -> Any:
    while isinstance(maker, ScopedMaker):
        maker = maker.maker
    return {"name": maker} if isinstance(maker, str) else maker


def _share(maker: object) -> str:
    target, options, _ = resolve(maker, "position")
    option = signature_of(target).options.get("share")
    return options.get("share", option.default if option else getattr(target, "share", "entry"))
