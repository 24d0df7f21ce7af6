"""Every part that reads earlier positions equals its full pass with every exact cache, the masks it may have included."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

from components import build
from components.check.cached import decodes
from components.check.host import LENGTH, Host, ids
from components.check.subject import subject_of
from components.core.registry import entries

WINDOW = {"mask": {"name": "sliding_window", "window": 4}}
KINDS = ("attention", "position", "mask", "value", "sharing", "stack", "block", "embedding", "ffn", "scaling")
NAMES = sorted(e.label for (kind, _), e in entries().items() if kind in KINDS and not e.preset_of)


def hosts(name):
    subject = subject_of(name)
    if not decodes(Host.of(subject)) or {"cacheable", "causal"} & {*subject.lacks}:
        return []
    masked = name.startswith("attention/") and "mask" in subject.signature.options
    return [Host.of(subject), *([Host.of(subject_of(name, WINDOW))] if masked else [])]


def test_there_are_parts():
    assert sum(len(hosts(name)) for name in NAMES) > 80
    assert sum(len(hosts(name)) == 2 for name in NAMES) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_what_a_cache_says_is_all_that_it_keeps_alive(name):
    """A state that were a view of a prompt's activations would keep them."""
    for host in hosts(name):
        model, values, kept = host.model(), ids(), build("cache", "growing")
        for cut in (slice(0, 9), slice(9, 10)):
            host.run(model, values[:, cut], cache=kept)
            assert alive(kept) == kept.bytes()


def alive(cache):
    """Bytes of all storages behind buffers and states."""
    slots, logs = cache._slots.values(), cache._logs.values()
    buffers = [b for s in slots for b in (s.keys, s.values)] + [b for log in logs for b in log.lines.values()]
    held = [b.data for b in buffers] + [x for s in slots for x in pytree.tree_leaves(s.state)]
    storages = [x.untyped_storage() for x in held if isinstance(x, torch.Tensor)]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


@pytest.mark.parametrize("name", NAMES)
def test_cached_equals_the_full_pass(name):
    for host in hosts(name):
        model, values = host.model(), ids()
        whole = host.run(model, values)
        for cache in ("static", "ring"):
            kept = build("cache", cache)
            cuts = [(0, 5), (5, 6), (6, 7), (7, LENGTH)]
            found = torch.cat([host.run(model, values[:, a:b], cache=kept) for a, b in cuts], 1)
            assert torch.allclose(found, whole, rtol=0, atol=1e-6), (cache, host.subject.maker)
