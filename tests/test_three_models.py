"""Parts that stand in no socket of a model, each with three models: they work, or the composer refuses them with a reason.

Optimizers, schedules, losses, samplers, decodings, tokenizers, data, adapters and inits with a plain decoder, a hybrid one and an encoder-decoder.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts import parts

from components import build, merge
from components.check.training import answers_in
from components.compose import compose
from components.core import registry
from components.core.abilities import NeedsModels
from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch, name_parts
from components.core.traits import provides
from components.core.weights import roles
from components.corpus.pairs import Side
from components.corpus.pairs import _batch_of as pairs_of
from components.corpus.rows import batch_of as rows_of
from components.corpus.tokens import LABELS_FILE
from components.runs.preparing import task_of
from components.training.task._conversing import PLAIN, TEMPLATE
from components.training.task._pairs import OverPairs
from components.training.tuning import freeze, tuned

VOCAB, LENGTH = 300, 16
SMALL = ("model.d_model=48", "model.context_length=32", "model.n_layers=2")
MODELS = {
    "plain": ("model=decoder", "model/position=rope", "model/ffn=glu"),
    "hybrid": (
        "model=decoder",
        "model/position=none",
        "model/ffn=moe",
        "model/residual=hyper_connections",
        "model.layers.first.attention=gated_delta_net",
    ),
    "encoder-decoder": ("model=encoder_decoder", "model/position=sinusoidal", "loss=seq2seq"),
}
KINDS = ("optimizer", "schedule", "loss", "sampler", "tokenizer", "data", "adapter", "tuning", "init", "decoding")
# heads that losses need, and what has to be said with a part
TEXTS = ("model.d_model=48", "model.context_length=512", "model.n_layers=2", "tokenizer=byte")
LABELS = (
    "model=encoder",
    "model/init=xavier",
    "model/head=classification",
    "task=classification",
    "loss=classification",
    *TEXTS,
)
NUMBERS = (
    "model=encoder",
    "model/embedding=patches",
    "model.embedding.d_in=4",
    "tokenizer=none",
    "model.d_model=48",
    "model.n_layers=2",
)
PAIRS = ("model=encoder_decoder", "task=sequence_to_sequence", "loss=seq2seq", *TEXTS)
TALKS = ("model=decoder", "task=instruction_tuning", *TEXTS)
OTHERS = {
    "plain": (),
    "hybrid": ("model/ffn=moe", "model/residual=hyper_connections"),
    "encoder-decoder": ("model/block=sandwich", "model/norm=layer"),
}
# what goes with a source of examples, by what it gives: three models of the kind that its task wants
WITH = {
    ("labels",): LABELS,
    ("values", "labels"): (*NUMBERS, "model/head=classification", "task=classification", "loss=classification"),
    ("values", "amounts"): (*NUMBERS, "model/head=regression", "task=regression", "loss=regression"),
    ("pairs",): PAIRS,
    ("conversations",): TALKS,
    ("preferences",): ("model=decoder", "task=preference_tuning", "loss=dpo", *TEXTS),
}
# losses of other answers than tokens, with a source that has such answers
LOSSES = {
    "loss/classification": ("data=leaf_flower", *WITH["values", "labels"]),
    "loss/regression": ("data=judges", *WITH["values", "amounts"], "model.embedding.d_in=3"),
    **{f"loss/{n}": ("data=python_preferences", *WITH["preferences",]) for n in ("dpo", "ipo", "kto", "orpo", "simpo")},
    **{
        f"loss/{n}": ("data=python_instructions", "model=decoder", "task=grpo", *TEXTS)
        for n in ("grpo", "dr_grpo", "dapo", "gspo")
    },
    "loss/reward": ("data=python_preferences", "model=decoder", "model/head=value", "task=reward_modeling", *TEXTS),
}
BESIDE = {
    "data/labelled_text": ("data.path={labels}",),
    "data/hf_labelled_text": ("data.path={labels_jsonl}",),
    "data/text_pairs": ("data.path={pairs}",),
    "data/hf_text_pairs": ("data.path={pairs_jsonl}",),
    "data/table": ("data.path={numbers}", "data.label=label", "data.features=[a,b,c,d]"),
    "data/table_amounts": ("data.path={numbers}", "data.targets=[e]", "data.features=[a,b,c,d]"),
    "data/conversations": ("data.path={talks}",),
    "data/hf_conversations": ("data.path={talks}",),
    "data/preferences": ("data.path={preferences}",),
    "data/hf_preferences": ("data.path={preferences}",),
    "data/digits": ("model.head.n_classes=10",),
    "data/judges": ("model.embedding.d_in=3",),
    "loss/multi_token": ("model/head=multi_token",),
    "loss/distillation": ("loss.teacher=a-run",),
    "loss/ensemble_distillation": ("loss.teachers=[a-run,another]",),
    "adapter/ia3": ("adapter.inputs=['*.attention.out']",),
    "data/hf": ("data.path={table}",),
    "data/text": ("data.path={file}",),
    "data/token_files": ("data.path={ids}", "data.tokenizer=pretrained", "data.tokenizer.path={tokenizer}"),
    "data/mixed": ("data.parts=[{name: text, path: '{file}'}]",),
    "data/texts_of": ("data.source=babel_dates",),
    "data/conversations_of": ("data.source=babel_dates",),
    "tokenizer/pretrained": ("tokenizer.path={tokenizer}",),
}
CASES = [p for p in parts(*KINDS) if not registry.entry(*p.split("/")).preset_of]
REFUSED = {  # what the composer refuses, and a word of its reason
    ("loss/span_corruption", "plain"): "source",
    ("loss/span_corruption", "hybrid"): "source",
    ("loss/seq2seq", "plain"): "source",
    ("loss/seq2seq", "hybrid"): "source",
    ("loss/masked_lm", "plain"): "bidirectional",
    ("loss/masked_lm", "hybrid"): "bidirectional",
    ("loss/masked_lm", "encoder-decoder"): "bidirectional",
    ("loss/prefix_lm", "hybrid"): "prefix",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "text.txt").write_text(
        "\n\n".join(f"Paragraph {i} says that {i} and {i} are {2 * i}." for i in range(60)), encoding="utf8"
    )
    (folder / "table.jsonl").write_text("\n".join(json.dumps({"text": f"Line {i}."}) for i in range(40)), encoding="utf8")
    tokenizer = build("tokenizer", "byte")
    tokenizer.train(())
    tokenizer.save(folder / "tokenizer.json")
    ids = [i for n in range(60) for i in (*tokenizer.encode(f"Paragraph {n}."), tokenizer.specials["endoftext"])]
    (folder / "ids.bin").write_bytes(np.array(ids, dtype=np.uint16).tobytes())
    rows = [{"text": f"text {i}", "label": "ab"[i % 2], "source": f"one {i}", "target": f"un {i}"} for i in range(20)]
    turns = [{"role": "user", "content": "one?"}, {"role": "assistant", "content": "un"}]
    written = {
        "labels": ("labels.tsv", "\n".join(["text\tlabel", *(f"{r['text']}\t{r['label']}" for r in rows)])),
        "labels_jsonl": ("labels.jsonl", "\n".join(map(json.dumps, rows))),
        "pairs": ("pairs.tsv", "\n".join(["source\ttarget", *(f"{r['source']}\t{r['target']}" for r in rows)])),
        "pairs_jsonl": ("pairs.jsonl", "\n".join(map(json.dumps, rows))),
        "numbers": (
            "numbers.csv",
            "\n".join(["a,b,c,d,e,label", *(f"{i},{i + 1},2,3,{i / 2},{'xy'[i % 2]}" for i in range(20))]),
        ),
        "preferences": (
            "preferences.jsonl",
            "\n".join(json.dumps({"prompt": f"{i}?", "chosen": f"one {i}", "rejected": "none"}) for i in range(20)),
        ),
        "talks": (
            "talks.jsonl",
            "\n".join(json.dumps({"messages": [*turns, {"role": "user", "content": str(i)}, turns[1]]}) for i in range(20)),
        ),
    }
    for name, text in written.values():
        (folder / name).write_text(text + "\n", encoding="utf8")
    plain = {"file": folder / "text.txt", "table": folder / "table.jsonl", "tokenizer": folder / "tokenizer.json"}
    plain["ids"] = folder / "ids.bin"
    return plain | {word: folder / name for word, (name, _) in written.items()}


def composed(part: str, model: str, files: dict[str, Path]) -> dict[str, Any]:
    kind, name = part.split("/")
    gives = registry.entry(kind, name).signature.declared.get("provides", ()) if kind == "data" else ()
    said = [*WITH[tuple(gives)], *OTHERS[model]] if tuple(gives) in WITH else [*SMALL, *MODELS[model]]
    if part in LOSSES:
        said = [*LOSSES[part], *OTHERS[model]]
    said += [] if kind == "sampler" else [f"model/init={name}" if kind == "init" else f"{kind}={name}"]
    for word in BESIDE.get(part, ()):
        for file, path in files.items():
            word = word.replace("{" + file + "}", str(path))
        said.append(word)
    return compose("gpt_python", said).config


def model_of(config: dict[str, Any], extra: int = 0) -> torch.nn.Module:
    model = make(config["model"], "model", vocab_size=VOCAB + extra)
    name_parts(model)
    return model


def batch_of(config: dict[str, Any], loss: Any = None) -> Batch:
    ids = torch.randint(5, VOCAB, (4, LENGTH), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, targets=ids.roll(-1, 1))
    if any(provides(loss, word) for word in ("pairs", "rewards", "groups")):
        return answers_in(batch, loss)
    values = torch.rand(4, 1, config["model"]["embedding"].get("d_in", 1), generator=torch.Generator().manual_seed(0))
    if "values" in registry.entry("embedding", config["model"]["embedding"]["name"]).signature.declared.get("needs", {}).get(
        "data", ()
    ):
        answers = torch.tensor([0, 1, 0, 1])
        classes = config["model"]["head"]["name"] == "classification"
        return Batch(ids[:, :1] * 0, targets=answers if classes else answers.float(), values=values)
    if "classes" in registry.entry("head", config["model"]["head"]["name"]).signature.declared.get("provides", ()):
        batch = Batch(ids, targets=torch.tensor([0, 1, 0, 1]))
    if "amounts" in registry.entry("head", config["model"]["head"]["name"]).signature.declared.get("provides", ()):
        batch = Batch(ids, targets=torch.tensor([0.1, 1.0, -0.5, 2.0]))
    if hasattr(loss, "prepare"):
        return loss.prepare(batch, torch.Generator().manual_seed(1))
    return batch


def loss_of(model: torch.nn.Module, loss: Any, batch: Batch) -> torch.Tensor:
    terms = model(batch, loss)
    return sum(terms.aim.get(n, 1.0) * value / weight for n, (value, weight) in terms.losses.items())


def objective(config: dict[str, Any], model: str) -> tuple[torch.nn.Module, Any, Batch]:
    """A model, a loss that suits it, and a batch."""
    loss = make(config["loss"], "loss", vocab_size=VOCAB)
    network = model_of(config, getattr(loss, "extra_tokens", 0)).train()
    batch = batch_of(config, loss)
    if model == "encoder-decoder" and config["model"]["name"] == "encoder_decoder" and batch.source is None:
        batch = Batch(batch.ids, targets=batch.targets, source=Batch(batch.ids.flip(1)))
    return network, loss, batch


def _optimizer(config: dict[str, Any], name: str, model: str) -> None:
    del name
    network, loss, batch = objective(config, model)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = make(config["optimizer"], "optimizer", weights=list(roles(network)))
    for _ in range(3):
        value = loss_of(network, loss, batch)
        assert torch.isfinite(value)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert torch.isfinite(loss_of(network, loss, batch))


def _schedule(config: dict[str, Any], name: str, model: str) -> None:
    del name
    network, loss, batch = objective(config, model)
    factor = make(config["schedule"], "schedule", total_steps=20)
    optimizer = build("optimizer", "adamw", weights=list(roles(network)))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in range(3):
        loss_of(network, loss, batch).backward()
        optimizer.step()
        scheduler.step()
    assert all(0 <= factor(step) < 100 for step in range(21))


def _loss(config: dict[str, Any], name: str, model: str) -> None:
    network, loss, batch = objective(config, model)
    if isinstance(loss, NeedsModels):
        loss.attach(torch.nn.ModuleList(model_of(config).eval() for _ in loss.runs))
    if isinstance(loss, NeedsModel):
        loss.attach(model_of(config).eval())
    value = loss_of(network, loss, batch)
    assert torch.isfinite(value), name
    value.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def _sampler(config: dict[str, Any], name: str, model: str) -> None:
    network, _, batch = objective(config, model)
    decoding = build(
        "decoding", "sample", samplers=[{"name": name, **({"ids": [7, 8, 9]} if name.endswith("_tokens") else {})}]
    )
    batch = Batch(batch.ids, source=batch.source)
    made = decoding.generate(network.eval(), batch, cache=build("cache", "growing"), max_new_tokens=5, generator=0)
    assert made.shape == (*batch.ids.shape[:1], batch.ids.shape[1] + 5)
    assert torch.equal(made, decoding.generate(network, batch, cache=build("cache", "growing"), max_new_tokens=5, generator=0))


def _decoding(config: dict[str, Any], name: str, model: str) -> None:
    network, _, batch = objective(config, model)
    decoding = make(config["decoding"], "decoding")
    if isinstance(decoding, NeedsModel):
        decoding.attach(objective(config, model)[0].eval())
    batch = Batch(batch.ids, source=batch.source)
    made = [
        decoding.generate(network.eval(), batch, cache=build("cache", "growing"), max_new_tokens=5, generator=0)
        for _ in range(2)
    ]
    assert made[0].shape == (*batch.ids.shape[:1], batch.ids.shape[1] + 5), name
    assert torch.equal(*made)


def _read(config: dict[str, Any], model: str, text: str, tokenizer: Any) -> None:
    """The model reads ids of a text."""
    network = make(config["model"], "model", vocab_size=tokenizer.vocab_size)
    ids = torch.tensor([tokenizer.encode(text)[:LENGTH]])
    logits = network(Batch(ids, source=Batch(ids) if model == "encoder-decoder" else None))
    assert logits.shape == (*ids.shape, tokenizer.vocab_size)


def _tokenizer(config: dict[str, Any], name: str, model: str) -> None:
    options = {"vocab_size": VOCAB} if "vocab_size" in config["tokenizer"] else {}
    tokenizer = make({**config["tokenizer"], **options}, "tokenizer")
    if name == "of_run":
        tokenizer.attach(build("tokenizer", "byte"))
        tokenizer.tokens.train(())
        tokenizer = tokenizer.tokens
    elif name != "pretrained":
        tokenizer.train([f"some text with {i} numbers" for i in range(50)])
    _read(config, model, "some text with numbers", tokenizer)


def _data(config: dict[str, Any], name: str, model: str) -> None:
    if hasattr(source := make(config["data"], "data"), "examples"):
        _examples(config, source, name)
        return
    tokenizer = build("tokenizer", "byte")
    tokenizer.train(())
    for document in islice(make(config["data"], "data").documents(), 2):
        _read(config, model, document.text, tokenizer)


def _examples(config: dict[str, Any], source: Any, name: str) -> None:
    """Its task learns one step from its first examples."""
    examples = list(islice(source.examples(), 4))
    tokenizer = build("tokenizer", "byte")
    tokenizer.train(())
    labels = sorted({e.answer for e in examples if isinstance(e.answer, str)})
    tokenizer.files |= {LABELS_FILE: json.dumps(labels), TEMPLATE: PLAIN}
    task = task_of(config, tokenizer)
    model = task.new_model()
    task.place(model, "cpu")
    rows = [task.encode(e, 512) for e in examples]
    if isinstance(task, OverPairs):
        batch = pairs_of([[Side(np.array(side.ids), np.array(side.targets)) for side in pair] for pair in rows])
        batch = task.reference.beside(batch)
    else:
        batch = rows_of(rows)
    value, weight = model(batch, task.objective).losses["loss"]
    assert weight > 0
    assert torch.isfinite(value), name
    value.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def _adapter(config: dict[str, Any], name: str, model: str) -> None:
    network, loss, batch = objective(config, model)
    network = make(config["adapter"], "adapter").apply(network)
    trained = [w for w in roles(network) if w.parameter.requires_grad]
    optimizer = build("optimizer", "adamw", weights=trained, lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(network, loss, batch).backward()
        optimizer.step()
    network.eval()
    if name == "none":
        return  # nothing to merge, which merge says
    with torch.no_grad():
        before = network(batch)
        after = merge(network)(batch)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert sum(w.parameter.numel() for w in trained) < 0.5 * sum(p.numel() for p in network.parameters())


def _tuning(config: dict[str, Any], name: str, model: str) -> None:
    network, loss, batch = objective(config, model)
    freeze(network, config)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    optimizer = build("optimizer", "muon", weights=tuned(network, config))
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(network, loss, batch).backward()
        optimizer.step()
    kept = {n for n, p in network.named_parameters() if torch.equal(before[n], p)}
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen <= kept
    assert bool(frozen) == (name == "frozen")
    assert {"head.logits.weight"} <= before.keys() - kept


def _init(config: dict[str, Any], name: str, model: str) -> None:
    del name
    network, loss, batch = objective(config, model)
    assert torch.isfinite(loss_of(network, loss, batch))


DO = {
    "optimizer": _optimizer,
    "schedule": _schedule,
    "loss": _loss,
    "sampler": _sampler,
    "decoding": _decoding,
    "tokenizer": _tokenizer,
}
DO |= {"data": _data, "adapter": _adapter, "tuning": _tuning, "init": _init}


@pytest.mark.parametrize("part", CASES)
@pytest.mark.parametrize("model", MODELS)
def test_it_works_or_is_refused(part, model, files):
    kind, name = part.split("/")
    if (part, model) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[part, model]):
            composed(part, model, files)
        return
    DO[kind](composed(part, model, files), name, model)


def test_there_are_enough():
    assert len(CASES) >= 60
    assert len(REFUSED) <= 0.1 * len(CASES) * len(MODELS)
