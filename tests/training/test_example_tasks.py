"""Each task over examples: what the model reads, what is asked of it, and the figures, which are computed again by hand."""

from __future__ import annotations

import csv
import json
import random

import pytest
import torch

import components
from components import build
from components.compose import compose
from components.core.errors import UserError
from components.corpus.clean import Report
from components.corpus.example import Example
from components.corpus.examples import cleaned
from components.runs import preparing
from components.training.run import evaluate

EN, FR = (["the", "cat", "dog", "runs", "sees", "house"], ["le", "chat", "chien", "court", "voit", "maison"])
SMALL = ["recipe=llama_tiny", "model.d_model=32", "trainer.max_steps=6", "task.validation_every=3", "trainer.precision=32-true"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(0)
    lines = {"labels.tsv": ["text\tlabel"], "pairs.tsv": ["source\ttarget"]}
    for _ in range(80):
        which = drawn.randrange(2)
        lines["labels.tsv"].append(" ".join(drawn.choices((EN, FR)[which], k=drawn.randint(2, 6))) + "\t" + ("en", "fr")[which])
        k = [drawn.randrange(6) for _ in range(drawn.randint(1, 4))]
        lines["pairs.tsv"].append(" ".join(EN[i] for i in k) + "\t" + " ".join(FR[i] for i in k))
    for name, held in lines.items():
        (tmp_path / name).write_text("\n".join(held) + "\n")


CLASSIFY = [*SMALL, "model=encoder", "model/head=classification", "model.head.pooling=mean", "loss=classification"]
CLASSIFY += ["task=classification", "data=labelled_text", "data.path=labels.tsv", "tokenizer=byte"]
TRANSLATE = [*SMALL, "model=encoder_decoder", "loss=seq2seq", "task=sequence_to_sequence", "data=text_pairs"]
TRANSLATE += ["data.path=pairs.tsv", "tokenizer=char", "decoding=greedy", "task.scored=4", "task.sample_tokens=8"]


def test_a_classifier_is_measured_as_by_hand():
    made = components.train(overrides=CLASSIFY, quiet=True)
    rows = list(csv.DictReader((made.folder / "metrics.csv").open()))
    said = evaluate(made.folder)
    loaded = components.load(made.folder)
    assert loaded.tokenizer.labels == ("en", "fr")
    corpus = preparing.corpus_of(loaded.config, preparing.task_options(loaded.config), None, loaded.tokenizer)[1]
    task = preparing.task_of(loaded.config, loaded.tokenizer)
    hits, table = 0, [[0, 0], [0, 0]]
    for example in corpus.validation:
        row = task.encode(example, 64)
        logits = loaded.model(torch.tensor([row.ids]))[0]
        best = int(logits.argmax())
        hits += best == ("en", "fr").index(example.answer)
        table[("en", "fr").index(example.answer)][best] += 1
    assert said["accuracy"] == pytest.approx(hits / len(corpus.validation))
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(said["accuracy"], abs=1e-6)
    f1 = [2 * table[i][i] / max(1, 2 * table[i][i] + table[i][1 - i] + table[1 - i][i]) for i in range(2)]
    assert said["f1"] == pytest.approx(sum(f1) / 2)
    assert "perplexity" not in said
    assert "bits_per_byte" not in said


def test_a_head_with_other_than_the_datas_labels_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"3 scores for 2 labels.*n_classes=2"):
        components.train(overrides=[*CLASSIFY, "model.head.n_classes=3"], quiet=True)
    assert not (tmp_path / "runs").exists()


