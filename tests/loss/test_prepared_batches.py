"""What each objective makes of packed text, read back by hand: nothing lost, nothing seen that is asked for, documents apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Batch

V, B, T = 50, 40, 64
ENDOFTEXT = 0


def text(padded: bool = False) -> Batch:
    """Rows of documents of 20, 30 and 14 tokens, each beginning with 0; the last row may be padded from 40 on."""
    rows = torch.randint(1, V, (B, T + 1), generator=torch.Generator().manual_seed(0))
    starts = torch.zeros(T + 1, dtype=torch.bool)
    starts[[0, 20, 50, 64]] = True
    rows[:, starts] = ENDOFTEXT
    documents = starts[:T].long().cumsum(0).expand(B, -1)
    positions = torch.cat([torch.arange(n) for n in (20, 30, 14)]).expand(B, -1)
    targets, valid = rows[:, 1:].clone(), None
    if padded:
        valid = torch.ones(B, T, dtype=torch.bool)
        valid[-1, 40:] = False
        targets[-1, 40:] = -100
    return Batch(rows[:, :-1], targets, documents=documents, positions=positions, valid=valid)


def prepared(name: str, batch: Batch | None = None, seed: int = 0, **options) -> tuple[object, Batch, Batch]:
    loss = build("loss", name, vocab_size=V, **options)
    batch = text() if batch is None else batch
    before = {n: v.clone() for n, v in vars(batch).items() if isinstance(v, torch.Tensor)}
    made = loss.prepare(batch, torch.Generator().manual_seed(seed))
    assert all(torch.equal(getattr(batch, n), v) for n, v in before.items()), "the given batch is changed"
    return loss, batch, made


# -- masked_lm --------------------------------------------------------------------------------------------------------------


def test_masked_lm_is_berts_recipe():
    loss, before, after = prepared("masked_lm", rate=0.5, masked=0.6, random=0.2)
    chosen = after.targets != -100
    assert torch.equal(after.targets[chosen], before.ids[chosen])
    assert torch.equal(after.ids[~chosen], before.ids[~chosen])
    share = lambda x, of: (x & of).sum() / of.sum()  # noqa: E731
    inner = before.positions > 0
    assert not (chosen & ~inner).any(), "where a document begins is never hidden"
    assert share(chosen, inner) == pytest.approx(0.5, abs=0.05)
    assert share(after.ids == V, chosen) == pytest.approx(0.6, abs=0.05)
    other = chosen & (after.ids != V) & (after.ids != before.ids)
    assert share(other, chosen) == pytest.approx(0.2 * (V - 1) / V, abs=0.05)
    assert after.ids[other].unique().numel() > 40
    assert loss.extra_tokens == 1
    assert torch.equal(after.documents, before.documents)


def test_masked_lm_with_a_mask_of_the_tokenizer_and_padding():
    loss, _, after = prepared("masked_lm", text(padded=True), mask_id=4, rate=1.0, masked=1.0, random=0.0)
    assert loss.extra_tokens == 0
    assert (after.ids[0][text().positions[0] > 0] == 4).all()
    assert (after.targets[-1, 40:] == -100).all()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("masked_lm", {"masked": 0.9, "random": 0.2}, "masked=0.9 and random=0.2"),
        ("masked_lm", {"mask_id": V}, f"mask_id={V} is not among"),
        ("span_corruption", {"sentinels": 1}, "sentinels=1"),
        ("span_corruption", {"first_sentinel": 45}, "sentinels 45 to 144"),
        ("span_corruption", {"first_sentinel": 10, "sentinels": 20, "descending": True}, "sentinels 10 to -9"),
        ("prefix_lm", {"shortest": 0.6, "longest": 0.5}, "shortest=0.6"),
        ("fill_in_the_middle", {"marks": (1, 2, V)}, "marks="),
        ("classification", {"class_weights": (1.0, -1.0)}, "none can be negative"),
    ],
)
def test_options_that_cannot_be(name, options, says):
    with pytest.raises(UserError, match=says):
        build("loss", name, vocab_size=V, **options) if name != "classification" else build("loss", name, **options)


@pytest.mark.parametrize("name", ["masked_lm", "span_corruption", "fill_in_the_middle"])
def test_weights_of_other_targets_are_refused(name):
    batch = Batch(**{**vars(text()), "weights": torch.ones(B, T)})
    with pytest.raises(ValueError, match=f"{name} makes its own targets"):
        prepared(name, batch)


# -- span_corruption --------------------------------------------------------------------------------------------------------


def rebuilt(source: list[int], answer: list[int], first: int, step: int) -> list[int]:
    """The text again: each sentinel of the source replaced by what follows it in the answer."""
    sentinels = {first + step * i for i in range(100)}
    found: dict[int, list[int]] = {}
    for token in answer:
        if token in sentinels:
            last = token
            found[last] = []
        else:
            found[last].append(token)
    assert all(found[t] for t in source if t in sentinels), "a sentinel without a span"
    return [x for t in source for x in (found[t] if t in sentinels else [t])]


def real(batch: Batch, row: int) -> torch.Tensor:
    return torch.ones(batch.ids.shape[1], dtype=torch.bool) if batch.valid is None else batch.valid[row]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("options", [{}, {"descending": True}, {"rate": 0.5, "span": 1.5}, {"sentinels": 3, "rate": 0.4}])
def test_span_corruption_loses_nothing(options, padded):
    loss, before, after = prepared("span_corruption", text(padded), **options)
    share = []
    for row in range(B):
        source, answer = after.source.ids[row][real(after.source, row)], after.ids[row][real(after, row)]
        kept = before.ids[row][real(before, row)].tolist()
        assert rebuilt(source.tolist(), answer.tolist(), loss.first_sentinel, loss.step) == kept
        asked = after.targets[row][real(after, row)]
        assert torch.equal(asked[:-1], answer[1:]), "each position asks for the next token"
        n = int((answer >= V).sum())
        assert n < loss.sentinels
        assert asked[-1] == loss.first_sentinel + loss.step * n, "the end is the sentinel that comes next"
        assert (after.targets[row][~real(after, row)] == -100).all()
        share.append(float((answer < V).sum()) / len(kept))
    if options.get("sentinels", 100) == 100:
        assert sum(share) / B == pytest.approx(options.get("rate", 0.15), abs=0.03)
    assert loss.extra_tokens == options.get("sentinels", 100)


def test_spans_keep_within_documents_and_their_beginnings_stay():
    _, before, after = prepared("span_corruption", rate=0.5)
    assert ENDOFTEXT not in after.ids[after.valid if after.valid is not None else ...].tolist()
    assert sum(int(after.source.ids[row][real(after.source, row)].eq(ENDOFTEXT).sum()) for row in range(B)) == 3 * B
    for row in range(B):
        for number in (1, 2, 3):
            own = before.ids[row][before.documents[row] == number].tolist()
            source = after.source.ids[row][(after.source.documents[row] == number) & real(after.source, row)].tolist()
            answer = after.ids[row][(after.documents[row] == number) & real(after, row)].tolist()
            assert rebuilt(source, answer, V, 1) == own


def test_spans_are_as_long_as_asked_and_anywhere():
    _, before, after = prepared("span_corruption", Batch(text().ids), rate=0.25, span=4.0)
    begun = (after.ids >= V).sum(1).float()
    assert ((after.ids < V).sum() / begun.sum()).item() == pytest.approx(4.0, abs=0.3)
    hidden = torch.stack([torch.tensor([t in set(a.tolist()) for t in b.tolist()]) for a, b in zip(after.ids, before.ids)])
    assert hidden.float().mean(0)[1:].min() > 0, "every place but the first is missing somewhere"


def test_sentinels_of_t5():
    """32 000 pieces and 100 sentinels, the first of which is the last id."""
    loss = build("loss", "span_corruption", vocab_size=32100, first_sentinel=32099, descending=True)
    made = loss.prepare(Batch(torch.randint(1, 32000, (1, 512))), torch.Generator().manual_seed(0))
    assert loss.extra_tokens == 0
    assert made.ids[0][made.ids[0] >= 32000].tolist() == [32099 - i for i in range(int((made.ids >= 32000).sum()))]


def test_a_row_of_one_token_has_no_span():
    _, _, after = prepared("span_corruption", Batch(torch.tensor([[3], [4]])))
    assert after.source.ids.tolist() == [[3], [4]]
    assert (after.targets == -100).all()


# -- prefix_lm, seq2seq, fill_in_the_middle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [True, False])
def test_prefix_lm_asks_for_nothing_that_is_seen(documents):
    """Through a model: no target that counts changes the vectors that predict it."""
    batch = text() if documents else Batch(text().ids, text().targets)
    _, _, after = prepared("prefix_lm", batch)
    model = build(
        "model", "decoder", vocab_size=V, d_model=16, n_layers=1, context_length=T, attention={"name": "mha", "n_heads": 2}
    )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        model = model.double().eval()
        logits = model(after)
        asked = after.targets != -100
        for t in range(0, T - 1, 5):
            other = after.ids.clone()
            other[:, t + 1] = (other[:, t + 1] + 1) % V
            moved = (model(Batch(**{**vars(after), "ids": other})) != logits).any(-1)[:, t]
            assert not (moved & asked[:, t]).any()
            assert (moved == ~asked[:, t]).float().mean() > 0.9, "what is not asked for is seen"
    assert after.prefix.min() >= 1
    assert after.prefix.unique().numel() > 10
    assert (asked.sum(1) > 0).all()


def test_prefix_lm_within_its_bounds():
    _, _, after = prepared("prefix_lm", Batch(text().ids, text().targets), shortest=0.25, longest=0.5)
    assert (after.prefix.min(), after.prefix.max()) >= (16, 17)
    assert after.prefix.max() <= 32


def test_seq2seq_cuts_rows_only_where_there_is_no_source():
    loss, before, after = prepared("seq2seq", cut=0.25)
    assert torch.equal(torch.cat((after.source.ids, after.ids), 1), before.ids)
    assert after.source.ids.shape == (B, 16)
    asked = after.targets != -100
    assert asked[:, :4].all(), "the document that the cut goes through goes on to 20"
    assert not asked[:, 4:].any(), "others have no source"
    assert torch.equal(after.targets[:, :4], before.targets[:, 16:20])
    whole = Batch(before.ids, before.targets, source=Batch(before.ids))
    assert loss.prepare(whole, torch.Generator()) is whole


@pytest.mark.parametrize("suffix_first", [0.0, 1.0])
@pytest.mark.parametrize("padded", [False, True])
def test_fill_in_the_middle_moves_and_loses_nothing(suffix_first, padded):
    batch = text(padded)
    roomy = Batch(*(torch.nn.functional.pad(x, (0, 16)) for x in (batch.ids, batch.targets)))
    kept = torch.ones(B, T, dtype=torch.bool) if batch.valid is None else batch.valid
    valid = torch.nn.functional.pad(kept, (0, 16))  # room for the marks
    places = {n: torch.nn.functional.pad(getattr(batch, n), (0, 16), value=-1) for n in ("documents", "positions")}
    loss, before, after = prepared(
        "fill_in_the_middle", Batch(roomy.ids, roomy.targets, valid=valid, **places), rate=0.8, suffix_first=suffix_first
    )
    pre, suf, mid = loss.marks
    assert (pre, suf, mid, loss.extra_tokens) == (V, V + 1, V + 2, 3)
    cut = 0
    for row in range(B):
        own = before.ids[row][valid[row]].tolist()
        made = after.ids[row][real(after, row)].tolist()
        asked = after.targets[row][real(after, row)].tolist()
        at = [i for i, t in enumerate(own) if t == ENDOFTEXT] + [len(own)]
        new = [i for i, t in enumerate(made) if t == ENDOFTEXT] + [len(made)]
        assert len(at) == len(new)
        for i in range(len(at) - 1):
            old, piece, follows = own[at[i] : at[i + 1]], made[new[i] : new[i + 1]], asked[new[i] : new[i + 1]]
            assert follows[:-1] == piece[1:]
            ends = i + 2 < len(at)
            if pre not in piece:
                assert piece == old
                assert follows[-1] == (ENDOFTEXT if ends else int(before.targets[row][at[i + 1] - 1]))
                continue
            cut += 1
            assert follows[-1] == (ENDOFTEXT if ends else -100), "nothing follows a middle but its document's end"
            p, s, m = (piece.index(x) for x in (pre, suf, mid))
            if suffix_first:
                assert s == p + 1
                suffix, rest = piece[s + 1 : m], piece[m + 1 :]
                assert [piece[0], *rest, *suffix] == old
            else:
                assert [piece[0], *piece[p + 1 : s], *piece[m + 1 :], *piece[s + 1 : m]] == old
    assert cut / (3 * B) == pytest.approx(0.8, abs=0.1)


def test_fill_in_the_middle_keeps_the_length_and_the_documents_of_a_row():
    _, before, after = prepared("fill_in_the_middle", rate=1.0)
    assert after.ids.shape == before.ids.shape
    assert after.valid is None
    assert torch.equal(after.ids.eq(ENDOFTEXT).cumsum(1), after.documents + 1)
    assert (after.targets[:, -1] != -100).all(), "the row is longer than its place: something follows"
    _, _, same = prepared("fill_in_the_middle", rate=0.0)
    assert torch.equal(same.ids, before.ids)
    assert torch.equal(same.targets, before.targets)


# -- who goes with whom -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["loss=masked_lm"], "bidirectional"),
        (["loss=span_corruption"], "source"),
        (["loss=seq2seq"], "source"),
        (["loss=prefix_lm", "model=encoder"], "not causal"),
        (["loss=next_token", "model/head=classification"], "head/classification at model.head: it is not causal"),
        (["loss=multi_token"], "needs ahead of its head, and head/linear"),
        (["loss=classification"], "needs classes of its head"),
        (["loss=regression"], "needs amounts of its head"),
        (["loss=masked_lm", "model=encoder", "model/head=regression"], "not causal"),
    ],
)
def test_what_cannot_work_together_is_refused_before_anything_is_built(overrides, says):
    with pytest.raises(UserError, match=says):
        compose("gpt_python", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=masked_lm", "model=encoder", "model/head=mlm"],
        ["loss=span_corruption", "model=encoder_decoder"],
        ["loss=prefix_lm"],
        ["loss=multi_token", "model/head=multi_token", "model.head.output=tied"],
        [
            "loss=classification",
            "task=classification",
            "data=language_id",
            "model=encoder",
            "model/head=classification",
            "model.head.pooling=mean",
        ],
        ["loss=regression", "task=regression", "data=judges", "model=mlp", "model/embedding=values", "model/head=regression"],
    ],
)
def test_what_can_is_composed(overrides):
    assert compose("gpt_python", overrides).config["loss"]["name"] == overrides[0].partition("=")[2]


def test_no_objective_is_a_module():
    """The state dict of a task is its model's alone, a teacher's weights among none of it."""
    for name in ("masked_lm", "span_corruption", "next_token"):
        assert not isinstance(build("loss", name, vocab_size=V), nn.Module)
