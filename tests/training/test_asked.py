"""A trained model as evaluations ask it: scores and predictions by hand, whatever they are padded with; text that fits; what is refused."""

from __future__ import annotations

import json
import random

import pytest
import torch

import components
from components import build
from components.core.errors import UserError
from components.evaluating.asked import Trained, predictions
from components.evaluating.evaluation import evaluate, named
from components.parts.evaluation.cloze import Cloze
from components.runs import preparing
from components.training.experiment import Job, fit

WORDS = ["tree", "stone", "river", "bird", "hill", "road", "boat", "lamp"]


def story(i: int) -> str:
    drawn = random.Random(i)
    return " ".join(f"The {drawn.choice(WORDS)} is near the {drawn.choice(WORDS)}." for _ in range(6)) + f" {i}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has learnt a little, of 48 bytes."""
    from tiny_runs import make_tiny

    folder = tmp_path_factory.mktemp("asked")
    tiny = make_tiny(folder)
    (folder / "story.txt").write_text("\n\n".join(map(story, range(120))))
    return fit(Job(tiny(model={"context_length": 48}, trainer={"max_steps": 120}), "asked", quiet=True)).folder


@pytest.fixture
def loaded(finished):
    return components.load(finished, ["decoding=greedy"])


@pytest.fixture
def asked(loaded):
    return Trained(loaded, preparing.task_of(loaded.config, loaded.tokenizer))


def logs(loaded, text):
    """Of each byte by a pass of its own, after what begins a document."""
    ids = [loaded.tokenizer.specials["endoftext"], *loaded.tokenizer.encode(text)]
    made = loaded.model(torch.tensor([ids]))[0].float().log_softmax(-1)
    return [made[i] for i in range(len(ids) - 1)], ids[1:]


@torch.inference_mode()
def test_scores_and_predictions_are_those_of_each_text_alone(loaded, asked):
    texts = ["The tree is near", "a", "The tree is near the stone. The bird", "", "a"]
    scores, made = asked.score(texts), asked.predict(texts)
    assert scores[1] == scores[4]
    for text, score, own in zip(texts, scores, made):
        rows, ids = logs(loaded, text) if text else ([], [])
        assert score == pytest.approx(sum(float(row[i]) for row, i in zip(rows, ids)), abs=1e-4)
        assert [p.confidence for p in own] == pytest.approx([float(row.max().exp()) for row in rows], abs=1e-5)
        assert [p.rank for p in own] == [int((row > row[i]).sum()) for row, i in zip(rows, ids)]


def test_a_longer_text_is_predicted_in_pieces(asked):
    text = story(1)
    (whole,) = asked.predict([text])
    pieces = [text[at : at + 47] for at in range(0, len(text), 47)]
    alone = [p for own in asked.predict(pieces) for p in own]
    assert [p.rank for p in whole] == [p.rank for p in alone]
    assert [p.confidence for p in whole] == pytest.approx([p.confidence for p in alone], abs=1e-5)
    assert len(whole) == len(text)


def test_predictions_by_hand():
    logits = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 0.0, 5.0]]])
    (found,) = predictions(logits, torch.tensor([[1, 2]]))
    assert [p.rank for p in found] == [1, 0]
    assert found[0].confidence == pytest.approx(float(torch.tensor([2.0, 1.0, 0.0]).softmax(0)[0]))


def test_what_is_too_long_loses_its_beginning_alike_for_all(asked):
    before = story(2) + " "
    texts = ["tree.", "a longer one."]
    fitting = asked.fit(before, texts)
    kept = {whole.removesuffix(text) for whole, text in zip(fitting, texts)}
    assert len(kept) == 1
    (kept,) = kept
    assert before.endswith(kept)
    assert before[-len(kept) - 1] == " ", "not from the middle of a word"
    assert max(map(len, fitting)) <= 47 < max(map(len, fitting)) + 8
    assert asked.fit("short ", texts) == ["short tree.", "short a longer one."]
    assert asked.fit("x" * 5000, ["y"]) == ["x" * 46 + "y"]
    assert asked.fit("", ["z" * 48]) is None
    assert asked.fit("so ", ["z" * 47]) == ["z" * 47]


def test_what_is_written_is_the_continuation_alone(loaded, asked):
    prompts = ["The tree is", "The"]
    options = {"max_new_tokens": 8, "seed": 1}
    assert asked.write(prompts, samples=2, **options) == [
        text.removeprefix(p) for p, own in zip(prompts, loaded.generate(prompts, count=2, **options)) for text in own
    ]
    assert all("." not in text for text in asked.write(prompts, max_new_tokens=40, seed=1, stop=["."]))


def test_every_evaluation_on_a_run(finished, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "\n".join(f"{w} {i},{'ab'[i % 2]}" for i, w in enumerate(WORDS * 4)))
    shot = {"name": "few_shot", "data": {"name": "labelled_text", "path": str(table)}, "k": 2, "count": 10}
    overrides = ["evaluation=[calibration,cloze]", "evaluation.cloze.band=5", "evaluation.cloze.count=40"]
    found = components.evaluate(finished, overrides, evaluations=["minimal_pairs", shot, Cloze])
    assert list(found["evaluations"]) == ["calibration", "cloze", "minimal_pairs", "few_shot", "Cloze"]
    assert found["evaluations"]["cloze"]["accuracy"]["count"] == 40
    assert found["evaluations"]["cloze"]["accuracy"]["chance"] == 0.2
    assert found["evaluations"]["minimal_pairs"]["accuracy"]["value"] > 0.8, "it has learnt to write"
    top = found["evaluations"]["calibration"]["accuracy"]
    assert top["count"] == pytest.approx(found["targets"], rel=0.05), "every byte of the split"
    assert json.loads(json.dumps(found)) == found
    again = components.evaluate(finished, overrides)
    assert again["evaluations"]["cloze"] == found["evaluations"]["cloze"]
    assert again["loss"] == found["loss"]
    assert "evaluations" not in components.evaluate(finished)


