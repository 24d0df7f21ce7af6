"""Hugging Face data sets from local files, without a network."""

from __future__ import annotations

import json
import pickle

import pytest

from components import build
from components.core.errors import UserError
from components.corpus import prepare
from components.corpus.work import Asked, asking

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf_cache"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "set"
    made.mkdir()
    for split, n in (("train", 30), ("test", 5)):
        rows = [{"text": f"{split} {i}", "label": i} for i in range(n)]
        (made / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return made


def texts(path, **options) -> list[str]:
    return [d.text for d in build("data", "hf", path=str(path), **options).documents()]


def test_a_folder_of_files_with_splits(folder):
    assert texts(folder) == [f"train {i}" for i in range(30)]
    assert texts(folder, split="test") == [f"test {i}" for i in range(5)]
    assert texts(folder, split="train[:3]") == ["train 0", "train 1", "train 2"]
    assert texts(folder, streaming=True) == texts(folder)


def test_a_file(folder, tmp_path):
    assert texts(folder / "test.jsonl") == [f"test {i}" for i in range(5)]
    (tmp_path / "x.txt").write_text("one\ntwo\n")
    assert texts(tmp_path / "x.txt") == ["one", "two"]


def test_what_save_to_disk_made(tmp_path):
    made = datasets.Dataset.from_dict({"body": ["a", None, "b"]})
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made, "dev": made}).save_to_disk(tmp_path / "two")
    assert texts(tmp_path / "one", field="body") == ["a", "", "b"]
    assert texts(tmp_path / "two", field="body", split="dev") == ["a", "", "b"]


def test_origin_names_the_row(folder):
    first = next(iter(build("data", "hf", path=str(folder)).documents()))
    assert first.where == f"{folder}[train][0]"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"field": "txt"}, r"\[train\]\[0\]: has no field 'txt'; did you mean 'text'"),
        ({"field": "label"}, r"\[train\]\[0\]: field 'label' is no text but int"),
        ({"split": "dev"}, "dev"),
        ({"path": "no_user/no_such_set"}, "no_user/no_such_set"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(folder, options, words):
    with pytest.raises(UserError, match=words) as caught:
        texts(**{"path": folder, **options})
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_said(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 none")
    with pytest.raises(UserError, match=r"x\.parquet"):
        texts(tmp_path / "x.parquet")
    (tmp_path / "x.doc").write_bytes(b"")
    with pytest.raises(UserError, match="no data file that is known"):
        texts(tmp_path / "x.doc")


def test_fingerprint_follows_local_files_and_options(folder):
    first = build("data", "hf", path=str(folder)).fingerprint()
    assert first == build("data", "hf", path=str(folder)).fingerprint()
    assert first != build("data", "hf", path=str(folder), split="test").fingerprint()
    (folder / "train.jsonl").write_text('{"text": "other"}\n')
    assert first != build("data", "hf", path=str(folder)).fingerprint()
    assert build("data", "hf", path="a/b").fingerprint() != build("data", "hf", path="a/b", revision="x").fingerprint()


# examples


def examples(name: str, path, **options):
    return list(build("data", name, path=str(path), **options).examples())


def test_labels_and_pairs_from_splits(folder):
    found = examples("hf_labelled_text", folder)
    assert [(e.input, e.answer, e.split) for e in found[:2]] == [("train 0", "0", None), ("train 1", "1", None)]
    assert found[1].where == f"{folder}[train][1]"
    split = [(e.input, e.split) for e in examples("hf_labelled_text", folder, split="train[:1]", validation_split="test")]
    assert split[:2] == [("train 0", "train"), ("test 0", "validation")]
    pairs = [(e.input, e.answer) for e in examples("hf_text_pairs", folder, source="text", target="text", test_split="test")]
    assert pairs[-1] == ("test 4", "test 4")
    assert examples("hf_labelled_text", folder, streaming=True) == found
    with pytest.raises(UserError, match=r"\[train\]\[0\]: has no field 'source'; .*choose by data.source="):
        examples("hf_text_pairs", folder)


def test_the_data_sets_own_names_of_labels(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["good", "bad"])})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "one")
    source = build("data", "hf_labelled_text", path=str(tmp_path / "one"))
    assert source.labels == ("good", "bad")
    assert [e.answer for e in source.examples()] == ["bad", "good", None]


def test_translations_within_a_column(tmp_path):
    datasets.Dataset.from_dict({"translation": [{"en": "yes", "fr": "oui"}]}).save_to_disk(tmp_path / "one")
    found = examples("hf_text_pairs", tmp_path / "one", source="translation.en", target="translation.fr")
    assert [(e.input, e.answer) for e in found] == [("yes", "oui")]


def test_conversations(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "Hi", "input": "", "output": "Hello"}\n')
    said = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    assert [e.input for e in examples("hf_conversations", tmp_path / "a.jsonl")] == [said]
    (tmp_path / "b.jsonl").write_text('{"text": "Hi"}\n')
    with pytest.raises(UserError, match="is no conversation"):
        examples("hf_conversations", tmp_path / "b.jsonl")
    assert examples("hf_conversations", tmp_path / "b.jsonl", abnormal="drop") == []


@pytest.mark.parametrize("name", ["hf_labelled_text", "hf_text_pairs", "hf_conversations"])
def test_fingerprints_of_examples(folder, name):
    first = build("data", name, path=str(folder)).fingerprint()
    assert first == build("data", name, path=str(folder)).fingerprint()
    others = {
        build("data", name, path=str(folder), **{o: "test"}).fingerprint() for o in ("split", "validation_split", "test_split")
    }
    assert len(others - {first}) == 3


def in_shards(source, size):
    shards = pickle.loads(pickle.dumps(source.shards(size)))
    return len(shards), [(d.text, d.where) for shard in shards for d in shard.documents()]


def test_rows_divide_and_stand_where_they_stood(folder, tmp_path):
    datasets.Dataset.from_dict({"text": [f"row {i}" for i in range(100)]}).save_to_disk(tmp_path / "saved", num_shards=3)
    for path in (tmp_path / "saved", folder):
        source = build("data", "hf", path=str(path))
        whole = [(d.text, d.where) for d in source.documents()]
        assert in_shards(source, 10**9) == (1, whole)
        count, documents = in_shards(source, 100)
        assert documents == whole
        assert count > 3


def test_what_is_streamed_divides_by_its_files(tmp_path):
    given = tmp_path / "set"
    given.mkdir()
    for i in range(4):
        (given / f"train-{i}.jsonl").write_text("".join(json.dumps({"text": f"file {i} row {j}"}) + "\n" for j in range(5)))
    source = build("data", "hf", path=str(given), streaming=True)
    count, documents = in_shards(source, 1)
    assert count == 4
    assert documents == [(d.text, d.where) for d in source.documents()]
    assert [text for text, _ in documents] == texts(given)
    assert documents[7] == ("file 1 row 2", f"{given}[train][file 1][2]")
    one = prepare(build("data", "hf", path=str(given)), build("tokenizer", "byte"), cache=tmp_path / "one")
    with asking(Asked(2)):
        two = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "two")
    assert two.hash == one.hash
