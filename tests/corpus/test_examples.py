"""Examples are cleaned with a report, split by their inputs, and become padded rows; nothing of it depends on who reads them."""

from __future__ import annotations

import json

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.corpus.clean import Report
from components.corpus.example import Example
from components.corpus.example_files import Stored
from components.corpus.examples import prepare_examples, write_examples
from components.corpus.rows import Row, Rows, batch_of
from components.corpus.texts import Cleaning


class Source:
    labels = ("leaf", "flower")

    def __init__(self, examples, name="source"):
        self.given, self.name = examples, name

    def examples(self):
        yield from self.given

    def fingerprint(self):
        return self.name


def labelled(n=60):
    return [Example(f"a text number {i}", ("flower", "leaf")[i % 2], "here", i + 1) for i in range(n)]


def prepared(tmp_path, examples, **options):
    return prepare_examples(
        Source(examples, str(hash(tuple(map(repr, examples))))),
        build("tokenizer", "byte"),
        cache=tmp_path,
        **{"labelled": True, **options},
    )


def split(folder, examples, cleaning, report):
    folder.mkdir(exist_ok=True)
    digest = write_examples(folder, examples, cleaning, report)
    return {name: list(Stored(folder / f"{name}.jsonl")) for name in ("train", "validation", "test")}, digest


def test_what_cannot_be_learnt_from_is_counted_with_its_place(tmp_path):
    given = [
        Example("kept", "leaf", "f", 1),
        Example("  ", "leaf", "f", 2),
        Example("no answer", None, "f", 3),
        Example("no answer either", " ", "f", 4),
        Example("kept", "leaf", "f", 5),
        Example("kept", "flower", "f", 6),
        Example(((1.0, float("nan")),), "leaf", "f", 7),
        Example(((1.0, 2.0),), (float("inf"),), "f", 8),
        Example("\udce9t\udce9", "leaf", "f", 9),
        Example(({"role": "user", "content": "hello"},), None, "f", 10),
        Example((), "leaf", "f", 11),
    ]
    report = Report(called="examples")
    made, _ = split(tmp_path, given, Cleaning(0, 0.0, 0.0, 0), report)
    assert [(e.line, e.answer) for e in made["train"]] == [(1, "leaf"), (6, "flower")]
    assert {r: n for r, n in report.counts.items() if n} == {
        "empty": 2, "unanswered": 3, "duplicates": 1, "conflicting": 1, "abnormal": 2, "undecodable": 1,
    }  # fmt: skip
    assert report.examples["abnormal"] == ["f:7", "f:8"]
    assert "11 examples read, 2 kept" in report.lines()[0]


def test_equal_inputs_stay_in_one_split_and_others_do_not_move_them(tmp_path):
    both = [Example(f"text {i // 2}", ("leaf", "flower")[i % 2], "f", i) for i in range(200)]
    made, _ = split(tmp_path, both, Cleaning(0, 0.3, 0.2, 0), Report())
    where = {name: {e.input for e in kept} for name, kept in made.items()}
    assert all(where.values())
    assert not where["train"] & where["validation"] | where["train"] & where["test"] | where["validation"] & where["test"]
    fewer, _ = split(tmp_path / "fewer", both[50:], Cleaning(0, 0.3, 0.2, 0), Report())
    assert all({e.input for e in fewer[name]} <= where[name] for name in where)


def test_a_source_that_splits_itself_is_left_as_it_is(tmp_path):
    given = [Example(f"t{i}", "leaf", "f", i, "validation" if i > 7 else "train") for i in range(10)]
    corpus = prepared(tmp_path, given, validation=0.5)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (8, 2, 0)


def test_few_examples_still_leave_one_for_validation(tmp_path):
    corpus = prepared(tmp_path, labelled(3), validation=0.01)
    assert (len(corpus.train), len(corpus.validation)) == (2, 1)
    assert any("held out" in line for line in corpus.report.lines())


def test_the_second_time_all_is_read_from_the_cache_and_the_same(tmp_path):
    first = prepared(tmp_path, labelled())
    before = sorted(f.stat().st_mtime_ns for f in tmp_path.rglob("*.json*"))
    again = prepared(tmp_path, labelled())
    assert sorted(f.stat().st_mtime_ns for f in tmp_path.rglob("*.json*")) == before
    assert (again.train, again.validation, again.hash, again.labels) == (
        first.train,
        first.validation,
        first.hash,
        first.labels,
    )
    assert first.labels == ("leaf", "flower"), "the source's order, not the alphabet's"


