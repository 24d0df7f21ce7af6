"""Objectives other than the next token, through whole runs: what they prepare is a function of (seed, step), and the model learns from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from components import build
from components.cli.measure import vocabulary
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Batch
from components.core.traits import extra_tokens, why_cannot_generate
from components.corpus.batches import tokens_in, totals, unasked, widened
from components.corpus.preparation import GROUP, Preparation
from components.corpus.steps import EvalBatches, TrainSteps
from components.evaluating.evaluation import evaluate as measure
from components.generation.generating import generate
from components.runs.metrics_file import read_rows
from components.training.experiment import Job, fit
from components.training.run import evaluate, load
from components.training.task.language_modeling import LanguageModeling

ATTENTION = {"name": "gqa", "n_heads": 2}
SIZES = {"d_model": 32, "n_layers": 1, "context_length": 32, "attention": ATTENTION}
ENCODER = {"name": "encoder", **SIZES}
DECODER = {"name": "decoder", **SIZES}
BOTH = {"name": "encoder_decoder", **SIZES}
MULTI = {**DECODER, "head": {"name": "multi_token", "n_ahead": 2}}
BYTES = build("tokenizer", "byte").vocab_size
# name: (loss, model, ids beyond the tokenizer's, whether bits per byte follow, whether texts are written)
OBJECTIVES = {
    "masked_lm": ({"name": "masked_lm"}, {**ENCODER, "head": {"name": "mlm"}}, 1, False, False),
    "span_corruption": ({"name": "span_corruption", "sentinels": 9}, BOTH, 9, False, False),
    "seq2seq": ({"name": "seq2seq", "label_smoothing": 0.1}, BOTH, 0, False, False),
    "prefix_lm": ({"name": "prefix_lm"}, DECODER, 0, False, True),
    "fill_in_the_middle": ({"name": "fill_in_the_middle"}, DECODER, 3, False, True),
    "multi_token": ({"name": "multi_token"}, MULTI, 0, True, True),
}
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def job(tiny, name, **changes) -> Job:
    loss, model, *_ = OBJECTIVES[name]
    trainer = {"max_steps": 30, "log_every_n_steps": 30, **changes.pop("trainer", {})}
    task = {"samples": 1, "sample_tokens": 8, "validation_every": 15, **changes.pop("task", {})}
    made = tiny(model=model, loss=loss, trainer=trainer, task=task, optimizer={"name": "adamw", "lr": 1e-2}, **changes)
    return Job(made, "tiny", quiet=True)


def weights_of(result, name="last.ckpt"):
    return torch.load(result.folder / "checkpoints" / name, weights_only=True)["state_dict"]


@every_objective
def test_a_run_learns_and_says_what_it_can(tiny, name, capsys):
    *_, extra, bits, texts = OBJECTIVES[name]
    start = job(tiny, name)
    start.quiet = False
    result = fit(start)
    said = capsys.readouterr().out
    rows = [r for r in read_rows(result.folder / "metrics.csv") if r["val_loss"] is not None]
    assert len(rows) == 2
    assert rows[1]["val_loss"] < rows[0]["val_loss"] < math.log(BYTES + extra)
    assert result.figures["train_loss"] < math.log(BYTES + extra) - 0.3
    assert f"vocabulary {BYTES + extra}" in said
    assert ("bits per byte" in said) is bits
    assert (rows[1]["val_bits_per_byte"] is not None) is bits
    assert ("val_bits_per_byte" in json.loads((result.folder / "summary.json").read_text())) is bits
    assert ("no samples: " in said) is not texts
    assert (result.folder / "samples.txt").exists() is texts

    loaded = load(result.folder)
    assert loaded.model.vocab_size == BYTES + extra
    found = evaluate(str(result.folder))
    assert found["loss"] == pytest.approx(result.figures["best_val_loss"], rel=1e-5)
    assert ("bits_per_byte" in found) is bits
    assert measure(loaded, "validation", rows=3)["loss"] == pytest.approx(found["loss"], rel=1e-5)
    if texts:
        assert loaded.generate("the old", max_new_tokens=5).startswith("the old")
    elif loaded.reads_source:
        assert loaded.generate("the old", target="bridge", max_new_tokens=5).startswith("bridge")
    else:
        with pytest.raises(UserError, match="continues no text"):
            loaded.generate("the old")


@every_objective
def test_micro_batches_learn_what_the_whole_step_does(tiny, name):
    """SGD, whose steps are as large as the gradient: Adam would hide a wrong factor."""
    runs = []
    for accumulate in (1, 2, 4):
        changes = {"optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.0}, "schedule": {"name": "constant"}}
        start = job(tiny, name, trainer={"max_steps": 6, "accumulate_grad_batches": accumulate, "log_every_n_steps": 6})
        start.config = {**start.config, **changes}
        runs.append(fit(start))
    whole = weights_of(runs[0])
    for other in runs[1:]:
        for key, value in weights_of(other).items():
            torch.testing.assert_close(value, whole[key], rtol=1e-4, atol=1e-6, msg=key)
        assert other.figures["train_loss"] == pytest.approx(runs[0].figures["train_loss"], rel=1e-4)
        assert other.figures["val_loss"] == pytest.approx(runs[0].figures["val_loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["masked_lm", "span_corruption"])
def test_a_resumed_run_draws_what_the_whole_run_drew(tiny, name, monkeypatch):
    from components import train

    whole = fit(job(tiny, name, task={"validation_every": 4}, trainer={"max_steps": 8, "log_every_n_steps": 4}))
    start = job(tiny, name, task={"validation_every": 4}, trainer={"max_steps": 8, "log_every_n_steps": 4})
    real = LanguageModeling.optimizer_step

    def stops(self, *args, **kwargs):
        if self.trainer.global_step == 4:
            raise RuntimeError("enough")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(LanguageModeling, "optimizer_step", stops)
    with pytest.raises(RuntimeError, match="enough"):
        fit(start)
    monkeypatch.undo()
    folder = max((f for f in whole.folder.parent.iterdir() if f != whole.folder), key=lambda f: f.name)
    on = train(None, [f"resume={folder}", f"paths.runs={whole.folder.parent.parent}"], quiet=True)
    for key, value in weights_of(on).items():
        assert torch.equal(value, weights_of(whole)[key]), key


@pytest.mark.parametrize("loss", ["next_token", "prefix_lm"])
def test_an_encoder_decoder_without_a_source_is_refused_before_there_is_a_folder(tiny, loss):
    start = Job(tiny(model=BOTH, loss={"name": loss}), "tiny", quiet=True)
    with pytest.raises(UserError, match=f"EncoderDecoder reads a source, and the batches of loss/{loss} have none"):
        fit(start)
    assert not Path(start.config["paths"]["runs"]).exists()


# -- what the data side gives ---------------------------------------------------------------------------------------------


class Rows:
    """Rows of two documents of random tokens."""

    def __init__(self, n_blocks: int = 150, length: int = 24) -> None:
        self.n_blocks, self.length = n_blocks, length

    def batch(self, epoch, indices):
        rows = [
            torch.randint(1, 50, (self.length + 1,), generator=torch.Generator().manual_seed(97 * epoch + i)) for i in indices
        ]
        text = torch.stack(rows)
        cut = self.length // 3
        documents = (torch.arange(self.length) >= cut).long().expand(len(rows), -1)
        positions = torch.cat((torch.arange(cut), torch.arange(self.length - cut))).expand(len(rows), -1)
        return Batch(text[:, :-1], text[:, 1:], documents=documents, positions=positions)


def losses(name, **more):
    loss = OBJECTIVES[name][0]
    return build("loss", loss["name"], vocab_size=50, **{k: v for k, v in loss.items() if k != "name"}, **more)


def equal(a: Batch, b: Batch) -> bool:
    return all(
        equal(x, y) if isinstance(x, Batch) else torch.equal(x, y) if isinstance(x, torch.Tensor) else x is y
        for x, y in zip(vars(a).values(), vars(b).values())
    )


@every_objective
def test_ranks_and_micro_batches_cut_one_prepared_step(name):
    preparation = Preparation(losses(name), seed=3)
    whole = TrainSteps(Rows(), 8, 1, 0, 1, True, preparation)
    for ranks, accumulate in ((2, 2), (4, 1), (1, 4)):
        parts = [TrainSteps(Rows(), 8, accumulate, rank, ranks, True, preparation) for rank in range(ranks)]
        for step in (0, 5):
            expected = whole[step]
            items = [parts[r][step * accumulate + m] for m in range(accumulate) for r in range(ranks)]
            assert torch.equal(torch.cat([i.batch.ids for i in items]), expected.batch.ids)
            assert torch.equal(torch.cat([i.batch.targets for i in items]), expected.batch.targets)
            assert torch.equal(sum(parts[r][step * accumulate].totals for r in range(ranks)), expected.totals)
            assert torch.equal(sum(totals(i.batch) for i in items), expected.totals)
    if name not in ("multi_token", "seq2seq"):
        other = TrainSteps(Rows(), 8, 1, 0, 1, True, Preparation(losses(name), seed=4))
        assert not equal(whole[0].batch, other[0].batch), "the seed changes nothing"
        same_rows = Preparation(losses(name), seed=3).step(Rows().batch(0, range(8)), 1)
        assert not equal(whole[0].batch, same_rows), "the step changes nothing"
        assert equal(whole[0].batch, Preparation(losses(name), seed=3).step(Rows().batch(0, range(8)), 0))


@every_objective
def test_a_rank_draws_for_its_own_groups_of_rows_alone(name):
    """A step of several groups: the same draws however it is cut, and a rank reads no group that it has no row of."""

    class Counted(Rows):
        read = 0

        def batch(self, epoch, indices):
            self.read += len(indices)
            return super().batch(epoch, indices)

    size, ranks = 3 * GROUP, 6
    preparation = Preparation(losses(name), seed=3)
    whole = TrainSteps(Rows(), size, 1, 0, 1, True, preparation)[1]
    of_each = [Counted() for _ in range(ranks)]
    parts = [TrainSteps(blocks, size, 2, rank, ranks, True, preparation) for rank, blocks in enumerate(of_each)]
    items = [parts[r][2 + m] for m in range(2) for r in range(ranks)]
    assert [row for i in items for row in tokens(i.batch)] == tokens(whole.batch)
    assert torch.equal(sum(parts[r][2].totals for r in range(ranks)), whole.totals)
    assert max(blocks.read for blocks in of_each) <= 2 * GROUP


@every_objective
@pytest.mark.parametrize(("ranks", "rows"), [(1, 8), (1, 7), (2, 3), (1, 100)])
def test_an_evaluation_prepares_each_row_alike_however_it_is_cut(name, ranks, rows):
    preparation = Preparation(losses(name), seed=3)
    assert Rows().n_blocks > 2 * GROUP
    parts = [EvalBatches(Rows(), rows, rank, ranks, True, preparation=preparation) for rank in range(ranks)]
    plain = EvalBatches(Rows(), Rows().n_blocks, 0, 1, True, preparation=preparation)[0]
    items = [parts[r][i].batch for i in range(len(parts[0])) for r in range(ranks)]
    asked = lambda b: [row[row != -100].tolist() for row in b.targets]  # noqa: E731
    read = [row for b in items for row in asked(b)]
    assert read[: Rows().n_blocks] == asked(plain.batch)
    assert not any(read[Rows().n_blocks :]), "rows that fill up ask for nothing"
    seen = [row for b in items for row in tokens(b)]
    assert seen[: Rows().n_blocks] == tokens(plain.batch)


def tokens(batch: Batch) -> list[list[int]]:
    valid = torch.ones_like(batch.ids, dtype=torch.bool) if batch.valid is None else batch.valid
    own = [row[kept].tolist() for row, kept in zip(batch.ids, valid)]
    return own if batch.source is None else [a + b for a, b in zip(own, tokens(batch.source))]


def test_rows_of_unlike_length_are_filled_up():
    short = Batch(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long), prefix=torch.tensor([1, 2]))
    long = Batch(torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.long), prefix=torch.tensor([1]))
    first, second = widened([short, long])
    assert first.ids.shape == (2, 5)
    assert first.targets[:, 3:].eq(-100).all()
    assert first.valid.tolist() == [[True] * 3 + [False] * 2] * 2
    assert second.valid.all()
    assert first.prefix.tolist() == [1, 2]
    assert widened([short, short])[0] is short
    nested = widened([Batch(long.ids[:, :2], source=short), Batch(long.ids[:, :2], source=long)])
    assert [b.source.ids.shape[1] for b in nested] == [5, 5]


def test_tokens_of_a_source_count_and_numbers_may_be_unknown():
    source = Batch(torch.ones(2, 7), valid=torch.tensor([[True] * 7, [True] * 4 + [False] * 3]))
    assert tokens_in(Batch(torch.ones(2, 3), source=source)) == 6 + 11
    numbers = Batch(torch.ones(3, 2), targets=torch.tensor([0.5, -100.0, float("nan")]))
    assert totals(numbers).tolist() == [2.0, 6.0]
    kept = unasked(numbers.targets, torch.tensor([True, False, True]))
    assert kept.isnan().tolist() == [False, True, True]


def test_extra_ids_are_counted_before_there_is_a_tokenizer():
    config = {"tokenizer": {"name": "byte"}, "loss": {"name": "span_corruption", "sentinels": 9}}
    assert (vocabulary(config).size, vocabulary(config).note) == (BYTES + 9, "9 of them added by loss/span_corruption")
    assert vocabulary({**config, "loss": {"name": "next_token"}}).size == BYTES
    given = {"tokenizer": {"name": "bpe", "vocab_size": 300}, "loss": {"name": "masked_lm", "mask_id": 4}}
    assert vocabulary(given).size == 300
    assert "at most" in vocabulary({**given, "loss": {"name": "masked_lm"}}).note
    assert extra_tokens(object()) == 0


def test_why_a_model_continues_no_text():
    sizes = {"vocab_size": 11, "d_model": 8, "n_layers": 1, "attention": ATTENTION}
    assert why_cannot_generate(build("model", "decoder", **sizes)) == ""
    assert why_cannot_generate(build("model", "encoder", **sizes)) == "Encoder sees later tokens"
    assert "source" in why_cannot_generate(build("model", "encoder_decoder", **sizes))
    assert "no tokens" in why_cannot_generate(build("model", "decoder", **sizes, head="value"))
    assert "no tokens" in why_cannot_generate(build("model", "decoder", **sizes, head="classification"))


def test_ids_beyond_the_tokenizers_are_never_drawn():
    tokenizer = build("tokenizer", "byte")
    tokenizer.train(())
    model = build(
        "model",
        "decoder",
        vocab_size=BYTES + 3,
        **{k: v for k, v in DECODER.items() if k != "name"},
        head={"name": "linear", "bias": True},
    )
    with torch.no_grad():
        model.head.logits.bias[BYTES:] = 100.0
    with pytest.raises(ValueError, match=f"id {BYTES} is none"):  # what a draw of one would do
        tokenizer.decode([BYTES])
    for decoding in ("greedy", "sample"):
        config = {"decoding": {"name": decoding}, "cache": {"name": "growing"}}
        (text,) = generate(model, tokenizer, config, "ab", max_new_tokens=6)
        assert text.startswith("ab")


# -- distillation -----------------------------------------------------------------------------------------------------------


def test_a_student_learns_from_a_run_and_needs_it_no_more(tiny):
    teacher = fit(Job(tiny(trainer={"max_steps": 15, "log_every_n_steps": 15}), "tiny", quiet=True))
    loss = {"name": "distillation", "teacher": str(teacher.folder), "mix": 1.0, "temperature": 2.0}
    model = {"name": "decoder", "d_model": 24, "n_layers": 1, "context_length": 16, "attention": ATTENTION}
    config = tiny(loss=loss, model=model, trainer={"max_steps": 15, "log_every_n_steps": 5})
    student = fit(Job(config, "tiny", quiet=True))
    assert not any("teacher" in key for key in weights_of(student))
    assert student.figures["val_loss"] < math.log(BYTES) - 0.3, "the teacher alone has taught it the text"
    assert student.figures["val_bits_per_byte"] > 0
    teacher.folder.rename(teacher.folder.with_name("gone"))
    found = evaluate(str(student.folder))
    assert found["loss"] == pytest.approx(student.figures["best_val_loss"], rel=1e-5)
    with pytest.raises(UserError, match=r"loss\.teacher"):
        fit(Job(config, "tiny", quiet=True))


def test_a_student_learns_from_two_runs(tiny, tmp_path):
    teachers = [fit(Job(tiny(seed=seed, trainer={"max_steps": 15}), "tiny", quiet=True)) for seed in (1, 2)]
    runs = [str(teacher.folder) for teacher in teachers]
    loss = {"name": "ensemble_distillation", "teachers": runs, "weights": [1.0, 2.0], "mix": 1.0}
    student = fit(Job(tiny(loss=loss, trainer={"max_steps": 15}), "tiny", quiet=True))
    assert student.figures["val_loss"] < math.log(BYTES) - 0.3, "the teachers alone have taught it the text"
    composed = compose("llama_tiny", ["loss=ensemble_distillation", f"loss.teachers=[a,{runs[1]}]"], cwd=tmp_path).config
    assert composed["loss"]["teachers"] == [str(tmp_path / "a"), runs[1]]  # wherever the run goes on from
    with pytest.raises(UserError, match=r"loss\.teachers\.1: .*no such run"):
        fit(Job(tiny(loss=loss | {"teachers": [runs[0], "gone"]}, trainer={"max_steps": 2}), "tiny", quiet=True))


def test_a_teacher_of_other_tokens_is_refused(tiny):
    teacher = fit(Job(tiny(trainer={"max_steps": 2}), "tiny", quiet=True))
    loss = {"name": "distillation", "teacher": str(teacher.folder)}
    with pytest.raises(UserError, match=r"tokenizer of .* is another one"):
        fit(Job(tiny(loss=loss, tokenizer={"name": "char"}, trainer={"max_steps": 2}), "tiny", quiet=True))
