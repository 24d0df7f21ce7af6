"""The cache goes by what files hold: other text of the same size and time is other text, and what is stored is what is trained on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from components import build
from components.core.errors import UserError
from components.corpus import contents, prepare, store
from components.corpus.contents import hash_of
from components.corpus.examples import prepare_examples

TEXT = "".join(f"line {i} with words\n" for i in range(40))


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    os.utime(file, (1.5e9, 1.5e9))  # reproducible archives, rsync -t
    return file


@pytest.mark.parametrize("little", [contents.LITTLE, 0])
@pytest.mark.parametrize("fresh", [contents.FRESH, -1.0])
def test_other_text_of_the_same_size_and_time_is_other_text(tmp_path, monkeypatch, little, fresh):
    monkeypatch.setattr(contents, "LITTLE", little)
    monkeypatch.setattr(contents, "FRESH", fresh)
    file = written(tmp_path / "s.txt", TEXT)
    first = hash_of([file], kept=tmp_path / "kept")
    assert hash_of([file], kept=tmp_path / "kept") == first
    written(file, TEXT.replace("words", "WORDS"))
    assert hash_of([file], kept=tmp_path / "kept") != first
    written(file, TEXT)
    assert hash_of([file], kept=tmp_path / "kept") == first
    file.rename(tmp_path / "other.txt")
    assert hash_of([tmp_path / "other.txt"], kept=tmp_path / "kept") != first


@pytest.fixture
def reads(monkeypatch):
    """The files that were read."""
    found: list[str] = []
    digest = contents._digest

    def seen(path: str) -> str:
        found.append(Path(path).name)
        return digest(path)

    monkeypatch.setattr(contents, "_digest", seen)
    monkeypatch.setattr(contents, "LITTLE", 0)
    return found


def test_much_is_read_once_and_again_where_it_was_changed(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(contents, "FRESH", -1.0)
    files = [written(tmp_path / f"{i}.txt", f"{TEXT}{i}") for i in range(3)]
    first = hash_of(files, kept=tmp_path / "kept")
    assert hash_of(files, kept=tmp_path / "kept") == first
    assert reads == ["0.txt", "1.txt", "2.txt"]
    written(files[1], f"{TEXT}X")
    files.append(written(tmp_path / "3.txt", TEXT))
    assert hash_of(files, kept=tmp_path / "kept") != first
    assert reads[3:] == ["1.txt", "3.txt"]
    for damaged in (tmp_path / "kept").iterdir():
        damaged.write_text('{"stamp": 1, "rows": {"x": 3}}')
    hash_of(files, kept=tmp_path / "kept")
    assert len(reads) == 9


def test_what_was_changed_just_now_is_not_taken_as_known(tmp_path, reads):
    files = [written(tmp_path / "s.txt", TEXT)]
    assert hash_of(files, kept=tmp_path / "kept") == hash_of(files, kept=tmp_path / "kept")
    assert len(reads) == 2


def test_a_name_that_is_no_utf8_and_a_file_that_is_not_there(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    file.write_text(TEXT)
    assert hash_of([file])
    with pytest.raises(UserError, match=r"no\.txt: cannot be read \(No such file"):
        hash_of([tmp_path / "no.txt"])


def test_data_of_the_same_size_and_time_trains_on_what_is_there(tmp_path):
    seen = set()
    for word in ("words", "WORDS"):
        file = written(tmp_path / "s.txt", TEXT.replace("words", word))
        source = build("data", "text", path=str(file), split_on="lines")
        corpus = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "cache", validation=0.2)
        seen.add(corpus.hash)
        assert all(word in text for text in corpus.text("train"))
    assert len(seen) == 2


def flipped(file: Path, at: float = 0.6) -> None:
    held = bytearray(file.read_bytes())
    held[int(len(held) * at)] ^= 0x10
    file.write_bytes(held)


def header(file: Path) -> None:
    flipped(file, 0.0)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def gone(file: Path) -> None:
    file.unlink()


def linked(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def nested(file: Path) -> None:
    file.write_text("[" * 100_000)


def other(file: Path) -> None:
    """Its own content says something else: names, numbers and notes are part of what was written."""
    held = json.loads(file.read_text())
    held["meta"].popitem()
    file.write_text(json.dumps(held))


def text_corpus(folder: Path):
    file = written(folder / "s.txt", TEXT)
    source = build("data", "text", path=str(file), split_on="lines")
    made = prepare(source, build("tokenizer", "byte"), cache=folder / "cache", validation=0.2)
    splits = (made.train, made.validation, made.test)
    return [made.hash, made.report.lines(), *(np.asarray(s.tokens).tolist() for s in splits), *(list(s.starts) for s in splits)]


def example_corpus(folder: Path):
    file = written(folder / "s.jsonl", "".join(f'{{"text": "number {i}", "label": "{i % 2}"}}\n' for i in range(40)))
    source = build("data", "labelled_text", path=str(file))
    made = prepare_examples(source, build("tokenizer", "byte"), cache=folder / "cache", labelled=True, validation=0.2)
    return [made.hash, made.report.lines(), list(made.train), list(made.validation), made.tokenizer.labels]


@pytest.mark.parametrize("damage", [flipped, header, cut, gone, linked])
@pytest.mark.parametrize("made", [text_corpus, example_corpus])
def test_a_file_of_the_cache_that_is_not_what_was_written_is_made_anew(made, damage, tmp_path):
    first = made(tmp_path)
    for file in sorted(f for f in (tmp_path / "cache").rglob("*") if f.is_file() and f.stat().st_size):
        if file.parent.parent.name != "texts" or file.name == store.META:  # texts are looked at where they are read
            damage(file)
            assert made(tmp_path) == first, file.name
            assert file.is_file()
            assert not file.is_symlink(), file.name


@pytest.mark.parametrize("damage", [nested, other])
@pytest.mark.parametrize("made", [text_corpus, example_corpus])
def test_what_the_cache_says_about_itself_is_not_believed(made, damage, tmp_path):
    first = made(tmp_path)
    for file in sorted((tmp_path / "cache").rglob(store.META)):
        damage(file)
        assert made(tmp_path) == first


@pytest.mark.parametrize("damage", [flipped, cut])
@pytest.mark.parametrize("name", ["train.txt", "train.ends.npy"])
def test_damaged_text_is_refused_where_it_is_read_and_made_anew_where_it_is_tokenised(name, damage, tmp_path):
    file = written(tmp_path / "s.txt", TEXT)
    source = build("data", "text", path=str(file), split_on="lines")
    corpus = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "cache", validation=0.2)
    said = list(corpus.text("train"))
    (held,) = (tmp_path / "cache").rglob(name)
    damage(held)
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        list(corpus.text("train"))
    again = prepare(source, build("tokenizer", "char"), cache=tmp_path / "cache", validation=0.2)
    assert list(again.text("train")) == said


def test_a_full_disk_is_one_line_that_names_the_cache(tmp_path):
    def full(_: Path) -> dict:
        with open("/dev/full", "wb") as f:
            f.write(b"x" * 10**6)
        return {}

    with pytest.raises(UserError, match=r"cache: the cache cannot be written \(No space left on device\)"):
        store.build(tmp_path / "cache" / "k", full)
    assert not any((tmp_path / "cache").iterdir())

    def another(_: Path) -> dict:
        (tmp_path / "source.txt").read_text()
        return {}

    with pytest.raises(FileNotFoundError, match=r"source\.txt"):
        store.build(tmp_path / "cache" / "k", another)
