"""The ladder: the numbers that the source texts work out by hand, and three steps of every rung.

The rungs are trained whole by ``make slow`` (tests/test_ladder_slow.py), which checks what each is there to show.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import components
from components import build
from components.compose import compose
from components.core.makers import make
from components.core.sockets import Batch, SequenceInfo

ROOT = Path(__file__).parent.parent
RUNGS = sorted(f.stem for f in (ROOT / "recipes" / "ladder").glob("*.yaml"))
INFO = SequenceInfo(positions=torch.arange(4)[None])


def test_there_are_fifteen():
    assert [name[:2] for name in RUNGS] == [f"{n:02}" for n in range(1, 16)]


@pytest.mark.parametrize("name", RUNGS)
def test_each_says_what_it_makes_real_and_what_to_look_for(name):
    text = (ROOT / "recipes" / "ladder" / f"{name}.yaml").read_text(encoding="utf8")
    comments = " ".join(line.removeprefix("# ") for line in text.split("defaults:")[0].splitlines())
    assert "Look for:" in comments
    assert len(comments) > 150


# -- 1: leaf and flower; hidden sums and scores are in tests/model/test_mlp.py ---------------------------------------------


def loss_of(name, said, targets, **options):
    terms = build("loss", name, vocab_size=2, **options)(
        torch.tensor(said), lambda x: x, Batch(torch.zeros(1, 1), torch.tensor(targets))
    )
    value, weight = terms.losses["loss"]
    return value.item(), value.item() / weight.item()


def test_softmax_of_the_two_outputs():
    assert torch.softmax(torch.tensor([0.8, 0.2]), 0).tolist() == pytest.approx([0.6457, 0.3543], abs=5e-5)


def test_absolute_error_of_an_output():
    assert loss_of("regression", [[0.6, 0.4]], [[1.0, 0.0]], distance="l1")[0] == pytest.approx(0.8)
    assert loss_of("regression", [[0.6, 0.4]], [[0.8, 0.2]], distance="l1")[0] == pytest.approx(0.4)


def test_the_mean_loss_is_that_of_all_samples():
    """0.2, 0.5 and 0.1 are 0.2667 in the mean, whether they came as one batch or as two of unequal size."""
    assert loss_of("regression", [[0.2], [0.5], [0.1]], [[0.0], [0.0], [0.0]], distance="l1")[1] == pytest.approx(0.8 / 3)
    from components.core.sockets import Terms
    from components.training.reductions import add_sums, means

    sums: dict = {}
    for batch in ([0.2, 0.5], [0.1]):
        add_sums(sums, Terms({"loss": (torch.tensor(batch).sum(), torch.tensor(float(len(batch))))}))
    assert means(sums)["loss"] == pytest.approx(0.2667, abs=5e-5)


def test_a_step_against_the_gradient():
    """0.17 with a gradient of 200 and a rate of 0.01 becomes -1.83."""
    from components.core.weights import Weight

    p = torch.nn.Parameter(torch.tensor([0.17]))
    p.grad = torch.tensor([200.0])
    weight = Weight("w", p, "special", ("one",), torch.nn.Module())
    build("optimizer", "sgd", weights=[weight], lr=0.01, momentum=0.0, weight_decay=0.0).step()
    assert p.item() == pytest.approx(-1.83)


# -- 5: subwords -----------------------------------------------------------------------------------------------------------


def test_the_first_merge_is_the_most_frequent_pair_and_plurals_come_apart():
    text = "cats dogs birds cat dog bird cats dogs birds un forget able table unable forgetful cat"
    pairs: dict[tuple[str, str], int] = {}
    for word in text.split():
        for a, b in pairwise(word):
            pairs[a, b] = pairs.get((a, b), 0) + 1
    best = max(pairs.values())
    tokenizer = build("tokenizer", "bpe", vocab_size=512)
    tokenizer.train([text] * 20)
    import json

    first = json.loads(tokenizer.core.to_str())["model"]["merges"][0]
    first = tuple(first) if isinstance(first, list) else tuple(first.split(" "))
    merged = tuple(p.replace("Ġ", " ") for p in first)
    spaced = " " + text
    counted = sum(spaced[i : i + 2] == "".join(merged) for i in range(len(spaced)))
    assert counted >= best
    assert tokenizer.decode(tokenizer.encode("unforgettable cats, 猫 🐈\n")) == "unforgettable cats, 猫 🐈\n"
    assert {"unk", "endoftext", "bos", "eos", "pad"} <= set(tokenizer.specials)


def test_cats_is_cat_and_s_where_the_corpus_says_so():
    tokenizer = build("tokenizer", "bpe", vocab_size=300)
    tokenizer.train(["cat cat cat cat cat cat dogs s bird s cat cats dogs"] * 30)
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode(" cats")]
    assert "".join(pieces) == " cats"
    assert len([tokenizer.decode([i]) for i in tokenizer.encode(" unforgettable")]) > 3


# -- 6: attention ------------------------------------------------------------------------------------------------------------


def test_weights_are_the_softmax_of_scaled_products_and_see_no_future():
    torch.manual_seed(0)
    attention = build("attention", "gqa", d_model=8, context_length=8, n_heads=1, position="none").eval()
    x = torch.randn(1, 4, 8)
    q, k, v = (getattr(attention, name)(x)[0] for name in "qkv")
    scores = (q @ k.T / math.sqrt(8)).masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
    weights = scores.softmax(-1)
    assert torch.allclose(weights.sum(-1), torch.ones(4))
    assert weights.triu(1).abs().max() == 0
    torch.testing.assert_close(attention(x, INFO)[0], attention.out(weights @ v))


def test_dividing_by_the_root_of_the_width_keeps_the_variance_of_scores():
    g = torch.Generator().manual_seed(0)
    for width in (4, 64, 1024):
        q, k = (torch.randn(4000, width, generator=g) for _ in range(2))
        products = (q * k).sum(-1)
        assert products.var().item() == pytest.approx(width, rel=0.1)
        assert (products / math.sqrt(width)).var().item() == pytest.approx(1.0, rel=0.1)


# -- 8, 9 --------------------------------------------------------------------------------------------------------------------


def test_what_flows_back_through_a_shortcut_keeps_its_one():
    """y = x + F(x) with F(x) = 0.1 x: ten layers keep 1.1 to the tenth, without the shortcut 0.1 to the tenth is left."""
    for name, factor in (("add", 1.1), ("none", 0.1)):
        residual = build("residual", name, d_model=1)
        x = torch.ones(1, 1, 1, requires_grad=True)
        s = residual.open(x)
        for _ in range(10):
            s = residual.write(s, 0.1 * residual.read(s))
        residual.close(s).sum().backward()
        assert x.grad.item() == pytest.approx(factor**10)


def test_dropout_scales_what_it_keeps():
    torch.manual_seed(0)
    y = F.dropout(torch.ones(10_000), 0.2, True)
    assert set(y.unique().tolist()) == {0.0, 1.25}


def test_layer_norm_and_the_width_of_the_feed_forward():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    mean, spread = 3.0, (sum((v - 3.0) ** 2 for v in (1, 2, 3, 6)) / 4) ** 0.5
    want = [(v - mean) / spread for v in (1, 2, 3, 6)]
    assert build("norm", "layer", dim=4, eps=1e-12)(x)[0].tolist() == pytest.approx(want, abs=1e-5)
    ffn = build("ffn", "mlp", d_model=6)
    assert max(p.shape[0] for p in ffn.parameters()) == 24


def on_meta(name, overrides=(), vocabulary=50257):
    with torch.device("meta"):
        return make(compose(name, list(overrides)).config["model"], "model", vocab_size=vocabulary)


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        ([], 163_009_536),
        (["model/head=tied"], 124_412_160),
        (["model/head=tied", "model.attention.bias=[q,k,v,out]"], 124_439_808),
    ],
)
def test_the_listings_model_has_its_parameters(overrides, parameters):
    assert sum(p.numel() for p in on_meta("gpt_listing_124m", overrides).parameters()) == parameters


class Listing(torch.nn.Module):
    """The listing's GPT written out: what our parts must agree with."""

    def __init__(self, vocabulary, d, heads, layers, context):
        super().__init__()
        self.tok, self.pos = torch.nn.Embedding(vocabulary, d), torch.nn.Embedding(context, d)
        self.heads = heads
        self.blocks = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {
                    "q": torch.nn.Linear(d, d, bias=False),
                    "k": torch.nn.Linear(d, d, bias=False),
                    "v": torch.nn.Linear(d, d, bias=False),
                    "out": torch.nn.Linear(d, d),
                    "up": torch.nn.Linear(d, 4 * d),
                    "down": torch.nn.Linear(4 * d, d),
                    "n1": torch.nn.LayerNorm(d),
                    "n2": torch.nn.LayerNorm(d),
                }
            )
            for _ in range(layers)
        )
        self.final, self.head = torch.nn.LayerNorm(d), torch.nn.Linear(d, vocabulary, bias=False)

    def forward(self, ids):
        b, t = ids.shape
        x = self.tok(ids) + self.pos(torch.arange(t))
        for m in self.blocks:
            h = m["n1"](x)
            q, k, v = (m[n](h).view(b, t, self.heads, -1).transpose(1, 2) for n in "qkv")
            scores = (q @ k.transpose(2, 3)).masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf)
            y = (scores / k.shape[-1] ** 0.5).softmax(-1) @ v
            x = x + m["out"](y.transpose(1, 2).reshape(b, t, -1))
            h = m["up"](m["n2"](x))
            h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
            x = x + m["down"](h)
        return self.head(self.final(x))


