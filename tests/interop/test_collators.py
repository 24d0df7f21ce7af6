"""Batches of transformers' own collators: the loss is that of transformers' own model, and the gradients those of the same rows as our batch."""

from __future__ import annotations

import checkpoints
import pytest
import torch

import components
from components.core.sockets import Batch
from components.corpus.batches import totals
from components.corpus.special_ids import target_start
from components.corpus.steps import MicroBatch
from components.runs import preparing

transformers = pytest.importorskip("transformers")
TEXTS = ["the old tree", "a green bird sings over the river and under the stone", "stone", "the bird walks under a tree"]


def opened(folder, **nodes):
    """(our task with the weights of a checkpoint, its tokenizer as transformers reads it)."""
    loaded = components.load(folder)
    task = preparing.task_of({**loaded.config, **nodes}, loaded.tokenizer)
    task.model = loaded.model
    return task, transformers.AutoTokenizer.from_pretrained(folder)


def learnt(task, given):
    """(loss, all gradients) of what a trainer would give the task."""
    task.zero_grad()
    loss = task.training_step(task.on_before_batch_transfer(given, 0), 0)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in task.placed.parameters() if p.grad is not None])


def alike(task, *given):
    """The loss of all of them, which is one, with one gradient."""
    first, *others = [learnt(task, one) for one in given]
    assert first[1].abs().max() > 1e-4
    for loss, gradients in others:
        assert loss == pytest.approx(first[0], rel=1e-6)
        assert torch.allclose(gradients, first[1], rtol=1e-5, atol=1e-6)
    return first[0]


def ours(batch):
    return MicroBatch(batch, totals(batch))


def next_of(ids, valid):
    """Targets by hand: of each token the next, where both are there."""
    targets = torch.full_like(ids, -100)
    for b in range(len(ids)):
        for t in range(ids.shape[1] - 1):
            if valid[b, t] and valid[b, t + 1]:
                targets[b, t] = ids[b, t + 1]
    return targets


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2") / "checkpoint"
    return checkpoints.gpt2(folder), transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_causal_model(gpt2, side):
    folder, theirs = gpt2
    task, tokenizer = opened(folder)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.convert_ids_to_tokens(3), side
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    given = collator([tokenizer(t) for t in TEXTS])
    assert isinstance(given, transformers.BatchEncoding)
    assert (given["attention_mask"] == 0).any()
    ids, valid = given["input_ids"], given["attention_mask"].bool()
    targets = next_of(ids, valid)
    plain = Batch(ids, targets, valid=valid)
    loss = alike(task, ours(plain), given, dict(given), plain)
    if side == "right":  # on the left their model asks the last padding for the first token
        assert loss == pytest.approx(float(theirs(**given).loss), rel=1e-5)
        alike(task, given, (ids, targets))  # behind the last token nothing is seen
    else:
        tokenizer.padding_side = "right"
        assert loss == pytest.approx(learnt(task, collator([tokenizer(t) for t in TEXTS]))[0], rel=1e-5)


def test_rows_of_one_length_in_every_form(gpt2):
    task, _ = opened(gpt2[0])
    ids = torch.randint(4, task.vocab_size, (3, 12), generator=torch.Generator().manual_seed(0))
    targets = next_of(ids, torch.ones_like(ids))
    places = torch.arange(12).expand(3, -1)
    loss = alike(
        task,
        ours(Batch(ids, targets)),
        ids,
        [ids],
        (ids, targets),
        [ids, targets],
        {"input_ids": ids, "labels": ids},
        {"input_ids": ids.tolist(), "labels": ids.int(), "attention_mask": torch.ones_like(ids), "position_ids": places},
        transformers.BatchEncoding({"input_ids": ids, "labels": ids, "token_type_ids": torch.zeros_like(ids)}),
    )
    assert loss == pytest.approx(float(gpt2[1](input_ids=ids, labels=ids).loss), rel=1e-5)


def test_labels_ask_for_a_part(gpt2):
    folder, theirs = gpt2
    task, _ = opened(folder)
    ids = torch.randint(4, task.vocab_size, (3, 12), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :7] = labels[1, 3:9] = -100
    targets = next_of(ids, torch.ones_like(ids))
    targets[0, :6] = targets[1, 2:8] = -100
    loss = alike(task, ours(Batch(ids, targets)), (ids, targets), {"input_ids": ids, "labels": labels})
    assert loss == pytest.approx(float(theirs(input_ids=ids, labels=labels).loss), rel=1e-5)


