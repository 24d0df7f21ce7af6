"""Loaders of others in a Trainer: what they may give, what is refused, and that a step's mean is that over its targets."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from plain import hushed, task_and_data, trainer
from torch import Tensor
from torch.utils.data import DataLoader

from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.batches import totals
from components.corpus.steps import MicroBatch
from components.runs import preparing

pytestmark = pytest.mark.usefixtures("warm_processes")

SGD = {"name": "sgd", "lr": 0.5}  # Adam divides by the size of a gradient, and would hide a wrong one and show rounding


@pytest.fixture(autouse=True)
def _quietly():
    with hushed():
        yield


def rows_of(count, length=16, seed=0):
    return torch.randint(1, 250, (count, length), generator=torch.Generator().manual_seed(seed))


def labelled(ids):
    """Dictionaries of one row; of each only the last few tokens are asked for, of some none."""
    made = []
    for n, row in enumerate(ids):
        labels = row.clone()
        labels[: (n * 5) % 17] = -100
        made.append({"input_ids": row, "labels": labels})
    return made


def weights_of(task) -> Tensor:
    return torch.cat([p.detach().flatten() for p in task.placed.parameters()])


def fitted(tiny, tmp_path, loader, **options):
    task, _ = task_and_data(tiny(schedule={"name": "constant"}, optimizer=SGD))
    trainer(tmp_path, **{"max_epochs": 1, **options}).fit(task, loader)
    return task


# -- one mean ----------------------------------------------------------------------------------------------------------


def test_every_form_trains_the_same_model(tiny, tmp_path):
    ids = rows_of(24)
    targets = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
    forms = {
        "ours": [MicroBatch(b := Batch(i, t), totals(b)) for i, t in zip(ids.split(8), targets.split(8))],
        "batches": [Batch(i, t) for i, t in zip(ids.split(8), targets.split(8))],
        "ids": DataLoader(ids, batch_size=8),  # type: ignore[arg-type]
        "pairs": DataLoader(torch.utils.data.TensorDataset(ids, targets), batch_size=8),
        "dictionaries": DataLoader([{"input_ids": i, "labels": i} for i in ids], batch_size=8),  # type: ignore[arg-type]
    }
    whole = lambda batches: batches  # noqa: E731
    found = {}
    for name, loader in forms.items():
        loader = DataLoader(loader, batch_size=None, collate_fn=whole) if isinstance(loader, list) else loader
        found[name] = weights_of(fitted(tiny, tmp_path, loader))
    for name, weights in found.items():
        assert torch.equal(weights, found["ours"]), name


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_unequal_micro_batches_make_one_mean(tiny, tmp_path, precision):
    rows = labelled(rows_of(16))
    counts = [sum(int((r["labels"][1:] != -100).sum()) for r in rows[i : i + 2]) for i in range(0, 16, 2)]
    assert len(set(counts)) > 4
    steps = fitted(tiny, tmp_path, DataLoader(rows, batch_size=4), precision=precision)  # type: ignore[arg-type]
    small = fitted(tiny, tmp_path, DataLoader(rows, batch_size=2), accumulate_grad_batches=2, precision=precision)  # type: ignore[arg-type]
    close = {"rtol": 1e-4, "atol": 2e-6} if precision == "32-true" else {"rtol": 0.1, "atol": 0.02}
    assert torch.allclose(weights_of(small), weights_of(steps), **close)
    # three of them are a whole step and a half: what is left of an epoch is a step with a mean of its own
    left = fitted(tiny, tmp_path, DataLoader(rows[:12], batch_size=4), accumulate_grad_batches=2, precision=precision)  # type: ignore[arg-type]
    by_hand = [{k: torch.stack([r[k] for r in part]) for k in rows[0]} for part in (rows[:8], rows[8:12])]
    whole = fitted(tiny, tmp_path, DataLoader(by_hand, batch_size=None), precision=precision)  # type: ignore[arg-type]
    assert torch.allclose(weights_of(left), weights_of(whole), **close)


def test_a_step_without_targets_is_left_out_and_a_micro_batch_without_any_is_not(tiny, tmp_path):
    nothing = {"input_ids": rows_of(2), "labels": torch.full((2, 16), -100)}
    something = {"input_ids": rows_of(2, seed=1), "labels": rows_of(2, seed=1)}
    before = weights_of(fitted(tiny, tmp_path, DataLoader([nothing], batch_size=None)))  # type: ignore[arg-type]
    task, _ = task_and_data(tiny())
    assert torch.equal(before, weights_of(task))
    alone = weights_of(fitted(tiny, tmp_path, DataLoader([something], batch_size=None)))  # type: ignore[arg-type]
    assert not torch.equal(before, alone)
    for pair in ([nothing, something], [something, nothing]):
        both = fitted(tiny, tmp_path, DataLoader(pair, batch_size=None), accumulate_grad_batches=2)  # type: ignore[arg-type]
        assert torch.allclose(weights_of(both), alone, rtol=1e-5, atol=1e-6)


RANKS = """
    import os, sys
    sys.path[:0] = [{here!r}]
    from pathlib import Path

    import torch
    from tiny_runs import make_tiny
    from plain import hushed, task_and_data, trainer
    from test_foreign_batches import SGD, labelled, rows_of
    from torch.utils.data import DataLoader, DistributedSampler

    folder = Path({folder!r})
    rows = labelled(rows_of(16))
    mine = DistributedSampler(rows, 2, int(os.environ.get("LOCAL_RANK", 0)), shuffle=False)
    with hushed():
        task, _ = task_and_data(make_tiny(folder)(schedule={{"name": "constant"}}, optimizer=SGD))
        own = trainer(folder, devices=2, strategy="ddp", max_epochs=1, accumulate_grad_batches=2)
        own.fit(task, DataLoader(rows, batch_size=2, sampler=mine))
    state = own.strategy.lightning_module_state_dict()
    if own.global_rank == 0:
        torch.save(torch.cat([v.flatten() for n, v in state.items() if n.startswith("model.")]), folder / "weights.pt")