def test_answers_are_scored_by_what_is_written():
    made = components.train(overrides=TRANSLATE, quiet=True)
    loaded = components.load(made.folder)
    said = evaluate(made.folder)
    corpus = preparing.corpus_of(loaded.config, preparing.task_options(loaded.config), None, loaded.tokenizer)[1]
    asked = corpus.validation[:4]
    texts = loaded.generate([e.input for e in asked], max_new_tokens=8)
    assert said["exact_match"] == sum(t.strip() == e.answer for t, e in zip(texts, asked)) / len(asked)
    sacrebleu = pytest.importorskip(
        "sacrebleu", reason="torchmetrics has sacrebleu's formulas; the package itself is the oracle"
    )
    texts, answers = [t.strip() for t in texts], [[e.answer for e in asked]]
    assert said["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, answers).score / 100, abs=1e-4)
    assert said["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, answers).score / 100, abs=1e-4)
    by_character = evaluate(made.folder, ["task.bleu_tokenize=char"])["bleu"]
    assert by_character == pytest.approx(sacrebleu.corpus_bleu(texts, answers, tokenize="char").score / 100, abs=1e-4)
    assert by_character != pytest.approx(said["bleu"], abs=1e-4)
    assert f"{asked[0].input} -> " in (made.folder / "samples.txt").read_text()


def test_what_is_scored_is_of_the_split_that_is_measured(monkeypatch):
    from components.training.task.sequence_to_sequence import SequenceToSequence

    made = components.train(overrides=[*TRANSLATE, "task.test_fraction=0.3"], quiet=True)
    loaded = components.load(made.folder)
    corpus = preparing.corpus_of(loaded.config, preparing.task_options(loaded.config), None, loaded.tokenizer)[1]
    seen = []

    def ask(self, examples):  # noqa: ARG001  in the place of a method
        seen.append([e.input for e in examples])
        return [e.answer for e in examples]

    monkeypatch.setattr(SequenceToSequence, "ask", ask)
    for split in ("validation", "test"):
        assert evaluate(made.folder, split=split)["exact_match"] == 1.0
        assert seen.pop() == [e.input for e in getattr(corpus, split)[:4]]


def test_a_target_is_asked_whole_with_its_end_and_the_source_is_read_apart():
    tokenizer = components.build("tokenizer", "byte")
    tokenizer.train([])
    config = compose(None, TRANSLATE).config
    task = preparing.task_of(config, saved(tokenizer))
    row = task.encode(Example("ab", "cde", "f"), 64)
    text = task.tokenizer.encode
    end = task.tokenizer.specials["endoftext"]
    assert list(row.source) == [end, *text("ab")]
    assert list(row.ids) == [end, *text("cde")]
    assert list(row.targets) == [*text("cde"), end]


def saved(tokenizer):
    from pathlib import Path

    from components.corpus.tokens import read_tokenizer

    tokenizer.save(Path("tokenizer.json"))
    return read_tokenizer("tokenizer.json")


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "<|eos|> two?"},
    {"role": "assistant", "content": "2<|eos|>2"},
]


def instructed(template=None):
    from components.training.task._conversing import TEMPLATE, template_for

    tokenizer = components.build("tokenizer", "byte")
    tokenizer.train([])
    tokens = saved(tokenizer)
    tokens.files[TEMPLATE] = template_for(tokens, template)
    config = compose(
        None, [*SMALL, "task=instruction_tuning", "data=conversations", "data.path=chat.jsonl", "tokenizer=byte"]
    ).config
    return preparing.task_of(config, tokens)


def test_only_answers_and_the_sign_that_ends_each_are_asked_for():
    task = instructed()
    row = task.encode(Example(tuple(TALK), None, "f"), 10_000)
    ids, targets = torch.tensor([*row.ids, 0]), torch.tensor(row.targets)
    assert (targets[targets != -100] == ids[1:][targets != -100]).all()
    eos = task.tokenizer.specials["eos"]
    asked = [[]]
    for token in targets.tolist():
        if token == -100:
            asked.append([])
        else:
            asked[-1].append(token)
    answers = [a for a in asked if a]
    text = task.tokenizer.encode
    assert answers == [[*text("1"), eos], [*text("2<|eos|>2"), eos]], "what is said never ends an answer by itself"
    # an answer begins where the prompt for it ends
    before = task.words.ids(TALK[:2])
    assert list(row.ids[: len(before)]) == before
    assert row.targets[len(before) - 1] == text("1")[0]


def test_an_answer_of_weight_0_is_read_and_not_learnt():
    """As if its turn were the user's: the ids stay, and the last answer that is scored is one that is learnt."""
    task = instructed()
    whole = task.encode(Example(tuple(TALK), None, "f"), 10_000)
    for unlearnt, answer in (("1", "2<|eos|>2"), ("2<|eos|>2", "1")):
        said = tuple({**m, "weight": 0} if m["content"] == unlearnt else m for m in TALK)
        example = Example(said, None, "f")
        row = task.encode(example, 10_000)
        assert row.ids == whole.ids
        asked = [t for t in row.targets if t != -100]
        assert asked == [*task.tokenizer.encode(answer), task.tokenizer.specials["eos"]]
        assert task.asked_and_answer(example)[1] == answer
    nothing = Example(tuple({**m, "weight": 0} for m in TALK), None, "f")
    report = Report(called="examples")
    assert len(list(cleaned([nothing, Example(tuple(TALK), None, "f")], report))) == 1
    assert report.counts["unanswered"] == 1


