"""Several answers in one conversation: each is learnt after the text that a model sees when it writes it, also where a template rewrites earlier turns."""

from __future__ import annotations

import json

import pytest
from test_published_templates import AND, CALL, FOLDER, OTHER, SAID, TOLD, TOOLS, USER

import components
from components import build
from components.compose import compose
from components.core.errors import UserError
from components.corpus.example import Example
from components.corpus.tokens import Tokens
from components.generation.chat import Template
from components.runs import preparing
from components.training.task._conversing import TEMPLATE
from components.training.task._pairs import OverPairs

THOUGHT = {"role": "assistant", "content": "<think>\nIs it warm?\n</think>\n\nIt is 21 °C."}
AGAIN = {"role": "assistant", "content": "<think>\nThe clock.\n</think>\n\nNine."}
CALLS = {"role": "assistant", "content": "<think>\nAsk.\n</think>\n\n", "tool_calls": [CALL]}
SECOND = {"role": "assistant", "content": "", "tool_calls": [OTHER]}
TALKS = {
    "thoughts": [USER, THOUGHT, AND, AGAIN, AND, SAID],
    "no thoughts": [USER, SAID, AND, SAID],
    "a user at the end": [USER, THOUGHT, AND],
}
# ask for an answer by text that is gone once it is there, as an open <think> before an answer without a thought
AHEAD = ("deepseek_r1_distill", "deepseekv3", "nemotron_3_nano")
NAMES = sorted(f.stem for f in FOLDER.glob("*.jinja") if f.stem not in AHEAD)


@pytest.fixture(scope="module")
def tokens():
    tokenizer = build("tokenizer", "byte")
    tokenizer.train([])
    return Tokens(tokenizer.core, tokenizer.roles, {"tokenizer_config.json": '{"bos_token": "<s>", "eos_token": "</s>"}'})


def task(tokens, name, kind="instruction_tuning", *more):
    words = ["recipe=llama_tiny", f"task={kind}", "data=conversations", "data.path=c.jsonl", "tokenizer=byte", *more]
    files = {**tokens.files, TEMPLATE: (FOLDER / f"{name}.jinja").read_text(encoding="utf8")}
    return preparing.task_of(compose(None, words).config, Tokens(tokens.core, tokens.roles, files))


@pytest.mark.parametrize("name", NAMES)
def test_before_an_answer_stands_what_transformers_asks_for_it_with(tokens, name):
    """Every answer once, and before it, to the token, the prompt that transformers renders of the messages before it."""
    transformers = pytest.importorskip("transformers")
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf8")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens.core, bos_token="<s>", eos_token="</s>")
    made = Template(source, tokens, name)
    for case, messages in TALKS.items():
        learnt = []
        for frame in made.frames(messages):
            before = ""
            for ids, number in frame:
                if number is not None:
                    asked = theirs.apply_chat_template(
                        messages[:number], chat_template=source, tokenize=False, add_generation_prompt=True
                    )
                    assert before == asked, (case, number)
                    assert messages[number]["content"].rpartition("\n\n")[2] in tokens.decode(ids), (case, number)
                    learnt.append(number)
                before += tokens.decode(ids)
        assert learnt == [i for i, m in enumerate(messages) if m["role"] == "assistant"], case


@pytest.mark.parametrize("name", AHEAD)
def test_what_has_no_frame_is_refused_by_name(tokens, name):
    made = task(tokens, name)
    with pytest.raises(UserError, match=r"f.*chat_template\.jinja writes the text before an answer differently once"):
        made.encode(Example(tuple(TALKS["no thoughts"]), None, "f"), 10_000)


def answers(made, row):
    return made.tokenizer.decode([t for t in row.targets if t != -100]), made.tokenizer.decode(row.ids)


def test_qwen3_learns_each_thought_where_it_is_thought(tokens):
    """By hand: three rows. What was thought earlier is gone from the text before the later answers, as the model sees it."""
    made = task(tokens, "qwen3")
    rows = [answers(made, row) for row in made.encode(Example(tuple(TALKS["thoughts"]), None, "f"), 10_000)]
    assert [learnt for learnt, _ in rows] == [
        "<think>\nIs it warm?\n</think>\n\nIt is 21 °C.<|im_end|>\n",
        "<think>\nThe clock.\n</think>\n\nNine.<|im_end|>\n",
        "<think>\n\n</think>\n\nIt is 21 °C.<|im_end|>\n",
    ]
    assert ["Is it warm?" in read for _, read in rows] == [True, False, False]
    assert ["It is 21 °C." in read for _, read in rows] == [True] * 3


