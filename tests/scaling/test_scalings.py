"""Scalings of rotary frequencies: against transformers' numbers, per document, and through the rotation."""

from __future__ import annotations

import itertools

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.sockets import SequenceInfo

# (part, context_length, length of the document, options, frequencies, factor). The last two columns are what ROPE_INIT_FUNCTIONS of
# transformers 5.23.0 gave for head_dim 16, rope_theta 10000, max_position_embeddings = context_length and the same options under their
# names there (factor, original_max_position_embeddings, partial_rotary_factor, ...), run on 2026-11-22 on a CPU.
TRANSFORMERS = [
    (
        "linear",
        64,
        1,
        {"factor": 4.0},
        [0.25, 0.07905694, 0.025, 0.007905695, 0.0025, 0.0007905695, 0.00025, 7.905695e-05],
        1.0,
    ),
    (
        "yarn",
        4096,
        1,
        {"factor": 4.0, "original_context": 1024},
        [1.0, 0.3162278, 0.08125, 0.01976424, 0.004375, 0.0007905695, 0.00025, 7.905695e-05],
        1.138629436111989,
    ),
    (
        "yarn",
        131072,
        1,
        {"factor": 32.0, "original_context": 4096, "truncate": False},
        [1.0, 0.3162278, 0.1, 0.02773594, 0.005552754, 0.0007382769, 3.125e-05, 9.882118e-06],
        1.3465735902799727,
    ),
    (
        "yarn",
        4096,
        1,
        {"original_context": 1024, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.707},
        [1.0, 0.3162278, 0.1, 0.01976424, 0.0025, 0.0007905695, 0.00025, 7.905695e-05],
        1.036992729910394,
    ),
    (
        "yarn",
        4096,
        1,
        {"factor": 40.0, "original_context": 1024, "attention_factor": 1.25},
        [1.0, 0.3162278, 0.075625, 0.01620667, 0.0026875, 7.905695e-05, 2.5e-05, 7.905694e-06],
        1.25,
    ),
    (
        "llama3",
        8192,
        1,
        {"factor": 8.0, "original_context": 512},
        [1.0, 0.3162278, 0.1, 0.01849668, 0.00125, 0.0003952847, 0.000125, 3.952847e-05],
        1.0,
    ),
    (
        "llama3",
        8192,
        1,
        {"factor": 16.0, "original_context": 512, "high_freq_factor": 1.0},
        [1.0, 0.3162278, 0.1, 0.03162278, 0.000625, 0.0001976424, 6.25e-05, 1.976424e-05],
        1.0,
    ),
    (
        "longrope",
        4096,
        1024,
        {
            "original_context": 1024,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
            "long_factor": [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        },
        [1.0, 0.2874798, 0.08333334, 0.02432521, 0.007142857, 0.002108185, 0.000625, 0.0001860163],
        1.0954451150103321,
    ),
    (
        "longrope",
        4096,
        1025,
        {
            "original_context": 1024,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
            "long_factor": [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        },
        [0.6666667, 0.1581139, 0.03333334, 0.007905695, 0.002, 0.0005270463, 0.0001428571, 3.952847e-05],
        1.0954451150103321,
    ),
    (
        "longrope",
        4096,
        1025,
        {"original_context": 1024, "factor": 8.0, "long_factor": [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]},
        [0.6666667, 0.1581139, 0.03333334, 0.007905695, 0.002, 0.0005270463, 0.0001428571, 3.952847e-05],
        1.140175425099138,
    ),
    ("dynamic_ntk", 64, 64, {"factor": 2.0}, [1.0, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 0.0003162278], 1.0),
    (
        "dynamic_ntk",
        64,
        200,
        {"factor": 2.0},
        [1.0, 0.2495285, 0.06226445, 0.01553675, 0.003876863, 0.0009673875, 0.0002413907, 6.023386e-05],
        1.0,
    ),
    ("proportional", 64, 1, {"fraction": 0.25}, [1.0, 0.3162278, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1.0),
    ("proportional", 64, 1, {"fraction": 0.7, "divisor": 2.0}, [0.5, 0.1581139, 0.05, 0.01581139, 0.005, 0.0, 0.0, 0.0], 1.0),
]


def frequencies(width=16, base=10000.0):
    return base ** (-torch.arange(0, width, 2).float() / width)


def at(length, **changes):
    return SequenceInfo(**{"positions": torch.arange(length)[None], **changes})


@pytest.mark.parametrize(("name", "context", "length", "options", "wanted", "factor"), TRANSFORMERS)
def test_numbers_of_transformers(name, context, length, options, wanted, factor):
    part = build("scaling", name, width=16, base=10000.0, context_length=context, **options)
    torch.testing.assert_close(part.scale(frequencies(), at(length)).reshape(-1), torch.tensor(wanted), rtol=1e-5, atol=1e-9)
    assert part.factor == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize("name", ["linear", "yarn"])
def test_a_factor_follows_from_the_two_contexts(name):
    derived = build("scaling", name, width=16, base=10000.0, context_length=64, original_context=16)
    given = build("scaling", name, width=16, base=10000.0, context_length=64, original_context=16, factor=4.0)
    assert torch.equal(derived.scale(frequencies(), at(1)), given.scale(frequencies(), at(1)))
    assert not torch.allclose(given.scale(frequencies(), at(1)), frequencies())


@pytest.mark.parametrize("name", ["linear", "yarn"])
def test_nothing_is_stretched_where_nothing_was_said(name):
    part = build("scaling", name, width=16, base=10000.0, context_length=64)
    torch.testing.assert_close(part.scale(frequencies(), at(1)), frequencies())
    assert part.factor == 1.0


def rope(scaling, context=8):
    return build("position", "rope", head_dim=16, context_length=context, scaling=scaling)


def q(rows=1, length=24):
    return torch.randn(rows, 2, length, 16, generator=torch.Generator().manual_seed(0))


BY_LENGTH = [{"name": "dynamic_ntk", "factor": 2.0}, {"name": "longrope", "long_factor": [2.0] * 8}]


@pytest.mark.parametrize("scaling", BY_LENGTH, ids=lambda s: s["name"])
def test_each_row_and_each_document_has_the_length_of_its_own(scaling):
    part, x = rope(scaling), q(2)
    documents = torch.tensor([[0] * 20 + [1] * 4, [0] * 5 + [1] * 19])
    positions = torch.cat((torch.arange(20), torch.arange(4), torch.arange(5), torch.arange(19))).view(2, 24)
    packed, _ = part.rotate(x, x, *[SequenceInfo(positions=positions, documents=documents)] * 2)
    for row, cuts in ((0, (0, 20, 24)), (1, (0, 5, 24))):
        for a, b in itertools.pairwise(cuts):
            alone, _ = part.rotate(x[row : row + 1, :, a:b], x[row : row + 1, :, a:b], *[at(b - a)] * 2)
            torch.testing.assert_close(packed[row : row + 1, :, a:b], alone)
    plain, _ = build("position", "rope", head_dim=16).rotate(
        x, x, *[SequenceInfo(positions=positions, documents=documents)] * 2
    )
    assert torch.allclose(plain[0, :, 20:], packed[0, :, 20:], atol=1e-6)  # 4 positions: within the context
    assert not torch.allclose(plain[0, :, :20], packed[0, :, :20], atol=1e-3)


@pytest.mark.parametrize("scaling", BY_LENGTH, ids=lambda s: s["name"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_count_as_length(scaling, side):
    part, x = rope(scaling), q()
    valid = torch.ones(1, 24, dtype=torch.bool)
    kept = slice(16, 24) if side == "left" else slice(0, 8)  # exactly the context: nothing is stretched
    valid[:] = False
    valid[:, kept] = True
    positions = torch.zeros(1, 24, dtype=torch.long)
    positions[:, kept] = torch.arange(8)
    if side == "right":
        positions[:, 8:] = 8  # as the model counts: valid tokens before
    padded, _ = part.rotate(x, x, *[SequenceInfo(positions=positions, valid=valid)] * 2)
    alone, _ = part.rotate(x[:, :, kept], x[:, :, kept], at(8), at(8))
    torch.testing.assert_close(padded[:, :, kept], alone)


def test_longrope_turns_a_whole_text_by_the_list_of_its_length_and_one_call_at_a_time_by_what_it_sees():
    part, x = rope({"name": "longrope", "short_factor": [1.5] * 8, "long_factor": [3.0] * 8, "factor": 1.0}), q(length=9)
    short, long = (
        rope({"name": "longrope", f"{n}_factor": [f] * 8, "factor": 1.0}) for n, f in (("short", 1.5), ("long", 3.0))
    )
    assert part.scaling.turns_at == 8
    whole, _ = part.rotate(x, x, at(9), at(9))
    torch.testing.assert_close(whole, long.rotate(x, x, at(9), at(9))[0])  # the first positions, too
    before, _ = part.rotate(x[:, :, :8], x[:, :, :8], at(8), at(8))
    torch.testing.assert_close(before, short.rotate(x[:, :, :8], x[:, :, :8], at(8), at(8))[0])
    assert not torch.allclose(before, whole[:, :, :8], atol=1e-3)  # what a cache keeps is not what a full pass has
    new = SequenceInfo(positions=torch.tensor([[8]]))
    torch.testing.assert_close(part.rotate(x[:, :, 8:], x[:, :, 8:], new, new)[0], whole[:, :, 8:])


def test_factor_lengthens_what_was_rotated():
    part, x = rope({"name": "yarn", "factor": 4.0}), q()
    turned, _ = part.rotate(x, x, at(24), at(24))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1) * part.scaling.factor)
    assert part.scaling.factor > 1.1


def test_proportional_leaves_slow_pairs_where_they_are():
    part = build("position", "rope", head_dim=16, layout="half", scaling={"name": "proportional", "fraction": 0.25})
    turned, _ = part.rotate(q(), q(), at(24), at(24))
    still = [*range(2, 8), *range(10, 16)]
    assert torch.equal(turned[..., still], q()[..., still])
    assert not torch.allclose(turned[:, :, 1:, [0, 1, 8, 9]], q()[:, :, 1:, [0, 1, 8, 9]])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {}, "no context_length here"),
        ("yarn", {"factor": 2.0}, "no context_length here"),
        (
            "llama3",
            {"context_length": 8, "low_freq_factor": 5.0},
            r"low_freq_factor=5.0 must not be above high_freq_factor=4.0",
        ),
        (
            "longrope",
            {"context_length": 8, "long_factor": [1.0]},
            "long_factor has 1 numbers, and 16 rotated channels are 8 pairs",
        ),
        ("dynamic_ntk", {"context_length": 8, "width": 2}, "2 rotated channels are one pair"),
    ],
)
def test_what_cannot_be_is_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        build("scaling", name, **{"width": 16, "base": 10000.0, **options})
