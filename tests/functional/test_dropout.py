"""Dropout by samples: the same draws however rows are cut into batches; even, and unlike from row to row, call to call, place to place."""

from __future__ import annotations

import pytest
import torch

from components.core.draws import DRAWS, drawn_for, repeatable
from components.functional.dropout import dropout_of, kept_rows

SAMPLES = torch.arange(100, 164)


def drawn(samples, shape, p=0.3, seed=3, calls=1):
    with drawn_for(seed, samples):
        return [dropout_of(torch.ones(len(samples), *shape, dtype=torch.float64), p) for _ in range(calls)]


def test_a_row_draws_the_same_wherever_it_stands():
    whole = drawn(SAMPLES, (8, 6), calls=3)
    for part in (slice(0, 16), slice(5, 6), slice(40, 64)):
        for all_rows, rows in zip(whole, drawn(SAMPLES[part], (8, 6), calls=3)):
            assert torch.equal(all_rows[part], rows)
    turned = SAMPLES.flip(0)
    assert torch.equal(drawn(turned, (8, 6))[0], whole[0].flip(0))


def test_a_row_that_is_padded_further_draws_the_same_where_it_was():
    (short,), (long,) = drawn(SAMPLES, (2, 5, 5)), drawn(SAMPLES, (2, 9, 9))
    assert torch.equal(short, long[:, :, :5, :5])


def test_tokens_of_rows_one_after_the_other_draw_as_the_rows_do():
    (rows,) = drawn(SAMPLES, (8, 6))
    with drawn_for(3, SAMPLES):
        flat = dropout_of(torch.ones(64 * 8, 6, dtype=torch.float64), 0.3)
    assert torch.equal(flat, rows.flatten(0, 1))


def test_kept_numbers_are_scaled_and_as_many_as_they_should_be():
    for p in (0.01, 0.1, 0.5, 0.9):
        (y,) = drawn(SAMPLES, (64, 128), p)
        assert set(y.unique().tolist()) == {0.0, 1 / (1 - p)}
        share, sd = (y > 0).double().mean().item(), (p * (1 - p) / y.numel()) ** 0.5
        assert abs(share - (1 - p)) < 4 * sd


def test_rows_calls_seeds_and_places_are_unlike():
    one, two = ((y > 0).double() - 0.7 for y in drawn(SAMPLES, (64, 64), calls=2))
    other = (drawn(SAMPLES, (64, 64), seed=4)[0] > 0).double() - 0.7
    pairs = {
        "calls": (one, two),
        "seeds": (one, other),
        "rows": (one[1:], one[:-1]),
        "positions": (one[:, 1:], one[:, :-1]),
        "features": (one[..., 1:], one[..., :-1]),
    }
    for name, (a, b) in pairs.items():
        assert abs((a * b).mean().item() / 0.21) < 4 * a.numel() ** -0.5, name
    among = torch.corrcoef(one.flatten(1))[~torch.eye(64, dtype=torch.bool)]
    assert among.std().item() == pytest.approx(64**-1.0, rel=0.1)  # as of independent rows of 64 x 64


def test_where_nobody_says_the_samples_it_is_torchs_own():
    x = torch.ones(4, 5)
    torch.manual_seed(1)
    ours = dropout_of(x, 0.4)
    torch.manual_seed(1)
    assert torch.equal(ours, torch.nn.functional.dropout(x, 0.4))
    assert dropout_of(x, 0.4, False) is x
    with drawn_for(0, None):
        assert DRAWS.keys is None


def test_whole_rows_are_dropped_by_sample():
    with drawn_for(1, SAMPLES):
        whole = kept_rows(torch.ones(64, 3, 2), 0.5)
    with drawn_for(1, SAMPLES[7:9]):
        assert torch.equal(kept_rows(torch.ones(2, 3, 2), 0.5), whole[7:9])
    assert whole.shape == (64, 1, 1)
    assert 16 < whole.sum() < 48


def test_what_is_computed_again_draws_the_same():
    x = torch.ones(64, 9)
    with drawn_for(3, SAMPLES):
        run = repeatable(lambda: dropout_of(dropout_of(x, 0.3), 0.3))
        first, after = run(), dropout_of(x, 0.3)
    assert torch.equal(run(), first)
    assert DRAWS.keys is None
    assert not torch.equal(after, drawn(SAMPLES, (9,), calls=2)[1].float())  # the third draw is none of the first two
