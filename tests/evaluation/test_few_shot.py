"""Few-shot: the prompt as it is, no question among its examples, labels scored, answers written, room that is not there."""

from __future__ import annotations

import pytest

from components import build
from components.core.errors import UserError
from components.corpus.evaluation_api import EvalData
from components.corpus.example import Example

COLOURS = {"sky": "blue", "grass": "green", "blood": "red", "sun": "yellow"}
THINGS = [Example(f"{thing} {i}", colour, "here") for i in range(30) for thing, colour in COLOURS.items()]


class Reads:
    """Knows the colour of a thing only if the prompt has an example of it; else it says blue."""

    room = 10_000

    def __init__(self):
        self.prompts = []

    def fit(self, before, texts):
        if max(len(t) for t in texts) > self.room:
            return None
        return [(before + t)[-self.room :] for t in texts]

    def answer(self, prompt):
        *shown, question = prompt.strip("\n").splitlines()
        thing = question.split()[0]
        return next(((line.split("=> ")[1], 2.0) for line in shown if line.split()[0] == thing), ("blue", 1.0))

    def score(self, texts):
        self.prompts += texts
        answers = [self.answer(text) for text in texts]
        return [sure * (text.split("=> ")[-1].strip() == answer) for text, (answer, sure) in zip(texts, answers)]

    def write(self, prompts, *, samples=1, max_new_tokens, seed, stop=()):  # noqa: ARG002
        self.prompts += prompts
        self.stop = stop
        return [self.answer(p)[0] + " " for p in prompts]


LABELS = ("blue", "green", "red", "yellow")


def held(labels=LABELS):
    return EvalData(examples=lambda: THINGS[::3], shown=lambda: [e for e in THINGS if e not in THINGS[::3]], labels=labels)


def few_shot(model, material=None, **options):
    return build("evaluation", "few_shot", **{"count": 1000, **options}).measure(model, material or held())


@pytest.mark.parametrize("labels", [("blue", "green", "red", "yellow"), ()], ids=["scored", "written"])
def test_more_examples_help_one_that_reads_them(labels):
    none = few_shot(Reads(), held(labels), k=0)
    assert none["accuracy"].value == pytest.approx(0.25, abs=0.05), "blue, whatever is asked"
    assert none["examples"].value == 0
    some, many = few_shot(Reads(), held(labels), k=2)["accuracy"].value, few_shot(Reads(), held(labels), k=40)["accuracy"].value
    assert 0.3 < some < 0.8
    assert many == 1.0
    assert none["accuracy"].chance == (0.25 if labels else None)
    assert none["most_frequent"].value == pytest.approx(0.25, abs=0.05)


def test_a_label_that_is_likely_anywhere_has_no_advantage():
    class Short(Reads):
        """The prompt says nothing; labels are likelier the fewer letters they have."""

        def score(self, texts):
            return [-float(len(text)) for text in texts]

    assert few_shot(Short(), k=1)["accuracy"].value == pytest.approx(0.25), "all gain alike"
    likely = few_shot(Short(), k=1, choose_by="likelihood")
    assert likely["accuracy"].value == sum(e.answer == "red" for e in THINGS[::3]) / len(THINGS[::3])
    assert likely["most_frequent"].value >= likely["accuracy"].value


def test_the_prompt():
    reads = Reads()
    few_shot(reads, held(()), k=3, count=5)
    questions = {e.input for e in THINGS[::3]}
    for prompt in reads.prompts:
        *shown, question = prompt.split("\n")
        assert len(shown) == 3
        assert len(set(shown)) == 3
        assert question.removesuffix(" => ") in questions
        assert not [line for line in shown if line.split(" => ")[0] in questions], "no question is shown with its answer"
        assert all(COLOURS[line.split()[0]] == line.split(" => ")[1] for line in shown)
    assert reads.stop == ["\n"]


def test_a_template_of_ones_own():
    reads = Reads()
    with pytest.raises(IndexError):  # the subject splits at =>
        few_shot(reads, held(()), k=1, count=1, template="Q {{x}}: {input}\nA: {answer}\n\n")
    assert reads.prompts[0].startswith("Q {{x}}: ")
    assert "\nA: " in reads.prompts[0]


def test_examples_that_have_no_room_are_left_out_from_the_front():
    reads = Reads()
    reads.room = 60
    found = few_shot(reads, k=8)
    assert 1 < found["examples"].value < 4
    assert max(map(len, reads.prompts)) <= 60
    reads.room = 5
    with pytest.raises(UserError, match="no question fits"):
        few_shot(reads)


def test_conversations_and_a_source_that_the_user_names(tmp_path):
    talk = [
        Example((({"role": "user", "content": e.input}), {"role": "assistant", "content": e.answer}), None, "x") for e in THINGS
    ]
    material = EvalData(examples=lambda: talk[:40], shown=lambda: talk[40:])
    assert few_shot(Reads(), material, k=40)["accuracy"].value == 1.0

    file = tmp_path / "things.csv"
    file.write_text("text,label\n" + "\n".join(f"{e.input},{e.answer}" for e in THINGS))
    found = few_shot(Reads(), EvalData(), k=40, count=30, data={"name": "labelled_text", "path": str(file)})
    assert (found["accuracy"].value, found["accuracy"].chance, found["accuracy"].count) == (1.0, 0.25, 30)


def test_what_cannot_be_asked_is_said(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text")
    with pytest.raises(UserError, match="text, and no examples"):
        few_shot(Reads(), data={"name": "text", "path": str(file)})
    with pytest.raises(UserError, match="there are 80 examples for prompts, not 81"):
        few_shot(Reads(), k=81)
    with pytest.raises(UserError, match="numbers, which no prompt holds"):
        few_shot(Reads(), EvalData(examples=lambda: [Example(((1.0,),), "leaf", "t")], shown=lambda: []), k=0)
    for template, said in (("{answer} {input}\n", "{input}, and {answer} after it"), ("{input} {answer}", "something after")):
        with pytest.raises(UserError, match=said):
            build("evaluation", "few_shot", template=template)
