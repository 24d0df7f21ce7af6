"""The mlp: the numbers of the 4-3-2 network, a perceptron with and without a threshold, a window over characters."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.sockets import Batch, Terms
from components.core.weights import roles
from components.training.objectives import need_layers

LEAF = (32.0, 107.0, 56.0, 11.2)
FIRST = torch.tensor([0.10, -0.29, -0.07, 0.46])  # the weights of the first hidden unit


def rows(*numbers):
    values = torch.tensor(numbers)[:, None]
    return Batch(torch.zeros(len(numbers), 1, dtype=torch.long), values=values)


def network(**options):
    """4 inputs, 3 hidden units, 2 classes."""
    head = {"name": "classification", "n_classes": 2}
    return build("model", "mlp", vocab_size=1, d_model=4, hidden=[3], embedding="values", head=head, **options).eval()


@torch.no_grad()
def hidden_sums(model, batch):
    """(B, T, H) what the first layer gives before its activation."""
    found = []
    handle = model.layers[0].register_forward_hook(lambda *given: found.append(given[-1]))
    model(batch)
    handle.remove()
    return found[0]


def test_the_four_three_two_network():
    plain, biased = network(bias=False), network()
    for model in (plain, biased):
        with torch.no_grad():
            model.layers[0].weight[0] = FIRST
    assert plain.layers[0].weight.shape == (3, 4)
    assert plain.head.logits.weight.shape == (2, 3)
    assert hidden_sums(plain, rows(LEAF))[0, 0, 0].item() == pytest.approx(-26.598, abs=1e-4)
    with torch.no_grad():
        biased.layers[0].bias[0] = 0.25
    assert hidden_sums(biased, rows(LEAF))[0, 0, 0].item() == pytest.approx(-26.348, abs=1e-4)  # the texts round: -26.6, -26.35


def test_its_hidden_units_and_scores():
    """Hidden sums -26.6, 2.52 and -47.1 become 0, 2.52 and 0; scores 0.8 and 0.2 become 0.6457 and 0.3543."""
    model = network(bias=False)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.diag(torch.ones(4))[:3])
        model.head.logits.weight.copy_(torch.tensor([[5.0, 0.8 / 2.52, 7.0], [-5.0, 0.2 / 2.52, 3.0]]))
    batch = rows((-26.6, 2.52, -47.1, 1e6))
    seen = []

    def objective(hidden, *rest):  # noqa: ARG001  the contract's arguments
        seen.append(hidden)
        return Terms()

    model(batch, objective)
    torch.testing.assert_close(seen[0][0, 0], torch.tensor([0.0, 2.52, 0.0]))
    torch.testing.assert_close(model(batch).softmax(-1), torch.tensor([[0.6457, 0.3543]]), atol=5e-5, rtol=0)


def test_layers_without_activation_are_one_layer():
    """What the texts prove of a network that nothing bends."""
    torch.manual_seed(0)
    model = network(activation="identity")
    for p in model.parameters():
        torch.nn.init.normal_(p)
    first, last = model.layers[0], model.head.logits
    x = torch.tensor([LEAF])
    want = x @ (last.weight @ first.weight).T + last.weight @ first.bias + last.bias
    torch.testing.assert_close(model(rows(LEAF)), want)


def perceptron(activation, bias):
    """One unit: 0.5, 0.1 and 0.4 as the weights of three votes."""
    head = {"name": "regression", "activation": activation, "bias": bias}
    model = build("model", "mlp", vocab_size=1, d_model=3, hidden=[], embedding="values", head=head)
    with torch.no_grad():
        model.head.amounts.weight.copy_(torch.tensor([[0.5, 0.1, 0.4]]))
        if bias:
            model.head.amounts.bias.fill_(-0.5)  # the threshold
    return model


def test_a_score_says_how_to_change_the_weights_and_a_threshold_does_not():
    votes = rows((0.1, 0.1, 0.4))
    graded, threshold = perceptron("identity", bias=False), perceptron("step", bias=True)
    score, vote = graded(votes), threshold(votes)
    assert score.item() == pytest.approx(0.22)
    assert abs(score.item() - 0.6) == pytest.approx(0.38)
    assert vote.item() == 0.0
    assert threshold(rows((0.9, 0.9, 0.9))).item() == 1.0
    score.sum().backward()
    vote.sum().backward()
    torch.testing.assert_close(graded.head.amounts.weight.grad, torch.tensor([[0.1, 0.1, 0.4]]))
    assert torch.equal(threshold.head.amounts.weight.grad, torch.zeros(1, 3))


def test_hidden_threshold_units():
    model = network(activation="step")
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 0, 0]]))
        model.layers[0].bias.zero_()
        model.head.logits.weight.copy_(torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]))
        model.head.logits.bias.zero_()
    assert model(rows((3.0, 0, 0, 0), (-3.0, 0, 0, 0), (0.0, 0, 0, 0)))[:, 0].tolist() == [1.0, 2.0, 0.0]


def test_the_table_is_learned():
    """The six rows of the texts, and then the two beside them."""
    flower, leaf = 1, 0
    table = (
        ((242.0, 124.0, 242.0, 17.1), flower),
        ((97.0, 48.0, 49.0, 14.9), flower),
        ((181.0, 216.0, 210.0, 12.0), leaf),
        ((27.0, 50.0, 31.0, 11.0), leaf),
        ((173.0, 55.0, 127.0, 7.9), flower),
        ((229.0, 71.0, 216.0, 7.8), flower),
    )
    head = {"name": "classification", "n_classes": 2}
    embedding = {"name": "values", "scale": 0.01}
    model = build("model", "mlp", vocab_size=1, d_model=4, hidden=[3], embedding=embedding, head=head)
    batch, targets = rows(*(r for r, _ in table)), torch.tensor([label for _, label in table])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(800):
        loss = torch.nn.functional.cross_entropy(model(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(batch).argmax(-1).tolist() == targets.tolist()


def test_a_window_of_characters():
    """Position t reads t - window + 1 .. t, the oldest first, and nothing else; zeros stand before the beginning."""
    model = build("model", "mlp", vocab_size=7, d_model=1, window=3, hidden=[5], embedding="number").eval()
    assert model.layers[0].weight.shape == (5, 3)
    ids = torch.tensor([[4, 1, 6, 2]])
    found = hidden_sums(model, ids)
    weight, bias = model.layers[0].weight, model.layers[0].bias
    for t, window in enumerate(([0, 0, 4], [0, 4, 1], [4, 1, 6], [1, 6, 2])):
        torch.testing.assert_close(found[0, t], weight @ torch.tensor(window, dtype=torch.float32) + bias)
    assert torch.equal(found[:, 3:], hidden_sums(model, torch.tensor([[0, 1, 6, 2]]))[:, 3:])  # what slid out


def test_generation_slides_the_window_beyond_the_context():
    model = build("model", "mlp", vocab_size=11, d_model=6, window=12, hidden=[16], context_length=16).eval()
    prompt = torch.randint(0, 11, (2, 12), generator=torch.Generator().manual_seed(0))
    decoding = build("decoding", "greedy")
    long = decoding.generate(model, Batch(prompt), cache=build("cache", "growing"), max_new_tokens=20)
    assert torch.equal(long, decoding.generate(model, Batch(prompt), cache=None, max_new_tokens=20))
    with torch.no_grad():  # as the texts do it: the last 12, again and again
        for t in range(12, 32):
            assert torch.equal(model(long[:, t - 12 : t])[:, -1].argmax(-1), long[:, t])


def test_norm_dropout_and_roles():
    model = build("model", "mlp", vocab_size=9, d_model=4, hidden=[6, 5], norm="layer", dropout=0.5)
    assert [tuple(n.weight.shape) for n in model.norms] == [(6,), (5,)]
    x = torch.tensor([[1, 2, 3]])
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    found = {w.name: w.role for w in roles(model)}
    assert found["layers.0.weight"] == found["layers.1.weight"] == "hidden"
    assert found["layers.1.bias"] == "bias"
    assert found["head.logits.weight"] == "head"


def test_a_tied_head_wants_a_last_layer_as_wide_as_a_vector():
    model = build("model", "mlp", vocab_size=9, d_model=4, hidden=[6, 4], head="tied")
    assert model(torch.tensor([[1, 2]])).shape == (1, 2, 9)
    with pytest.raises(UserError, match="vectors of width 6, and the embedding's are 4 wide"):
        build("model", "mlp", vocab_size=9, d_model=4, hidden=[6], head="tied")
    with pytest.raises(UserError, match="a layer has at least one unit"):
        build("model", "mlp", vocab_size=9, hidden=[6, 0])


@pytest.mark.parametrize("asked", [{"activation_checkpointing": True}, {"compile_layers": True}])
def test_what_is_done_layer_by_layer_is_refused_without_layers(asked):
    task = SimpleNamespace(**{"activation_checkpointing": False, "compile_layers": False, "config": {"model": {"name": "mlp"}}})
    need_layers(task, network())
    vars(task).update(asked)
    with pytest.raises(UserError, match=r"task.(activation_checkpointing|compile): model/mlp has no layers of its own"):
        need_layers(task, network())
    need_layers(task, build("model", "decoder", vocab_size=9, d_model=16, n_layers=1))