"""


def test_unequal_ranks_make_one_mean(tiny, tmp_path):
    """Takes long because a second process loads torch; nothing but a real group shows what is divided by what."""
    rows = labelled(rows_of(16))
    script = tmp_path / "ranks.py"
    script.write_text(textwrap.dedent(RANKS.format(here=str(Path(__file__).parent), folder=str(tmp_path))))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    # rank r reads rows r, r + 2, ...: two micro-batches of two on two ranks are eight rows
    by_hand = [{k: torch.stack([r[k] for r in part]) for k in rows[0]} for part in (rows[:8], rows[8:])]
    alone = weights_of(fitted(tiny, tmp_path, DataLoader(by_hand, batch_size=None)))  # type: ignore[arg-type]
    assert torch.allclose(torch.load(tmp_path / "weights.pt"), alone, rtol=1e-4, atol=2e-6)


# -- validate, test, predict -------------------------------------------------------------------------------------------


def test_a_measured_mean_is_over_targets(tiny, tmp_path):
    task, _ = task_and_data(tiny())
    rows = labelled(rows_of(12))
    loader = DataLoader(rows, batch_size=4)  # type: ignore[arg-type]
    whole = {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
    with torch.no_grad():
        value, weight = task.placed(task.taken(whole).batch, task.objective).losses["loss"]
    for run, name in ((trainer(tmp_path).validate, "val_loss"), (trainer(tmp_path).test, "test_loss")):
        (said,) = run(task, loader, verbose=False)
        assert said[name] == pytest.approx(float(value / weight), rel=1e-6)
        assert said[name.replace("loss", "perplexity")] == pytest.approx(float((value / weight).exp()), rel=1e-5)


def test_predictions_need_no_labels(tiny, tmp_path):
    task, _ = task_and_data(tiny())
    ids = rows_of(6)
    expected = task.placed(ids)
    mask = torch.ones_like(ids)
    for loader in (DataLoader(ids, batch_size=4), DataLoader([{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask)], batch_size=4)):  # type: ignore[arg-type] # fmt: skip
        said = torch.cat(trainer(tmp_path).predict(task, loader))
        assert torch.allclose(said, expected, atol=1e-6)


# -- losses that make their own targets --------------------------------------------------------------------------------


def hiding(tiny, loss, model=None):
    config = tiny(loss=loss, model=model or {}, task={"documents": "apart"})
    _, corpus = preparing.corpus_of(config, preparing.task_options(config), None)
    task = preparing.task_of(config, corpus.tokenizer)
    task.place(task.new_model(), "cpu")
    return task


ENCODER = {"name": "encoder", "attention": {"name": "gqa", "n_heads": 2}}
PAIR = {"name": "encoder_decoder"}


@pytest.mark.parametrize(
    ("loss", "model"),
    [("masked_lm", ENCODER), ("prefix_lm", None), ("fill_in_the_middle", None), ("span_corruption", PAIR), ("seq2seq", PAIR)],
)
def test_they_do_so_from_ids_and_from_labels_that_repeat_them(tiny, tmp_path, loss, model):
    task = hiding(tiny, {"name": loss}, model)
    ids = rows_of(6)
    forms = [ids, {"input_ids": ids}]
    if loss not in ("span_corruption", "seq2seq"):  # to which labels are the text behind a source
        forms.append({"input_ids": ids, "labels": ids})
    seen = [task.taken(form).batch for form in forms]
    for other in seen[1:]:
        assert torch.equal(other.ids, seen[0].ids)
        assert torch.equal(other.targets, seen[0].targets)
    assert (seen[0].source is not None) == (model is PAIR)
    loader = DataLoader(ids, batch_size=3)  # type: ignore[arg-type]
    own = trainer(tmp_path, max_epochs=3)
    first, again = (own.validate(task, loader, verbose=False) for _ in range(2))
    assert first == again, "the same tokens are hidden in every validation"
    fitted_ids = []
    task.on_train_batch_start_was = task.on_train_batch_start

    def watch(batch, index):
        fitted_ids.append(batch.batch.ids.clone())
        task.on_train_batch_start_was(batch, index)

    task.on_train_batch_start = watch
    own.fit(task, loader)
    if loss in ("masked_lm", "span_corruption"):
        assert not torch.equal(fitted_ids[0], fitted_ids[2]), "others in each epoch"


def test_labels_of_their_own_are_refused_where_the_loss_makes_them(tiny):
    task = hiding(tiny, {"name": "prefix_lm"})
    labels = rows_of(2)
    labels[0, :5] = -100
    with pytest.raises(UserError, match=r"^batch: loss/prefix_lm makes its own targets, and the labels ask for others; leave"):
        task.taken({"input_ids": rows_of(2), "labels": labels})


# -- what is refused ---------------------------------------------------------------------------------------------------

IDS = rows_of(4)
MOVED = torch.nn.functional.pad(IDS[:, 1:], (0, 1), value=-100)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("text", "a str cannot be read; give ids, (ids, targets), or a dictionary with input_ids"),
        ([IDS, IDS, IDS], "a list of Tensor, Tensor, Tensor cannot be read"),
        ((), "a tuple of nothing cannot be read"),
        (IDS[0], "the ids are (16); give them as (B, T)"),
        (IDS.float(), "the ids are float32; give integers"),
        ((IDS, IDS), "the targets are the ids themselves, and those of a pair are moved already"),
        ((IDS, IDS[:, 0]), "the targets are (4) for ids (4, 16)"),
        (IDS + 100, "the ids have 3"),
        (IDS - 300, "the ids have -"),
        ({}, "there is no 'input_ids' (keys: )"),
        ({"labels": IDS}, "there is no 'input_ids' (keys: labels); give input_ids, and labels"),
        (
            {"input_ids": IDS, "pixel_values": IDS},
            "'pixel_values' cannot be used (keys: input_ids, pixel_values); leave it out",
        ),
        ({"input_ids": IDS, "labels": IDS, "label": IDS}, "labels are there twice (keys: input_ids, labels, label)"),
        ({"input_ids": [[1, 2], [3]]}, "'input_ids' is no tensor: its rows differ in length, or are no numbers; pad them"),
        ({"input_ids": IDS, "labels": MOVED}, "the labels are moved already, and those of a dictionary lie on their tokens"),
        ({"input_ids": IDS, "labels": IDS[:, :3]}, "labels are (4, 3) for ids (4, 16)"),
        ({"input_ids": IDS, "labels": IDS + 1000}, "labels have 1"),
        ({"input_ids": IDS, "attention_mask": torch.ones(4, 1, 16, 16)}, "attention_mask are (4, 1, 16, 16) for ids (4, 16)"),
        ({"input_ids": IDS, "attention_mask": IDS / 300}, "attention_mask has other values than 0 and 1"),
        ({"input_ids": IDS, "position_ids": IDS}, "position_ids neither go on by one nor begin anew at 0; leave them out"),
        ({"input_ids": IDS, "token_type_ids": IDS}, "token_type_ids has segments, and the model reads none; leave it out"),
        ({"input_ids": IDS, "decoder_input_ids": IDS}, "the model has no decoder beside an encoder, for 'decoder_input_ids'"),
        (Batch(IDS), "there are no targets to learn from or to measure on; give labels"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tiny, given, said):
    task, _ = task_and_data(tiny())
    with pytest.raises(UserError) as refused:
        task.taken(given)
    assert str(refused.value).startswith(f"batch: {said}")
    assert "\n" not in str(refused.value)


def test_rows_longer_than_a_table_of_positions_are_refused(tiny):
    task, _ = task_and_data(tiny(model={"position": {"name": "learned"}}))
    with pytest.raises(UserError, match=r"^batch: the ids have 17 positions, the model 16; cut them, or raise context_length"):
        task.taken(rows_of(2, 17))