def test_numbers_and_conversations_come_back_from_the_cache_as_they_were(tmp_path):
    given = [
        Example(((0.5, 2.0), (1.0, 3.0)), (4.0, 5.0), "f", 1),
        Example(({"role": "user", "content": "é"}, {"role": "assistant", "content": "b"}), None, "f", 2),
    ]
    for _ in range(2):
        assert prepared(tmp_path, given, labelled=False, validation=0.0).train == given


def test_labels_of_a_trained_tokenizer_keep_their_numbers(tmp_path):
    from components.runs.preparing import TrainedTokenizer

    first = prepared(tmp_path, labelled())
    source = Source(labelled(), "other")
    source.labels = ("flower", "leaf")
    again = prepare_examples(source, TrainedTokenizer(first.tokenizer), cache=tmp_path, labelled=True)
    assert again.labels == first.labels


ENCODED = [Row([1, 2, 3], [2, 3, -100]), Row([4], [5])]


def test_a_batch_is_padded_and_says_where():
    batch = batch_of(ENCODED)
    assert batch.ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.targets.tolist() == [[2, 3, -100], [5, -100, -100]]
    assert batch.valid.tolist() == [[True] * 3, [True, False, False]]
    assert batch_of(ENCODED[:1]).valid is None


def test_sources_classes_numbers_and_values_are_padded_each_in_its_way():
    pairs = batch_of([Row([1], [2], source=[7, 8]), Row([1], [2], source=[9])])
    assert pairs.source.ids.tolist() == [[7, 8], [9, 0]]
    assert pairs.source.valid.tolist() == [[True, True], [True, False]]
    assert batch_of([Row([0], 3), Row([0], 1)]).targets.tolist() == [3, 1]
    table = batch_of([Row([0, 0], (1.5, 2.5), values=[[1, 2], [3, 4]]), Row([0], (0.5, 1.0), values=[[5, 6]])])
    assert table.targets.tolist() == [[1.5, 2.5], [0.5, 1.0]]
    assert table.values.tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]


def test_batches_of_other_lengths_are_joined_with_their_numbers_kept():
    from components.corpus.batches import joined, widened

    a = batch_of([Row([0, 0], (1.0, 2.0), values=[[1], [2]])])
    b = batch_of([Row([0], (3.0, 4.0), values=[[5]])])
    whole = joined(widened([a, b]))
    assert whole.targets.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert whole.values.tolist() == [[[1], [2]], [[5], [0]]]
    assert whole.valid.tolist() == [[True, True], [True, False]]


def encode(example, longest):
    ids = list(range(1, len(example.input) + 1))
    return Row(ids[:longest], 0, cut=len(ids) > longest and example.answer == "cut")


def test_each_epoch_deals_every_row_once_in_an_order_of_its_own():
    rows = Rows("train", [Example("x" * n, "y", "f", n) for n in range(1, 9)], encode, 8, seed=1)
    epochs = [rows.batch(epoch, range(8)).valid.sum(1).tolist() for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1, 9))
    assert epochs[0] != epochs[1]
    again = Rows("train", [Example("x" * n, "y", "f", n) for n in range(1, 9)], encode, 8, seed=1)
    assert torch.equal(again.batch(1, range(8)).ids, rows.batch(1, range(8)).ids)
    plain = Rows("test", [Example("x" * n, "y", "f", n) for n in range(1, 9)], encode, 8)
    assert plain.batch(0, range(8)).valid.sum(1).tolist() == list(range(1, 9))


def test_rows_that_do_not_fit_are_cut_or_left_out_and_both_are_said():
    def whole(example, longest):  # noqa: ARG001
        return Row(list(range(len(example.input))), 0)

    given = [Example("xx", "y", "f", 1), Example("xxxxx", "cut", "f", 2)]
    left_out = Rows("train", given, whole, 3)
    assert (left_out.n_blocks, len(left_out.examples), left_out.tokens_per_row) == (1, 1, 2)
    assert "1 examples of train left out" in left_out.notes[0]
    assert "f:2" in left_out.notes[0]
    cut = Rows("train", given, encode, 3)
    assert (cut.n_blocks, cut.tokens_per_row) == (2, 2.5)
    assert cut.notes == ["1 examples of train cut to model.context_length=3"]
    with pytest.raises(UserError, match="all 2 are longer"):
        Rows("train", given, whole, 1)


def test_labels_go_wherever_the_tokenizer_goes(tmp_path):
    from components.corpus.tokens import read_tokenizer

    corpus = prepared(tmp_path, labelled())
    corpus.tokenizer.save(tmp_path / "kept" / "tokenizer.json")
    assert json.loads((tmp_path / "kept" / "labels.json").read_text()) == ["leaf", "flower"]
    assert read_tokenizer(tmp_path / "kept" / "tokenizer.json").labels == ("leaf", "flower")
