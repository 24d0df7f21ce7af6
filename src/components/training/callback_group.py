"""Several callbacks as one. Lightning calls and profiles every hook of every callback in every step, even hooks that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning.pytorch import Callback

STATE = ("state_dict", "load_state_dict", "state_key")
STATE_KEY = "Together"  # where a checkpoint has the states of the members: checkpoints outlive the class's name


class CallbackGroup(Callback):
    """At each hook calls, in order, the members that override it. The state of a member is kept under its class's name."""

    state_key = STATE_KEY  # type: ignore[assignment]  # read before each hook; a property would be a call

    def __init__(self, members: list[Callback]) -> None:
        self.members = members
        for hook in vars(Callback):
            if hook.startswith("_") or hook in STATE:
                continue
            calls = [getattr(m, hook) for m in members if getattr(type(m), hook) is not getattr(Callback, hook)]
            if calls:
                setattr(self, hook, calls[0] if len(calls) == 1 else _each(calls))

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {type(m).__name__: state for m in self.members if (state := m.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A member that the checkpoint does not know starts fresh."""
        for member in self.members:
            if type(member).__name__ in state_dict:
                member.load_state_dict(state_dict[type(member).__name__])


def _each(calls: list[Callable[..., None]]) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        for one in calls:
            one(*args, **kwargs)

    return call


def members_of(callbacks: Iterable[Callback]) -> Iterator[Callback]:
    """Each callback by itself, those of groups too."""
    for one in callbacks:
        yield from members_of(one.members) if isinstance(one, CallbackGroup) else (one,)
