"""A large corpus of examples costs a process what it looks at, not what there is: counted in bytes."""

from __future__ import annotations

import pickle
import tracemalloc
from array import array

import numpy as np
import pytest
import torch

from components import build
from components.core.errors import UserError
from components.corpus.example import Example
from components.corpus.example_files import Chained, Chosen, Stored, Writer
from components.corpus.examples import prepare_examples
from components.corpus.row import Row
from components.corpus.rows import Rows, batch_of
from components.training.task.classification import few_of_each

WIDTH, COUNT = 50, 4000  # numbers of an example, examples


class Numbers:
    def examples(self):
        for i in range(COUNT):
            yield Example((tuple(float(i * WIDTH + j) for j in range(WIDTH)),), ("a", "b")[i % 2], "table.csv", i + 1)

    def fingerprint(self):
        return "numbers"


def label_of(example, longest):  # noqa: ARG001
    return Row([0] * len(example.input), int(example.answer == "b"), values=example.input)


def held_after(make):
    """(what ``make`` gives, bytes that are held then, bytes at most meanwhile)."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        made = make()
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return made, now - before, most - before


def test_examples_and_rows_hold_no_number_of_the_corpus(tmp_path):
    def make():
        corpus = prepare_examples(Numbers(), build("tokenizer", "none"), cache=tmp_path, labelled=True)
        return corpus, Rows("train", corpus.train, label_of, 8, seed=1, folder=corpus.rows)

    make()  # what is imported at the first time
    (corpus, rows), held, most = held_after(make)
    numbers = WIDTH * COUNT
    assert held < numbers / 4, f"{held} bytes for {numbers} numbers"
    assert most < 8 * numbers, f"{most} bytes at most for {numbers} numbers"
    assert len(pickle.dumps(rows)) < 2000, "a worker that is started anew maps the same files"
    again = pickle.loads(pickle.dumps(rows))
    for name in ("values", "targets"):
        assert torch.equal(getattr(again.batch(2, range(9)), name), getattr(rows.batch(2, range(9)), name))
    assert rows.batch(0, [0]).values.dtype == torch.float32
    assert len(corpus.train) + len(corpus.validation) == COUNT


def as_lists(rows):
    """Batches as they were made of Python lists."""

    def padded(given, fill):
        lengths = torch.tensor([len(r) for r in given])
        made = torch.full((len(given), int(lengths.max())), fill)
        for i, row in enumerate(given):
            made[i, : len(row)] = torch.as_tensor(row)
        valid = torch.arange(int(lengths.max())) < lengths[:, None]
        return made, None if bool(valid.all()) else valid

    found = dict(zip(("ids", "valid"), padded([r.ids for r in rows], 0)))
    first = rows[0]
    if isinstance(first.targets, tuple):
        found["targets"] = torch.tensor([r.targets for r in rows], dtype=torch.float32)
    elif isinstance(first.targets, int):
        found["targets"] = torch.tensor([r.targets for r in rows])
    else:
        found["targets"] = padded([r.targets for r in rows], -100)[0]
    if first.source is not None:
        found["source"], found["source_valid"] = padded([r.source for r in rows], 0)
    if first.values is not None:
        found["values"] = torch.zeros(*found["ids"].shape, len(first.values[0]))
        for i, row in enumerate(rows):
            found["values"][i, : len(row.ids)] = torch.tensor(row.values, dtype=torch.float32)
    return found


def some_rows(form):
    draw = np.random.default_rng(0)
    for _ in range(40):
        n, s = draw.integers(1, 7, 2)
        ids, third = draw.integers(0, 70_000, n).tolist(), draw.normal(size=(n, 3)) * 1e30
        yield {
            "tokens": Row(ids, [-100, *ids[1:]]),
            "pairs": Row(ids, ids, source=draw.integers(0, 9, s).tolist()),
            "classes": Row(ids, int(n)),
            "amounts": Row(ids, tuple((draw.normal(size=2) / 3).tolist())),
            "numbers": Row([0] * n, int(s), values=[tuple(v) for v in third.tolist()]),
        }[form]


@pytest.mark.parametrize("form", ["tokens", "pairs", "classes", "amounts", "numbers"])
@pytest.mark.parametrize("cached", [False, True])
def test_batches_are_those_of_lists_to_the_last_bit(form, cached, tmp_path):
    given = list(some_rows(form))
    examples = [Example(str(i), "y", "f", i) for i in range(len(given))]
    rows = Rows("train", examples, lambda e, _: given[int(e.input)], 8, 3, folder=tmp_path / "rows" if cached else None)
    for epoch, numbers in ((0, range(5)), (1, [3]), (2, range(40))):
        batch, want = rows.batch(epoch, numbers), as_lists([given[i] for i in rows.order.rows(epoch, numbers)])
        source = batch.source
        found = {"ids": batch.ids, "valid": batch.valid, "targets": batch.targets, "values": batch.values}
        found |= {} if source is None else {"source": source.ids, "source_valid": source.valid}
        for name, value in want.items():
            if value is None:
                assert found[name] is None
            else:
                assert found[name].dtype == value.dtype
                assert torch.equal(found[name], value)


def test_the_same_rows_are_written_once_and_other_rows_beside_them(tmp_path):
    def rows(number):
        return Rows("train", [Example("x", "y", "f")] * 3, lambda *_: Row([1, 2], number), 8, folder=tmp_path)

    first, again, other = rows(0), rows(0), rows(1)
    assert first.rows.folder == again.rows.folder != other.rows.folder
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted({first.rows.folder.name, other.rows.folder.name})


def test_rows_of_another_form_are_refused_with_their_place(tmp_path):
    forms = [Row([0], 1, values=[(1.0, 2.0)]), Row([0], 1, values=[(1.0,)])]
    examples = [Example("0", "y", "f", 1), Example("1", "y", "f", 2)]
    with pytest.raises(UserError, match="f:2: has 1 numbers at each position and a label, where those before it have 2"):
        Rows("train", examples, lambda e, _: forms[int(e.input)], 8, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_split_without_an_example_and_rows_without_a_token(tmp_path):
    with Writer(tmp_path / "test.jsonl"):
        pass
    assert (len(Stored(tmp_path / "test.jsonl")), list(Stored(tmp_path / "test.jsonl"))) == (0, [])
    assert batch_of([Row([], [])]).ids.shape == (1, 0)


def test_examples_are_a_sequence_like_any_other(tmp_path):
    given = [Example(f"text {i}", "y", "f", i) for i in range(5)]
    with Writer(tmp_path / "train.jsonl") as file:
        for example in given:
            file.add(example)
    stored = Stored(tmp_path / "train.jsonl")
    assert stored == given == list(pickle.loads(pickle.dumps(stored)))
    assert (stored[-1], stored[1:3], given[4] in stored) == (given[4], given[1:3], True)
    assert Chained([stored, Chosen(stored, np.array([3, 0]))])[4:] == [given[4], given[3], given[0]]
    with pytest.raises(IndexError):
        stored[5]


@pytest.mark.parametrize("harm", ["cut", "overwritten"])
def test_a_damaged_file_of_examples_is_one_line(tmp_path, harm):
    file = tmp_path / "train.jsonl"
    with Writer(file) as written:
        for i in range(3):
            written.add(Example(f"text {i}", "y", "f", i))
    content = file.read_bytes()
    file.write_bytes(content[:-5] if harm == "cut" else b"{" * len(content))
    with pytest.raises(UserError, match=r"train.jsonl: is damaged: .*; remove the folder"):
        list(Stored(file))


def test_a_table_is_read_row_by_row(tmp_path):
    import json

    count = 3000
    with (tmp_path / "t.jsonl").open("w") as f:
        for i in range(count):
            f.write(json.dumps({f"c{j}": i + j / 7 for j in range(10)} | {"label": "ab"[i % 2]}) + "\n")
    source = build("data", "table", path=str(tmp_path / "t.jsonl"))
    n, _, most = held_after(lambda: sum(1 for _ in source.examples()))
    assert n == count
    assert most < count * 100, f"{most} bytes for {count} rows of ten numbers"


def test_few_of_each_label_are_those_of_the_smallest_hash():
    from components.corpus.examples import digest_of

    given = [Example(f"text {i}", "abc"[i * i % 3], "f", i) for i in range(60)]
    for most in (1, 7, 100):
        count, chosen = {}, array("q")
        for i in sorted(range(60), key=lambda i: (digest_of(given[i]), i)):
            if count.setdefault(given[i].answer, 0) < most:
                count[given[i].answer] += 1
                chosen.append(i)
        assert few_of_each(given, most) == [e for i, e in enumerate(given) if i in chosen]
