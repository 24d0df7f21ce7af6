"""Masks: what is seen against the definition, the closed form of the number of cells against counting, and what is covered."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.flops import Work, flops_of
from components.core.sockets import SequenceInfo
from components.functional.attention_mask import MaskSpec

MASKS = [
    ("full", {}),
    ("sliding_window", {"window": 5}),
    ("chunked", {"size": 5}),
    ("chunked", {"size": 1}),
    ("blocks", {"size": 4, "back": 1}),
    ("blocks", {"size": 3, "back": 2}),
    ("blocks", {"size": 3, "back": 0}),
    ("dilated", {"window": 7, "stride": 2}),
    ("dilated", {"window": 6, "stride": 3}),
    ("dilated", {"window": 6, "stride": 1}),
    ("first_and_window", {"first": 2, "window": 5}),
    ("first_and_window", {"first": 5, "window": 2}),
]
each = pytest.mark.parametrize(
    ("name", "options"), MASKS, ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values()))
)


def seen(rule, length, causal, **changes):
    info = SequenceInfo(**{"positions": torch.arange(length)[None], **changes}, causal=causal)
    return MaskSpec(info, info, causal, rule).dense(torch.device("cpu"))[0, 0]


@each
@pytest.mark.parametrize("causal", [True, False])
def test_cells_are_what_counting_gives(name, options, causal):
    rule = build("mask", name, **options)
    for length in range(1, 24):
        assert rule.cells(length, causal) == int(seen(rule, length, causal).sum()), length


@each
def test_what_is_covered_hides_nothing_and_the_next_length_hides_something(name, options):
    rule = build("mask", name, **options)
    covered = [length for length in range(1, 24) if rule.covers(length)]
    for length in covered:
        assert rule.cells(length, True) == length * (length + 1) // 2
        assert rule.cells(length, False) == length * length
    if name != "full":
        after = max(covered, default=0) + 1
        assert rule.cells(after, False) < after * after


@each
def test_keys_tell_rules_apart(name, options):
    assert build("mask", name, **options).key == build("mask", name, **options).key
    others = [build("mask", n, **o).key for n, o in MASKS if (n, o) != (name, options)]
    assert build("mask", name, **options).key not in others


DEFINITIONS = {
    "chunked": lambda q, k: q // 5 == k // 5,
    "blocks": lambda q, k: 0 <= q // 4 - k // 4 <= 1,
    "dilated": lambda q, k: q - k < 7 and (q - k) % 2 == 0,
    "first_and_window": lambda q, k: q - k < 5 or k < 2,
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_definition(name):
    rule = build("mask", name, **dict(next(m for m in MASKS if m[0] == name)[1]))
    wanted = torch.tensor([[k <= q and DEFINITIONS[name](q, k) for k in range(20)] for q in range(20)])
    assert torch.equal(seen(rule, 20, True), wanted)


def test_chunks_and_first_positions_begin_anew_with_each_document():
    positions, documents = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]]), torch.tensor([[0] * 7 + [1] * 5])
    for rule in (build("mask", "chunked", size=4), build("mask", "first_and_window", first=1, window=2)):
        packed = seen(rule, 12, True, positions=positions, documents=documents)
        assert torch.equal(packed[:7, :7], seen(rule, 7, True))
        assert torch.equal(packed[7:, 7:], seen(rule, 5, True))
        assert not packed[7:, :7].any()


def test_the_chunked_preset_is_gqa_with_a_mask():
    one = build("attention", "chunked", d_model=16, n_heads=4, position="none")
    assert one.mask.key == ("chunked", 64)
    work = Work(100)
    hidden = flops_of(build("attention", "gqa", d_model=16, n_heads=4, position="none"), work).algorithm
    assert flops_of(one, work).algorithm < hidden
    assert (
        flops_of(one, work).executed
        == flops_of(build("attention", "gqa", d_model=16, n_heads=4, position="none"), work).executed
    )
