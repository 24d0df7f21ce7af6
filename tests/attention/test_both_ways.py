"""Both ways: two mixers and a reversal, against torch's bidirectional LSTM; documents and padding; what it hands on; where it cannot work."""

from __future__ import annotations

import pytest
import torch
from mixer_tools import D, T, counted, drawn, info, inputs, reported
from torch import nn

from components import build
from components.core.sockets import Place, SequenceInfo
from components.parts.attention.both_ways import turned

PAIRS = [("lstm", "lstm"), ("min_gru", "rwkv7"), ("gru", {"name": "gqa", "n_heads": 2, "position": "rope"})]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize(("combine", "factor"), [("sum", 1.0), ("mean", 0.5)])
def test_formula(pair, combine, factor):
    part, x = drawn("both_ways", forward_mixer=pair[0], backward_mixer=pair[1], combine=combine), inputs()
    right = part.backward_mixer(x.flip(1), info()).flip(1)
    torch.testing.assert_close(part(x, info(causal=False)), factor * (part.forward_mixer(x, info()) + right))


def test_two_lstms_are_torchs_bidirectional_one():
    lstm = {"name": "lstm", "hidden": 5, "forget_bias": 0.0}
    part = drawn("both_ways", forward_mixer=lstm, backward_mixer=lstm)
    theirs = nn.LSTM(D, 5, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for mixer, suffix in ((part.forward_mixer, ""), (part.backward_mixer, "_reverse")):
            getattr(theirs, f"weight_ih_l0{suffix}").copy_(mixer.input.weight)
            getattr(theirs, f"weight_hh_l0{suffix}").copy_(mixer.recurrent.weight)
            getattr(theirs, f"bias_ih_l0{suffix}").copy_(mixer.input.bias)
            getattr(theirs, f"bias_hh_l0{suffix}").zero_()
    left, right = theirs(inputs())[0].chunk(2, -1)
    wanted = part.forward_mixer.out(left) + part.backward_mixer.out(right)
    torch.testing.assert_close(part(inputs(), info(causal=False)), wanted)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_documents_and_padding_anywhere(pair):
    part, x = drawn("both_ways", forward_mixer=pair[0], backward_mixer=pair[1]), inputs(1, 9)
    valid = torch.tensor([[False, True, True, False, True, False, True, True, True]])
    documents = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1]])
    positions = torch.tensor([[0, 0, 1, 2, 2, 3, 0, 1, 2]])
    out = part(x, info(9, valid=valid, documents=documents, positions=positions, causal=False))
    for document in ([1, 2, 4], [6, 7, 8]):
        torch.testing.assert_close(out[:, document], part(x[:, document], info(3, causal=False)), rtol=1e-5, atol=1e-6)


def test_every_position_knows_every_other_and_the_prefix_is_no_matter():
    part = drawn("both_ways")
    for at in range(T):
        changed = inputs()
        changed[:, at] += 1
        moved = (part(changed, info(causal=False)) - part(inputs(), info(causal=False))).abs().amax((0, 2))
        assert (moved > 0).all()
    gqa = {"name": "gqa", "position": "none"}
    attention = drawn("both_ways", forward_mixer=gqa, backward_mixer=gqa)
    prefix = info(causal=False, prefix=torch.tensor([3, 3]))
    assert torch.equal(attention(inputs(), prefix), attention(inputs(), info(causal=False)))


def test_positions_of_the_reverse_count_from_the_other_end():
    documents = torch.tensor([[0, 0, 0, 1, 1]])
    valid = torch.tensor([[True, True, True, True, False]])
    given = SequenceInfo(ids=torch.arange(5)[None], positions=torch.tensor([[0, 1, 2, 0, 1]]), documents=documents, valid=valid)
    back = turned(torch.zeros(1, 5, D), given)
    assert back.ids.tolist() == [[4, 3, 2, 1, 0]]
    assert back.documents.tolist() == [[1, 1, 0, 0, 0]]
    assert back.valid.tolist() == [[False, True, True, True, True]]
    assert back.positions.tolist() == [[0, 0, 0, 1, 2]]


def test_what_the_reverse_reader_hands_on_is_for_reverse_readers_alone():
    both = {"forward_mixer": "rwkv7", "backward_mixer": "rwkv7"}
    first, second = drawn("both_ways", **both, place=Place(0, 2)), drawn("both_ways", **both, place=Place(1, 2))
    at = info(causal=False)
    first(inputs(), at)
    assert set(at.out) == {"rwkv7_first_value", "reversed.rwkv7_first_value"}
    torch.testing.assert_close(
        at.out["rwkv7_first_value"][:, 0], first.forward_mixer.v(inputs()[:, 0] * (1 - first.forward_mixer.shift_v))
    )
    out = second(inputs(), info(causal=False, carry=at.out))
    for word in at.out:
        changed = {**at.out, word: at.out[word] + 1}
        assert not torch.allclose(second(inputs(), info(causal=False, carry=changed)), out), word


class Costly(nn.Module):
    """A mixer with a loss of its own."""

    def forward(self, x, info):
        info.out["loss.size"] = (x.sum(), torch.tensor(2.0))
        return x


def test_losses_of_both_readers_add_up():
    part = build("attention", "both_ways", d_model=D, forward_mixer=lambda: Costly(), backward_mixer=lambda: Costly())
    at = info(causal=False)
    part(inputs(), at)
    total, weight = at.out["loss.size"]  # the mean of both is the sum of their means
    torch.testing.assert_close(total / weight, inputs().sum())


def test_decoding_is_refused():
    with pytest.raises(ValueError, match="cannot decode with a cache: use it in encoders"):
        drawn("both_ways")(inputs(), info(cache=build("cache", "growing")))


@pytest.mark.parametrize("pair", PAIRS[:2], ids=str)
def test_flops(pair):
    part = drawn("both_ways", forward_mixer=pair[0], backward_mixer=pair[1])
    assert reported(part, 9, causal=False).executed == counted(part, 9, causal=False)


def test_flops_count_what_two_causal_readers_see():
    gqa = {"name": "gqa", "position": "none"}
    part = drawn("both_ways", forward_mixer=gqa, backward_mixer=gqa)
    found = reported(part, 9, causal=False)
    assert found.executed == counted(part, 9, causal=False)
    assert found.executed - found.algorithm == 2 * 4 * D * (81 - 45)