def test_several_of_one_name_are_numbered():
    assert list(named([{"name": "cloze", "count": 3}, "cloze", Cloze])) == ["cloze", "cloze 2", "Cloze"]


def test_the_rate_that_is_judged_at_the_end_of_training_is_the_same(finished, monkeypatch):
    from components.parts.data.text import Text
    from components.training.samples import judged

    monkeypatch.setattr(Text, "judge", staticmethod(lambda text: "near" in text), raising=False)
    loaded = components.load(finished)
    task = preparing.task_of(loaded.config, loaded.tokenizer)
    task.model, task.judged_samples, task.sample_tokens = loaded.model, 12, 10
    accepted, written = judged(task, loaded.config, Text.judge)
    assert 0 < accepted < written
    rate = build("evaluation", "parse_rate", count=12, max_new_tokens=20, seed=loaded.config["seed"])
    found = evaluate(loaded, evaluations=[lambda: rate])["evaluations"]
    assert next(iter(found.values()))["accepted"]["value"] == accepted / written


REFUSED = [
    ("parse_rate", [], "evaluation.parse_rate: the data have no rule that judges a text"),
    ("few_shot", [], "evaluation.few_shot: the data have text, and no examples"),
]


@pytest.mark.parametrize(("name", "overrides", "said"), REFUSED)
def test_what_the_data_lack_is_refused_before_anything_is_measured(finished, name, overrides, said, monkeypatch):
    monkeypatch.setattr("components.training.task.language_modeling.LanguageModeling.validation_step", None)
    with pytest.raises(UserError, match=said):
        components.evaluate(finished, overrides, evaluations=[name])


def test_an_encoder_and_a_classifier_are_asked_for_what_they_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(0)
    rows = [f"{' '.join(drawn.choices(WORDS[:4] if i % 2 else WORDS[4:], k=4))}\t{'ab'[i % 2]}" for i in range(80)]
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    small = ["recipe=llama_tiny", "model.d_model=32", "trainer.max_steps=4", "trainer.precision=32-true", "tokenizer=byte"]
    small += ["model=encoder", "model/head=classification", "loss=classification", "task=classification"]
    run = components.train(overrides=[*small, "data=labelled_text", "data.path=t.tsv"], quiet=True).folder
    found = components.evaluate(run, evaluations=["calibration"])
    own = found["evaluations"]["calibration"]
    assert own["accuracy"]["value"] == pytest.approx(found["accuracy"])
    assert own["accuracy"]["count"] == found["targets"]
    ten = components.evaluate(run, evaluations=[{"name": "calibration", "bins": 10}])["evaluations"]["calibration"]
    assert ten["expected_calibration_error"]["value"] == pytest.approx(found["calibration_error"], abs=1e-5)
    for name in ("cloze", "minimal_pairs", "few_shot"):
        with pytest.raises(
            UserError, match=f"evaluation.{name}: the model continues no text: ClassificationHead gives no tokens"
        ):
            components.evaluate(run, evaluations=[name])


def test_a_word_that_nobody_knows(finished):
    class Asks(Cloze):
        asks = ("mercy",)

    with pytest.raises(UserError, match="'mercy' can be asked of nothing; words: likelihood, writing"):
        components.evaluate(finished, evaluations=[Asks])


def test_a_run_on_conversations_is_asked_with_its_own(tmp_path, monkeypatch):
    """Examples in the prompt are those that it was trained on, questions those that were held out."""
    monkeypatch.chdir(tmp_path)
    talks = [
        [{"role": "user", "content": f"say {w} {i}"}, {"role": "assistant", "content": w}] for i in range(8) for w in WORDS
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps({"messages": talk}) for talk in talks) + "\n")
    small = ["recipe=llama_tiny", "model.d_model=16", "trainer.max_steps=2", "trainer.precision=32-true", "tokenizer=byte"]
    small += ["model.context_length=128", "task=instruction_tuning", "data=conversations", "data.path=chat.jsonl"]
    run = components.train(overrides=[*small, "task.validation_fraction=0.2", "task.samples=0"], quiet=True).folder
    written = []

    def echo(self, prompts, **options):
        del self, options
        written.extend(prompts)
        return [prompt.splitlines()[-1].split()[1] for prompt in prompts]

    monkeypatch.setattr(Trained, "write", echo)
    found = components.evaluate(run, evaluations=[{"name": "few_shot", "k": 2}])["evaluations"]["few_shot"]
    assert found["accuracy"]["value"] == 1.0
    assert found["accuracy"]["chance"] is None
    asked = {prompt.splitlines()[-1].removesuffix(" => ") for prompt in written}
    shown = {line.split(" => ")[0] for prompt in written for line in prompt.splitlines()[:-1]}
    assert len(asked) == found["accuracy"]["count"] > 4
    assert not asked & shown
    assert asked | shown <= {talk[0]["content"] for talk in talks}
