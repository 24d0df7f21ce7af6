"""The texts of examples as documents: none of the answers of labelled ones, and the same held out as in a task over the examples."""

from __future__ import annotations

import json

import pytest

from components import build
from components.core.errors import UserError
from components.corpus import prepare
from components.corpus.examples import prepare_examples
from components.training.task.classification import few_of_each


@pytest.fixture
def labelled(tmp_path):
    rows = [{"text": f"the {word} number {i}", "label": word} for i in range(60) for word in ("tree", "stone", "bird")]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"name": "labelled_text", "path": str(tmp_path / "labelled.jsonl")}


def test_labels_are_no_texts_and_answers_are(labelled):
    source = build("data", "texts_of", source=labelled)
    texts = [d.text for d in source.documents()]
    assert len(texts) == 180
    assert texts[:2] == ["the tree number 0", "the stone number 0"]
    assert source.fingerprint() != build("data", "texts_of", source="babel_dates").fingerprint()
    pairs = build("data", "texts_of", source={"name": "babel_dates", "count": 5})
    assert len([d.text for d in pairs.documents()]) == 2 * len(list(pairs.source.examples()))
    conversations = build("data", "texts_of", source="python_instructions")
    example = next(conversations.source.examples())
    first = [d.text for d, _ in zip(conversations.documents(), range(2))]
    assert first == [m["content"] for m in example.input]
    with pytest.raises(UserError, match="has texts alone"):
        build("data", "texts_of", source="rhyme")


def test_a_text_held_out_from_a_language_model_is_held_out_from_a_classifier(labelled, tmp_path):
    def byte():
        return build("tokenizer", "byte")

    text = prepare(build("data", "texts_of", source=labelled), byte(), cache=tmp_path / "a", validation=0.2, test=0.1)
    examples = prepare_examples(
        build("data", "labelled_text", path=labelled["path"]),
        byte(),
        cache=tmp_path / "b",
        labelled=True,
        validation=0.2,
        test=0.1,
    )
    for split in ("train", "validation", "test"):
        inputs = [e.input for e in getattr(examples, split)]
        assert inputs
        assert inputs == list(text.text(split))


def test_few_labels_are_drawn_from_each_and_stay_with_more(labelled):
    examples = list(build("data", "labelled_text", path=labelled["path"]).examples())
    five, ten = few_of_each(examples, 5), few_of_each(examples, 10)
    assert {e.answer: sum(x.answer == e.answer for x in five) for e in five} == {"tree": 5, "stone": 5, "bird": 5}
    assert {e.input for e in five} < {e.input for e in ten}
    assert five != examples[:15]
    assert few_of_each(examples, 1000) == examples