def test_the_listings_logits():
    sizes = ["model.d_model=24", "model.n_layers=2", "model.context_length=16", "model.attention.n_heads=3"]
    model = make(compose("gpt_listing_124m", sizes).config["model"], "model", vocab_size=40).eval()
    torch.manual_seed(1)
    theirs = Listing(40, 24, 3, 2, 16).eval()
    ours = dict(model.named_parameters())
    names = {"tok.weight": "embedding", "pos.weight": "position", "head.weight": "head", "final": "final_norm"}
    with torch.no_grad():
        left = set(ours)
        for name, p in theirs.named_parameters():
            part, leaf = name.rsplit(".", 1)
            if part.startswith("blocks"):
                _, layer, which = part.split(".")
                inside = {"n1": "attention_norm", "n2": "ffn_norm", "out": "attention.out", "down": "ffn.out"}.get(which, which)
                found = [n for n in left if f"layers.{layer}." in n and n.endswith(f"{leaf}") and f".{inside}." in n]
            else:
                found = [
                    n for n in left if names.get(name, names.get(part, "")) in n and ".layers." not in n and n.endswith(leaf)
                ]
            found = [n for n in found if ours[n].shape == p.shape]
            assert len(found) == 1, (name, found)
            ours[found[0]].copy_(p)
            left.discard(found[0])
        assert not left
        ids = torch.randint(0, 40, (2, 12))
        torch.testing.assert_close(model(ids), theirs(ids), rtol=1e-5, atol=1e-5)