def test_packed_rows_are_documents_apart(gpt2):
    task, tokenizer = opened(gpt2[0])
    texts = [tokenizer(t)["input_ids"] for t in TEXTS]
    given = transformers.DataCollatorWithFlattening()([{"input_ids": t} for t in texts])
    assert given["position_ids"].shape[0] == 1
    numbered = torch.tensor([[n for n, t in enumerate(texts, 1) for _ in t]])
    plain = {"input_ids": given["input_ids"], "labels": given["input_ids"], "attention_mask": numbered}
    length = max(map(len, texts))
    padded = {
        "input_ids": torch.tensor([t + [3] * (length - len(t)) for t in texts]),
        "attention_mask": torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in texts]),
    }
    padded["labels"] = padded["input_ids"]  # padding asks nothing, whatever its labels say
    alike(task, padded, given, plain)


def test_a_masked_model(tmp_path):
    folder = tmp_path / "checkpoint"
    checkpoints.bert(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    transformers.BertForMaskedLM(transformers.BertConfig.from_pretrained(folder)).save_pretrained(folder)
    theirs = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    loaded = components.load(folder)
    loss = {"name": "masked_lm", "mask_id": tokenizer.mask_token_id}
    task, _ = opened(folder, loss=loss, task={"name": "masked_language_modeling"})
    assert loaded.config["loss"]["name"] == "masked_lm"
    rows = [tokenizer(t) for t in TEXTS]
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.4, seed=5)
    given = collator(rows)
    assert given["labels"].ne(-100).sum() > 4
    batch = Batch(given["input_ids"], given["labels"], valid=given["attention_mask"].bool())
    found = alike(task, ours(batch), given, dict(given))
    assert found == pytest.approx(float(theirs(**given).loss), rel=1e-5)
    row = given["input_ids"][1:2], given["labels"][1:2]  # without padding a pair says all
    alike(task, {"input_ids": row[0], "labels": row[1]}, row)
    # without labels, or with those that only repeat the ids, the loss hides tokens itself: never those around the text
    padded = transformers.DataCollatorWithPadding(tokenizer)(rows)
    hidden = task.on_before_batch_transfer(padded, 0).batch
    again = task.on_before_batch_transfer({**padded, "labels": padded["input_ids"]}, 0).batch
    assert torch.equal(hidden.ids, again.ids)
    chosen = hidden.targets != -100
    assert chosen.any()
    assert not (chosen & torch.isin(padded["input_ids"], torch.tensor(tokenizer.all_special_ids))).any()
    assert torch.equal(hidden.targets[chosen], padded["input_ids"][chosen])


def test_a_classifier(tmp_path):
    folder = tmp_path / "checkpoint"
    checkpoints.bert(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    loaded = components.load(folder)
    model = {**loaded.config["model"], "head": {"name": "classification", "n_classes": 3, "pooling": "mean"}}
    nodes = {"model": model, "loss": {"name": "classification"}, "task": {"name": "classification"}}
    task = preparing.task_of({**loaded.config, **nodes}, loaded.tokenizer)
    task.place(task.new_model(), "cpu")
    task.placed.eval()  # without dropout
    rows = [{**tokenizer(t), "label": n % 3} for n, t in enumerate(TEXTS)]
    given = transformers.DataCollatorWithPadding(tokenizer)(rows)
    labels = given["labels"]
    batch = Batch(given["input_ids"], labels, valid=given["attention_mask"].bool())
    named = {**given, "label": labels}
    del named["labels"]
    loss = alike(task, ours(batch), given, named, {**given, "labels": labels[:, None]})
    logits = task.placed(batch)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    single = batch.ids[1:2]
    alike(task, (single, labels[1:2]), {"input_ids": single, "labels": labels[1:2]})


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder(kind, tmp_path):
    folder = getattr(checkpoints, kind)(tmp_path / "checkpoint")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    task, tokenizer = opened(folder, loss={"name": "seq2seq"}, task={"name": "sequence_to_sequence"})
    rows = [{**tokenizer(t), "labels": tokenizer(t[::-1])["input_ids"]} for t in TEXTS]
    bare = transformers.DataCollatorForSeq2Seq(tokenizer)(rows)
    shown = transformers.DataCollatorForSeq2Seq(tokenizer, model=theirs)(rows)
    assert "decoder_input_ids" not in bare
    assert "decoder_input_ids" in shown
    starts = target_start(task.tokenizer)
    assert len(starts) == 1
    ids = torch.cat([torch.full((len(rows), 1), starts[0]), bare["labels"].clamp(min=0)[:, :-1]], 1)
    source = Batch(bare["input_ids"], valid=bare["attention_mask"].bool())
    loss = alike(task, ours(Batch(ids, bare["labels"], source=source)), bare, shown)
    assert loss == pytest.approx(float(theirs(**bare).loss), rel=1e-4)
    alike(
        task,
        (bare["input_ids"][1:2], bare["labels"][1:2]),
        {"input_ids": bare["input_ids"][1:2], "labels": bare["labels"][1:2]},
    )
    predicted = task.predict_step(task.taken(bare))
    assert len(predicted) == len(rows)