def test_a_template_that_looks_ahead_is_refused():
    (file := __import__("pathlib").Path("t.jinja")).write_text(
        "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(UserError, match="differently once the answer is there"):
        instructed(str(file)).encode(Example(tuple(TALK), None, "f"), 10_000)


def test_a_conversation_is_learnt_and_can_be_chatted_with(tmp_path):
    with (tmp_path / "chat.jsonl").open("w") as f:
        for i in range(40):
            f.write(
                json.dumps({"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i}"}]})
                + "\n"
            )
    words = [*SMALL, "task=instruction_tuning", "data=conversations", "data.path=chat.jsonl", "tokenizer=byte", "task.scored=2"]
    made = components.train(overrides=[*words, "task.sample_tokens=4"], quiet=True)
    said = evaluate(made.folder)
    assert {"token_accuracy", "exact_match", "bleu", "chrf", "perplexity"} <= set(said)
    assert isinstance(components.load(made.folder).chat([{"role": "user", "content": "say 3"}], max_new_tokens=3), str)


def test_hidden_tokens_are_counted(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(" ".join(random.Random(i).choices(EN, k=12)) for i in range(60)))
    words = [*SMALL, "model=encoder", "model/head=mlm", "task=masked_language_modeling", "loss=masked_lm", "tokenizer=char"]
    made = components.train(overrides=[*words, "data=text", "data.path=text.txt", "data.split_on=lines"], quiet=True)
    said = evaluate(made.folder)
    assert 0 <= said["masked_accuracy"] <= 1
    assert "bits_per_byte" not in said


BARE = [*SMALL, "model=encoder", "model/head=classification", "loss=classification", "task=classification", "tokenizer=byte"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["data=labelled_text", "data.path=labels.tsv"], ("task/language_modeling", "data/labelled_text")),
        ([*BARE, "data=text", "data.path=labels.tsv"], ("task/classification", "data/text")),
        ([*CLASSIFY, "loss=masked_lm", "model/head=mlm", "~model.head.pooling"], ("task/classification", "loss/masked_lm")),
        ([*CLASSIFY, "task=regression"], ("task/regression", "data/labelled_text")),
        (
            ["task=sequence_to_sequence", "data=text_pairs", "data.path=pairs.tsv"],
            ("task/sequence_to_sequence", "model/decoder"),
        ),
        (["task=masked_language_modeling"], ("task/masked_language_modeling", "loss/next_token")),
    ],
)
def test_what_a_task_cannot_read_or_measure_is_refused_when_composed(words, names):
    with pytest.raises(UserError) as said:
        compose(None, [w for w in words if not w.startswith("~") and f"~{w.partition('=')[0]}" not in words])
    assert all(name in str(said.value) for name in names), said.value


def test_numbers_are_learnt_and_measured():
    """A plane is learnt by one linear layer on the numbers themselves; rows without a number are not asked for."""
    from components.core.sockets import Batch

    config = compose(None, [*CLASSIFY]).config | {"task": {"name": "regression"}, "loss": {"name": "regression"}}
    config["model"] = config["model"] | {"head": {"name": "regression", "n_outputs": 2}}
    task = preparing.task_of(config, saved(build("tokenizer", "byte")))
    row = task.encode(Example("ab", (1.0, 2.0), "f"), 8)
    assert row.targets == (1.0, 2.0)
    hidden = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]], [[5.0, 5.0]]])
    batch = Batch(torch.zeros(3, 1, dtype=torch.long), torch.tensor([[1.0, 4.0], [0.0, 0.0], [float("nan"), 0.0]]))
    task.observe(hidden, lambda h: h[:, 0], batch)
    taken = task.take_metrics()
    assert taken["mean_absolute_error"] == pytest.approx(2 / 4)
    assert taken["root_mean_squared_error"] == pytest.approx((4 / 4) ** 0.5)
    assert task.take_metrics() == {}, "taken once"


def test_loads_of_experts_are_in_the_log():
    from components.training.expert_load import expert_load

    stats = {
        "a.ffn.load": torch.tensor([4, 0, 0, 4]),
        "b.ffn.load": torch.tensor([2, 2, 2, 2]),
        "b.ffn.router.load": torch.tensor([9, 9, 9, 9]),
    }
    assert expert_load(stats) == {"expert_load_max": 2.0, "experts_unused": 2 / 8}
    assert expert_load({}) == {}
    words = [*SMALL, "model/ffn=moe", "model.ffn.n_experts=4", "model.ffn.router.k=2", "task.samples=0"]
    made = components.train(overrides=[*words, "trainer.log_every_n_steps=3"], quiet=True)
    rows = list(csv.DictReader((made.folder / "metrics.csv").open()))
    assert 1.0 <= float(rows[-1]["expert_load_max"]) <= 4.0
    assert float(rows[-1]["train_load_balance"]) > 0
