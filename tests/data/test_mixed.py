"""Weighted mixtures: shares as asked, nothing twice, decided by seed and text."""

from __future__ import annotations

import pytest

from components import build
from components.core.errors import UserError
from components.corpus import prepare


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"a{i} {'x' * (i % 50)}\n" for i in range(2000)))
    (tmp_path / "b.txt").write_text("".join(f"b{i} {'y' * (i % 90)}\n" for i in range(500)))
    return [{"name": "text", "path": str(tmp_path / f"{n}.txt"), "split_on": "lines"} for n in "ab"]


def drawn(files, **options) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"a": [], "b": []}
    for document in build("data", "mixed", parts=files, **options).documents():
        found[document.text[0]].append(document.text)
    return found


def test_without_weights_everything_is_there(files):
    found = drawn(files)
    assert (len(found["a"]), len(found["b"])) == (2000, 500)


@pytest.mark.parametrize("weights", [[1, 1], [3, 1.0], [0.1, 0.9]])
@pytest.mark.parametrize("by", ["characters", "documents"])
def test_shares_are_as_asked_and_one_source_is_whole(files, weights, by):
    found = drawn(files, weights=weights, by=by)
    size = {n: sum(map(len, t)) if by == "characters" else len(t) for n, t in found.items()}
    assert size["a"] / (size["a"] + size["b"]) == pytest.approx(weights[0] / sum(weights), abs=0.01)
    assert len(found["a"]) == 2000 or len(found["b"]) == 500
    assert all(len(t) == len(set(t)) for t in found.values())


def test_the_draw_follows_the_seed(files):
    a, same, other = (set(drawn(files, weights=[1, 1], seed=s)["a"]) for s in (0, 0, 1))
    assert a == same != other
    assert len(a) < 2000


def test_repeated_documents_count_once(files, tmp_path):
    (tmp_path / "b.txt").write_text("b one\n" * 1000 + "b two\n")
    found = drawn(files, weights=[1, 1], by="documents")
    assert set(found["b"]) == {"b one", "b two"}
    assert len(found["a"]) == 2


def test_notes_and_fingerprint(files, tmp_path):
    source = build("data", "mixed", parts=files, weights=[1, 1], by="documents")
    corpus = prepare(source, build("tokenizer", "byte"), cache=tmp_path / "cache")
    assert sum("500 documents" in line for line in corpus.report.lines()) == 2
    before = source.fingerprint()
    assert before == build("data", "mixed", parts=files, weights=[1, 1], by="documents").fingerprint()
    assert before != build("data", "mixed", parts=files, weights=[1, 2], by="documents").fingerprint()
    (tmp_path / "b.txt").write_text("b changed")
    assert before != source.fingerprint()


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, 2, 3]])
def test_weights_must_fit(files, weights):
    with pytest.raises(ValueError, match="must be 2 positive numbers"):
        build("data", "mixed", parts=files, weights=weights)


def test_no_part_is_refused():
    with pytest.raises(ValueError, match="at least one source"):
        build("data", "mixed", parts=[])
    with pytest.raises(UserError, match="did you mean 'text'"):
        build("data", "mixed", parts=["txt"])