def test_answers_that_share_their_frame_share_a_row(tokens):
    """Calls after one question keep their thoughts; an answer that is not learnt needs no row."""
    made = task(tokens, "qwen3")
    calls = (USER, CALLS, TOLD, {**SECOND, "content": "<think>\nMore.\n</think>\n\n"}, TOLD, THOUGHT)
    row = made.encode(Example(calls, None, "f", tools=tuple(TOOLS)), 10_000)
    learnt, _ = answers(made, row)
    assert learnt.count("<think>") == 3
    first, *others = TALKS["thoughts"][1:]
    row = made.encode(Example((USER, {**first, "weight": 0}, *others[:2]), None, "f"), 10_000)
    assert answers(made, row)[0] == "<think>\nThe clock.\n</think>\n\nNine.<|im_end|>\n"
    assert made.asked_and_answer(Example(tuple(TALKS["thoughts"]), None, "f"))[1] == SAID["content"]


def test_of_rewards_and_preferences_the_last_frame_counts(tokens):
    made = task(tokens, "qwen3", "grpo", "loss=grpo")
    learnt, read = answers(made, made.encode(Example(tuple(TALKS["thoughts"][:4]), None, "f"), 10_000))
    assert learnt.endswith("Nine.<|im_end|>\n")
    assert "Is it warm?" not in read
    prompt, made = tuple(TALKS["thoughts"][:3]), task(tokens, "qwen3")
    ids, asked = OverPairs.tokens(made, Example(prompt, None, "f", answers=((AGAIN,), (SAID,))), (AGAIN,))
    assert made.tokenizer.decode([i for i, own in zip(ids, asked) if own]) == learnt
    assert "Is it warm?" not in made.tokenizer.decode(ids)
    two = Example((USER,), None, "f", answers=((SAID, AND, SAID), (SAID,)))
    with pytest.raises(UserError, match=r"an answer of several turns.*is no one row"):
        OverPairs.tokens(made, two, two.answers[0])


@pytest.mark.parametrize("packing", [False, True])
def test_a_run_learns_them_all_and_says_so(tmp_path, monkeypatch, capsys, packing):
    monkeypatch.chdir(tmp_path)
    talk = [USER, THOUGHT, {"role": "user", "content": "And at {}?"}, AGAIN]
    lines = [{"messages": [*talk[:2], {**talk[2], "content": talk[2]["content"].format(i)}, AGAIN]} for i in range(12)]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (tmp_path / "t.jinja").write_text((FOLDER / "qwen3.jinja").read_text(encoding="utf8"))
    run = components.train(
        overrides=[
            *("recipe=llama_tiny", "model.d_model=16", "model.n_layers=1", "model.context_length=512", "tokenizer=byte"),
            *("task=instruction_tuning", "data=conversations", "data.path=c.jsonl", "task.template=t.jinja", "task.scored=2"),
            *("trainer.max_steps=2", "task.batch_size=4", "trainer.accelerator=cpu", "task.sample_tokens=4"),
            *(f"task.packing={str(packing).lower()}", "task.validation_fraction=0.3", "task.samples=0"),
        ]
    )
    assert "in several rows, since later answers change the text before them" in capsys.readouterr().out
    loaded = components.load(run.folder)
    module = preparing.task_of(loaded.config, loaded.tokenizer)
    corpus = preparing.corpus_of(loaded.config, preparing.task_options(loaded.config), None, loaded.tokenizer)[1]
    rows = module.blocks(corpus, "validation", 512)
    assert rows.n_blocks == len(rows.examples) == 2 * len(corpus.validation)
    module.measured_on = rows.examples
    assert module.held_out(2) == list(corpus.validation)[:2], "each conversation is scored once"
    assert components.evaluate(run.folder)["perplexity"] > 1
