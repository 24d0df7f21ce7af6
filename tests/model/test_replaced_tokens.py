"""ELECTRA: what is drawn and where, both terms against their formulas, what is shared, and that no gradient passes through the draw."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.compose import compose
from components.core.draws import drawn_for
from components.core.errors import UserError
from components.core.sockets import Batch, make
from components.parts.model.electra import drawn, replaced

VOCAB, LENGTH = 40, 12
TABLES = {"name": "projected", "width": 8, "inner": "token_types", "position": "learned", "norm": "layer"}
SIDE = {
    "context_length": LENGTH,
    "n_layers": 2,
    "embedding": TABLES,
    "position": "none",
    "norm": "layer",
    "block": "post_norm",
    "final_norm": "none",
}
GENERATOR = {"name": "encoder", **SIDE, "d_model": 12, "attention": {"name": "gqa", "n_heads": 2}, "head": "tied_factorised"}
MODEL = {
    **SIDE,
    "d_model": 16,
    "attention": {"name": "gqa", "n_heads": 4},
    "head": {"name": "value", "dense": True},
    "generator": GENERATOR,
}


def model(**options):
    made = build("model", "electra", vocab_size=VOCAB + 1, **{**MODEL, **options}).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.3, generator=generator))
    return made


def loss():
    return make({"name": "masked_lm", "rate": 0.4, "masked": 0.85, "random": 0.0}, "loss", vocab_size=VOCAB)


def batch(rows: int = 4, seed: int = 0) -> Batch:
    ids = torch.randint(0, VOCAB, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[0, -3:] = False
    return loss().prepare(Batch(ids, valid=valid), torch.Generator().manual_seed(seed + 1))


def seen_by(made, given):
    """(the text, what the discriminator reads), as the model draws it now."""
    said = []
    made.generator(given, lambda hidden, head, b: said.extend((hidden, head)) or loss()(hidden, head, b))
    return replaced(*said, given, made.training)


def test_both_terms_are_the_papers():
    made, given, samples = model().train(), batch(), torch.arange(4)
    with drawn_for(5, samples):
        terms = made(given, loss())
    with drawn_for(5, samples):
        text, seen = seen_by(made, given)
    asked = given.targets != -100
    logits = made.generator(given)
    hidden_tokens = F.cross_entropy(logits[asked], given.targets[asked], reduction="sum")
    scores = made(Batch(seen, valid=given.valid))[..., 0]
    right = torch.where(
        seen == text, F.logsigmoid(-scores), F.logsigmoid(scores)
    )  # the paper's D is 1 for original tokens: our score is of the other
    torch.testing.assert_close(terms.losses["loss"][0].double(), hidden_tokens, rtol=1e-6, atol=0)
    assert terms.losses["loss"][1] == asked.sum()
    torch.testing.assert_close(terms.losses["replaced"], ((-right * given.valid).sum(), given.valid.sum().double()))
    assert (seen != text).any()
    assert terms.aim == {"replaced": 50.0}


def test_only_asked_tokens_are_replaced_and_a_right_guess_counts_as_the_text():
    made, given = model().train(), batch()
    asked = given.targets != -100
    text, seen = seen_by(made, given)
    assert torch.equal(text[~asked], given.ids[~asked])
    assert torch.equal(text[asked], given.targets[asked])
    assert torch.equal(seen[~asked], text[~asked])
    sure = torch.full((*given.ids.shape, VOCAB + 1), -50.0).scatter(2, text[..., None], 50.0)  # a generator that knows the text
    assert torch.equal(replaced(sure, lambda logits: logits, given, True)[1], text)


def test_tokens_are_drawn_as_often_as_the_generator_says():
    logits = torch.tensor([1.0, -2.0, 0.5, -torch.inf, 2.0]).double()
    numbers = (torch.arange(10_000).double() + 0.5) / 10_000
    counts = drawn(logits.expand(10_000, -1), numbers).bincount(minlength=5).double() / 10_000
    torch.testing.assert_close(counts, logits.softmax(0), atol=1e-4, rtol=0)
    assert counts[3] == 0


def test_draws_belong_to_samples_in_training_and_to_the_text_elsewhere():
    made, given, samples = model().train(), batch(), torch.arange(4) + 20

    def under(seed, rows):
        with drawn_for(seed, samples[rows]):
            return seen_by(made, Batch(given.ids[rows], given.targets[rows], valid=given.valid[rows]))[1]

    whole = under(5, slice(None))
    assert torch.equal(torch.cat([under(5, slice(0, 1)), under(5, slice(1, 4))]), whole)
    assert not torch.equal(under(6, slice(None)), whole)
    assert not torch.equal(seen_by(made, given)[1], whole)  # where nobody counts samples torch's generator draws
    made.eval()
    first = seen_by(made, given)[1]
    torch.manual_seed(9)
    assert torch.equal(seen_by(made, given)[1], first)


def test_no_gradient_passes_through_the_draw():
    made, given = model().train(), batch()
    total, weight = made(given, loss()).losses["replaced"]
    (total / weight).backward()
    assert {n for n, p in made.generator.named_parameters() if p.grad is not None and p.grad.any()} == set()
    assert made.embedding.inner.table.weight.grad.any()
    made.zero_grad()
    total, weight = made(given, loss()).losses["loss"]
    (total / weight).backward()
    assert all(p.grad is not None for p in made.generator.parameters())
    assert made.embedding.inner.table.weight.grad.any()  # shared: the generator learns it too
    assert not any(p.grad is not None and p.grad.any() for p in made.stack.parameters())


def test_tables_are_shared_and_stand_in_the_state_dict_once():
    shared, own = model(), model(shared="none")
    assert shared.generator.embedding.inner is shared.embedding.inner
    assert shared.generator.embedding.norm is shared.embedding.norm
    assert shared.generator.embedding.position.table is shared.embedding.position.table
    gone = {n.removeprefix("generator.") for n in own.state_dict().keys() - shared.state_dict().keys()}
    assert gone == {
        f"embedding.{n}"
        for n in ("inner.table.weight", "inner.types.weight", "norm.weight", "norm.bias", "position.table.weight")
    }
    assert own.generator.embedding.inner is not own.embedding.inner


def test_a_wide_discriminator_shares_with_a_narrow_generator():
    """ELECTRA base: tables as wide as the discriminator, which the generator alone projects."""
    wide = {"embedding": "token_types", "position": "learned", "embedding_norm": "layer"}
    made = model(**wide, generator={**GENERATOR, "embedding": {**TABLES, "width": 16}})
    assert made.generator.embedding.inner is made.embedding
    assert made.generator.embedding.position.table is made.stack.positions[0].table
    assert made.generator.embedding.norm is made.stack.embedding_norm
    plain = model(embedding="token_types", generator={**GENERATOR, "d_model": 16, "embedding": "token_types", "head": "tied"})
    assert plain.generator.embedding is plain.embedding
    assert plain.generator.head.embedding is plain.embedding


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"the generator's tokens is .*shared=none"):
        model(generator={**GENERATOR, "embedding": {**TABLES, "width": 4}})
    with pytest.raises(ValueError, match=r"generator\.context_length=6"):
        model(generator={**GENERATOR, "context_length": 6})
    with pytest.raises(UserError, match="needs scores of its head"):
        compose("electra_prose", ["model/head=linear"])
    with pytest.raises(UserError, match="needs hidden_tokens of its loss"):
        compose("electra_prose", ["loss=regression"])
    with pytest.raises(UserError, match="needs bidirectional of its generator"):
        compose("electra_prose", ["model/generator=decoder"])


def test_each_model_is_drawn_by_its_own_init():
    made = build(
        "model",
        "electra",
        vocab_size=VOCAB,
        **{
            **MODEL,
            "init": {"name": "normal", "std": 0.5},
            "generator": {**GENERATOR, "init": {"name": "normal", "std": 0.01}},
        },
    )
    assert made.stack.layers[0].block.ffn.up.weight.std() > 0.3
    assert made.generator.stack.layers[0].block.ffn.up.weight.std() < 0.02
