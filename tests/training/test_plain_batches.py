"""Our data in loops of others: dictionaries for a model of Hugging Face's, and for a loop without any library."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from plain import hushed, task_and_data, trainer

from components.core.errors import UserError
from components.runs import preparing
from components.training import building


@pytest.fixture(autouse=True)
def _quietly():
    with hushed():
        yield


def labels_of(batch):
    """By hand: the target of each token lies on the next one."""
    labels = torch.full_like(batch.targets, -100)
    labels[:, 1:] = batch.targets[:, :-1]
    return labels


def test_dictionaries_say_what_the_batches_say(tiny):
    task, data = task_and_data(tiny(task={"documents": "apart"}))
    plain = data.plain()
    for ours, theirs in ((data.train_dataloader(), plain.train_dataloader()), (data.val_dataloader(), plain.val_dataloader())):
        assert len(ours) == len(theirs) > 1
        for item, given in zip(ours, theirs):
            assert torch.equal(given["input_ids"], item.batch.ids)
            assert torch.equal(given["labels"], labels_of(item.batch))
            assert torch.equal(given["position_ids"], item.batch.positions)
            assert ("attention_mask" in given) == (item.batch.valid is not None)
            back = task.taken(given).batch
            valid = torch.ones_like(back.ids, dtype=torch.bool) if back.valid is None else back.valid
            followed = valid[:, 1:]
            assert torch.equal(back.targets[:, :-1][followed], item.batch.targets[:, :-1][followed])
            assert torch.allclose(task.placed(back)[valid], task.placed(item.batch)[valid], atol=1e-5)  # documents are apart
    assert not data.as_dictionaries
    _, together = task_and_data(tiny(task={"documents": "together"}))
    assert set(next(iter(together.plain().train_dataloader()))) == {"input_ids", "labels"}


def test_each_pass_is_another_epoch(tiny):
    _, data = task_and_data(tiny())
    loader = data.plain().train_dataloader()
    first, second = ([b["input_ids"] for b in loader] for _ in range(2))
    assert len(first) == len(second) == len(loader)
    assert not torch.equal(first[0], second[0])
    again = [b["input_ids"] for b in data.plain().train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(first, again))


def test_a_model_of_hugging_faces_learns_from_them(tiny):
    transformers = pytest.importorskip("transformers")
    task, data = task_and_data(tiny(model={"context_length": 32}))
    config = transformers.GPT2Config(vocab_size=task.vocab_size, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(2):
        for batch in data.plain().train_dataloader():
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]
    # what it computes is the mean over our targets, but for those of each row's last token
    item, given = next(zip(data.val_dataloader(), data.plain().val_dataloader()))
    with torch.no_grad():
        logits = model.eval()(input_ids=given["input_ids"], position_ids=given["position_ids"]).logits
        expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), item.batch.targets[:, :-1].flatten())
        assert float(model(**given).loss) == pytest.approx(float(expected), rel=1e-5) or "attention_mask" in given


def test_a_bare_loop(tiny):
    _, data = task_and_data(tiny())
    torch.manual_seed(0)
    table = torch.nn.Embedding(300, 300)
    optimizer = torch.optim.Adam(table.parameters(), 0.1)
    losses = []
    for batch in data.plain().train_dataloader():
        logits = table(batch["input_ids"])
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_a_trainer_takes_them_for_its_own_module_or_for_ours(tiny, tmp_path):
    task, data = task_and_data(tiny())
    own = trainer(tmp_path, max_steps=3, limit_val_batches=1)
    own.fit(task, data.plain())
    assert own.global_step == 3


def of_a_loss(tiny, **changes):
    config = tiny(**changes)
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), None)
    task = preparing.task_of(config, corpus.tokenizer)
    task.place(task.new_model(), "cpu")
    return task, building.data_of(task, corpus, 16, config["seed"])


def test_hidden_tokens_lie_where_they_stood(tiny):
    encoder = {"name": "encoder", "attention": {"name": "gqa", "n_heads": 2}}
    _, data = of_a_loss(tiny, loss={"name": "masked_lm"}, model=encoder, task={"name": "masked_language_modeling"})
    item, given = next(zip(data.train_dataloader(), data.plain().train_dataloader()))
    assert torch.equal(given["labels"], item.batch.targets)
    assert (given["labels"] != -100).any()


def test_labels_of_rows_and_pairs(tiny, tmp_path):
    (tmp_path / "labels.tsv").write_text("text\tlabel\n" + "".join(f"{'tree ' * (n % 4 + 1)}\t{n % 2}\n" for n in range(60)))
    encoder = {"name": "encoder", "head": {"name": "classification", "n_classes": 2, "pooling": "mean"}, "context_length": 64}
    source = {"name": "labelled_text", "path": str(tmp_path / "labels.tsv")}
    task, data = of_a_loss(tiny, loss={"name": "classification"}, model=encoder, task={"name": "classification"}, data=source)
    item, given = next(zip(data.train_dataloader(), data.plain().train_dataloader()))
    assert torch.equal(given["labels"], item.batch.targets)
    assert torch.equal(given["attention_mask"].bool(), item.batch.valid)
    assert torch.equal(task.taken(given).batch.valid, item.batch.valid)
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{'tree ' * (n % 4 + 1)}\tstone{n}\n" for n in range(60)))
    source = {"name": "text_pairs", "path": str(tmp_path / "pairs.tsv")}
    pair = {"name": "encoder_decoder", "context_length": 64}
    task, data = of_a_loss(tiny, loss={"name": "seq2seq"}, model=pair, task={"name": "sequence_to_sequence"}, data=source)
    item, given = next(zip(data.train_dataloader(), data.plain().train_dataloader()))
    back = task.taken(given).batch
    assert torch.equal(given["input_ids"], item.batch.source.ids)
    assert torch.equal(back.ids, item.batch.ids)
    assert torch.equal(back.targets, item.batch.targets)
    assert back.source.valid is item.batch.source.valid is None or torch.equal(back.source.valid, item.batch.source.valid)


def test_what_a_dictionary_cannot_say_is_refused(tiny):
    _, data = of_a_loss(tiny, loss={"name": "prefix_lm"})
    with pytest.raises(UserError, match=r"^data.plain: a dictionary has no word for a prefix that all see; take another loss"):
        next(iter(data.plain().train_dataloader()))
