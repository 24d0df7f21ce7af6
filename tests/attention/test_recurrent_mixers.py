"""RNN, LSTM and GRU against torch's, sLSTM, minGRU and minLSTM against the papers' loops; scans against one another; states through documents and padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import D, T, check_documents_and_padding, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.check import battery
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import SequenceInfo
from components.functional.parallel_scan import BLOCK, log_positive, log_scan, positive, scan, scan_reference
from components.functional.recurrent import STATE, last_of

MIXERS = ("rnn", "lstm", "gru", "slstm", "min_gru", "min_lstm")
CELLS = ("rnn", "lstm", "gru", "slstm")  # whose state can be handed on
FIVE = {"slstm": {"hidden": 5, "n_heads": 1}}  # channels; of two heads it would be an even number
every_mixer = pytest.mark.parametrize("name", MIXERS)


def five(name):
    return drawn(name, **FIVE.get(name, {"hidden": 5}))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_is_torchs(activation):
    part = drawn("rnn", hidden=5, activation=activation)
    theirs = torch.nn.RNN(D, 5, nonlinearity=activation, batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(part.input.weight)
        theirs.weight_hh_l0.copy_(part.recurrent.weight)
        theirs.bias_ih_l0.copy_(part.input.bias)
        theirs.bias_hh_l0.zero_()
    torch.testing.assert_close(part(inputs(), info()), part.out(theirs(inputs())[0]))


def test_lstm_is_torchs():
    part, theirs = drawn("lstm", hidden=5, forget_bias=0.0), torch.nn.LSTM(D, 5, batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(part.input.weight)
        theirs.weight_hh_l0.copy_(part.recurrent.weight)
        theirs.bias_ih_l0.copy_(part.input.bias)
        theirs.bias_hh_l0.zero_()
    torch.testing.assert_close(part(inputs(), info()), part.out(theirs(inputs())[0]))


def test_gru_is_torchs():
    part, theirs = drawn("gru", hidden=5), torch.nn.GRU(D, 5, batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(part.input.weight)
        theirs.weight_hh_l0.copy_(part.recurrent.weight)
        theirs.bias_ih_l0.copy_(part.input.bias)
        theirs.bias_hh_l0.copy_(part.recurrent.bias)
    torch.testing.assert_close(part(inputs(), info()), part.out(theirs(inputs())[0]))


def test_slstm_is_the_papers_loop_with_its_gradients():
    """Equations 8 to 14, with no exponent taken out of anything, head by head."""
    part = drawn("slstm", hidden=6, n_heads=2, conv_size=None, forget_bias=0.5)
    mine, its = inputs().requires_grad_(), inputs().requires_grad_()
    c, n, h = (torch.zeros(2, 6, dtype=torch.float64) for _ in range(3))
    read = []
    for t in range(T):
        back = torch.stack([h[:, 3 * a : 3 * a + 3] @ part.recurrent.weight[a] for a in range(2)], 1)  # (B, heads, 4 * 3)
        z, o, i, f = (getattr(part, name)(its[:, t]) + back[..., 3 * g : 3 * g + 3].flatten(1) for g, name in enumerate("zoif"))
        keep, write = torch.sigmoid(f + 0.5), torch.exp(i)
        c, n = keep * c + write * torch.tanh(z), keep * n + write
        h = torch.sigmoid(o) * c / n
        read.append(h)
    normed = torch.cat(
        [
            F.layer_norm(y, (3,)) * part.output_norm.weight[a] + part.output_norm.bias[a]
            for a, y in enumerate(torch.stack(read, 1).split(3, -1))
        ],
        -1,
    )
    wanted, got = part.out(normed), part(mine, info())
    torch.testing.assert_close(got, wanted)
    grads = [torch.autograd.grad(y.sin().sum(), [x, *part.parameters()]) for y, x in ((got, mine), (wanted, its))]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)
    assert all(float(g.abs().max()) > 1e-6 for g in grads[0])


def test_exponentials_of_slstm_stay_in_range():
    """exp(300) is no number of fp32, and exp(-300) is 0: weights of a mean are neither."""
    part = drawn("slstm").float()
    with torch.no_grad():
        part.i.weight *= 300.0
    x = inputs().float().requires_grad_()
    assert part.i(x).max() > 300
    assert part.i(x).min() < -300
    y = part(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in (x, *part.parameters()))
    assert y.abs().max() > 1e-2


def test_forget_bias_is_a_constant_on_the_forget_gate():
    part, shifted = drawn("lstm", forget_bias=0.0), drawn("lstm", forget_bias=1.5)
    with torch.no_grad():
        part.input.bias[D : 2 * D] += 1.5
    torch.testing.assert_close(shifted(inputs(), info()), part(inputs(), info()))


def test_min_gru_is_the_papers_loop():
    part, x = drawn("min_gru", hidden=5), inputs()
    h, read = torch.zeros(2, 5, dtype=torch.float64), []
    for t in range(T):
        z, c = torch.sigmoid(part.gate(x[:, t])), part.candidate(x[:, t])
        h = (1 - z) * h + z * torch.where(c >= 0, c + 0.5, torch.sigmoid(c))
        read.append(h)
    torch.testing.assert_close(part(x, info()), part.out(torch.stack(read, 1)))


@pytest.mark.parametrize("forget_bias", [0.0, 2.0])
def test_min_lstm_is_the_papers_loop(forget_bias):
    part, x = drawn("min_lstm", hidden=5, forget_bias=forget_bias), inputs()
    h, read = torch.zeros(2, 5, dtype=torch.float64), []
    for t in range(T):
        f, i = torch.sigmoid(part.forget(x[:, t]) + forget_bias), torch.sigmoid(part.write(x[:, t]))
        c = part.candidate(x[:, t])
        h = f / (f + i) * h + i / (f + i) * torch.where(c >= 0, c + 0.5, torch.sigmoid(c))
        read.append(h)
    torch.testing.assert_close(part(x, info()), part.out(torch.stack(read, 1)))


@pytest.mark.parametrize("length", [1, 2, 7, 64, BLOCK + 1, 2 * BLOCK])
@pytest.mark.parametrize("begun", [False, True])
def test_scans_agree_in_values_and_gradients(length, begun):
    generator = torch.Generator().manual_seed(length)
    logits, values = (torch.randn(2, length, 3, dtype=torch.float64, generator=generator) * 3 for _ in range(2))
    first = torch.rand(2, 3, dtype=torch.float64, generator=generator) if begun else None
    weight = torch.randn(2, length, 3, dtype=torch.float64, generator=generator)

    def run(form):
        leaves = [logits.clone().requires_grad_(), values.clone().requires_grad_()]
        log_a, log_b = F.logsigmoid(leaves[0]), F.logsigmoid(-leaves[0]) + log_positive(leaves[1])
        h = form(log_a, log_b)
        (h * weight).sum().backward()
        return [h.detach(), *(leaf.grad for leaf in leaves)]

    wanted = run(lambda a, b: scan_reference(a.exp(), b.exp(), first))
    for form in (lambda a, b: scan(a.exp(), b.exp(), first), lambda a, b: log_scan(a, b, first)):
        for got, want in zip(run(form), wanted, strict=True):
            torch.testing.assert_close(got, want)


def test_the_scan_may_forget_all_and_keep_all():
    a = torch.tensor([0.5, 1.0, 0.0, 1.0, 0.25]).double().view(1, 5, 1)
    b = torch.tensor([1.0, 0.0, 3.0, 0.0, 1.0]).double().view(1, 5, 1)
    assert scan(a, b, torch.tensor([[2.0]]).double()).flatten().tolist() == [2.0, 2.0, 3.0, 3.0, 1.75]
    assert scan_reference(a, b, torch.tensor([[2.0]]).double()).flatten().tolist() == [2.0, 2.0, 3.0, 3.0, 1.75]


@pytest.mark.parametrize("gates", ["drawn", "from end to end"])
def test_log_space_holds_in_fp32_over_a_long_sequence(gates):
    """Sums of logarithms over all 2000 positions at once would be off by 1e-4."""
    drawn_gates = torch.randn(1, 2000, 1, generator=torch.Generator().manual_seed(0))
    logits = drawn_gates if gates == "drawn" else torch.linspace(-30, 30, 2000).view(1, 2000, 1)
    log_a, log_b = F.logsigmoid(-logits), F.logsigmoid(logits)
    wanted = scan_reference(log_a.double().exp(), log_b.double().exp())
    for got in (log_scan(log_a, log_b), scan(log_a.exp(), log_b.exp())):
        torch.testing.assert_close(got.double(), wanted, rtol=3e-5, atol=1e-30)


def test_the_positive_map_is_smooth_where_its_halves_meet():
    x = torch.tensor([-1e-9, 0.0, 1e-9, -40.0, 40.0], dtype=torch.float64, requires_grad=True)
    y = positive(x)
    torch.testing.assert_close(log_positive(x), y.log())
    assert (y > 0).all()
    assert y[:3].tolist() == pytest.approx([0.5] * 3)


def carried(part, x, info, begin=()):
    """The output and the states after each position of a recurrence that begins with ``begin``."""
    out = {}
    return part(x, info.with_(carry={STATE: begin}, out=out)), out[STATE]


@pytest.mark.parametrize("name", CELLS)
def test_a_state_that_is_handed_on_goes_on(name):
    """The first half's last state and the second half are the whole; gradients pass on; padding leaves the state alone."""
    part, x = five(name), inputs().requires_grad_()
    whole, states = carried(part, x, info())
    unasked = info()
    assert torch.equal(part(x, unasked), whole)
    assert not unasked.out
    assert all(s.shape == (2, T, 5) for s in states)
    first = carried(part, x[:, :4], info(4))[1]
    rest, _ = carried(part, x[:, 4:], info(3), last_of(first, info(4)))
    torch.testing.assert_close(rest, whole[:, 4:])
    (gradient,) = torch.autograd.grad(rest.sum(), x)
    assert (gradient[:, 0] != 0).all()
    longer = torch.cat((x[:, :4], x[:, :2]), 1)
    valid = (torch.arange(6) < 4)[None].expand(2, -1)
    padded = last_of(carried(part, longer, info(6, valid=valid))[1], info(6, valid=valid))
    for a, b in zip(padded, last_of(first, info(4)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("chunk", [T, 1, 3])
def test_each_document_begins_with_a_state_of_its_own(name, chunk):
    """Padding before, between and within; the state of a place where no document begins is never read."""
    part, x = five(name), inputs(1, 9)
    count = {"lstm": 2, "slstm": 4}.get(name, 1)
    begin = tuple(torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(i)).double() for i in range(count))
    valid = torch.tensor([[False, True, True, False, True, False, True, True, True]])
    documents = torch.tensor([[4, 0, 0, 0, 0, 0, 1, 1, 1]])
    cache, out = build("cache", "growing"), []
    for at in range(0, 9, chunk):
        here = slice(at, at + chunk)
        given = {"valid": valid[:, here], "documents": documents[:, here], "positions": torch.arange(9)[None, here]}
        step = SequenceInfo(**given, cache=cache)
        cache.open(step.with_(ids=torch.zeros_like(given["documents"])))
        which = given["documents"].clamp(max=1)[..., None].expand(-1, -1, 5)
        out.append(carried(part, x[:, here], step, tuple(b.gather(1, which) for b in begin))[0])
    whole = torch.cat(out, 1)
    for n, places in ((0, [1, 2, 4]), (1, [6, 7, 8])):
        alone, _ = carried(part, x[:, places], info(3), tuple(b[:, n] for b in begin))
        torch.testing.assert_close(whole[:, places], alone)


@every_mixer
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_the_full_pass(name, chunk):
    part = five(name)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


@pytest.mark.parametrize(
    ("name", "options"),
    [*((n, {}) for n in MIXERS), *((n, {"conv_size": 3}) for n in ("slstm", "min_gru", "min_lstm"))],
    ids=str,
)
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(name, options, chunk):
    check_documents_and_padding(drawn(name, **options), chunk)


@every_mixer
def test_reads_from_left_to_right_in_an_encoder_too(name):
    part = drawn(name)
    assert torch.equal(part(inputs(), info(causal=False)), part(inputs(), info()))


@every_mixer
def test_a_snapshot_keeps_its_state(name):
    part, x = drawn(name), inputs()
    cache = build("cache", "growing")

    def step(t):
        at = info(1, cache=cache, positions=torch.tensor([[t]]))
        cache.open(at.with_(ids=torch.zeros(2, 1, dtype=torch.long)))
        return part(x[:, t : t + 1], at)

    step(0)
    snapshot = cache.snapshot()
    first = step(1)
    step(2)
    cache.restore(snapshot)
    assert torch.equal(step(1), first)
    cache.reorder(torch.tensor([1, 1, 0]))
    x = x[[1, 1, 0]]
    at = info(1, cache=cache, positions=torch.tensor([[2]]))
    cache.open(at.with_(ids=torch.zeros(3, 1, dtype=torch.long)))
    torch.testing.assert_close(part(x[:, 2:3], at), part(x[:, :3], info(3))[:, 2:])


@every_mixer
def test_flops(name):
    part = five(name)
    assert reported(part, 9).executed == counted(part, 9)
    gates = {"rnn": D + 5, "lstm": 4 * (D + 5), "slstm": 4 * (D + 5), "gru": 3 * (D + 5), "min_gru": 2 * D, "min_lstm": 3 * D}[
        name
    ]
    assert reported(part, 9) == (9 * 2 * 5 * (gates + D),) * 2


@every_mixer
def test_takes_positions_that_are_added_and_refuses_those_that_rotate(name):
    sizes = {"vocab_size": 11, "d_model": D, "n_layers": 1, "context_length": T}
    model = build("model", "decoder", **sizes, attention=name, position="learned")
    model(torch.zeros(1, T, dtype=torch.long)).sum().backward()
    (table,) = [p for n, p in model.named_parameters() if n.endswith("table.weight") and p.shape[0] == T]
    assert (table.grad != 0).any()
    with pytest.raises(UserError, match=f"rope needs rotates of its attention, and attention/{name} .* does not provide it"):
        compose("gpt_python", [f"model/attention={name}"])


@pytest.mark.parametrize(
    "case", [c for n in ("slstm", "min_gru", "min_lstm") for c in battery(f"attention/{n}", ["conv_size=4"])], ids=str
)
def test_contract_with_a_convolution(case):
    case()