# -- three steps of each -------------------------------------------------------------------------------------------------------

FEWER = {
    "08_deep_residual": ["model.n_layers=6"],
    "11_translation": ["data.count=400", "task.scored=4"],
    "10_recurrent": ["data.count=300", "task.scored=4"],
    "05_subwords": ["data=rhyme", "task.validation_fraction=0", "tokenizer.vocab_size=280"],
    "06_self_attention": ["data=rhyme", "task.validation_fraction=0", "tokenizer.vocab_size=280"],
    "07_multi_head": ["data=rhyme", "task.validation_fraction=0", "tokenizer.vocab_size=280"],
    "09_gpt": [
        "data=rhyme",
        "task.validation_fraction=0",
        "task.test_fraction=0",
        "tokenizer.vocab_size=280",
        "model.d_model=32",
    ],
    "12_variants": [
        "data=rhyme",
        "task.validation_fraction=0",
        "task.test_fraction=0",
        "tokenizer.vocab_size=280",
        "model.d_model=32",
    ],
}


# rungs that begin with another run's weights: that run, in small, and what makes the rung as small
TWO = ["model.d_model=48", "model.n_layers=1", "task.validation_every=3"]
BEGUN = {
    "13_classify": (
        ["recipe=ladder/09_gpt", "data=texts_of", "data.source={name: language_id, languages: [de, fr]}", *TWO],
        ["data.languages=[de,fr]", "model.head.n_classes=2", *TWO],
    ),
    "14_instruct": (["recipe=gpt_python", *TWO], [*TWO]),
}


@pytest.mark.parametrize("name", RUNGS)
def test_three_steps(name, tmp_path):
    words = [f"paths.runs={tmp_path}", "trainer.max_steps=3", "trainer.log_every_n_steps=1"]
    begun = []
    if name in BEGUN:
        first, smaller = BEGUN[name]
        small = ["tokenizer.vocab_size=300", "task.samples=0", "task.judged_samples=0"]
        run = components.train(None, [*first, *words, *small], quiet=True).folder
        begun = [*smaller, f"init_from={run}"]
    made = components.train(f"ladder/{name}", [*words, *FEWER.get(name, []), *begun], quiet=True)
    if begun:
        weights = json.loads((made.folder / "run.json").read_text())["weights"]
        assert {"embedding", "stack"} <= {*weights["loaded"]}
    assert made.figures["state"] == "finished"
    assert made.figures["step"] == 3
    assert math.isfinite(made.figures["train_loss"])
