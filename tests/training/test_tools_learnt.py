"""Tools from a file of conversations to the tokens that are learnt: what transformers renders, the loss on calls and answers alone, or one line."""

from __future__ import annotations

import json
import re

import pytest
import torch
from test_published_templates import AND, CALL, FOLDER, OFFERING, OTHER, SAID, SYSTEM, TOLD, TOOLS, USER

import components
from components import build
from components.cli import main
from components.compose import compose
from components.core.errors import UserError
from components.corpus.example import Example
from components.corpus.example_files import Stored, Writer
from components.corpus.tokens import Tokens
from components.generation.fitting import fitted
from components.runs import preparing
from components.training.task._conversing import PLAIN, TEMPLATE, conversation_of

DEVELOPER = {"role": "developer", "content": "Answer in German."}
LATER = {"role": "system", "content": "Now be long."}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def as_text(message):
    calls = [
        {**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])}} for c in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


RECORDS = {  # {name: (a line of jsonl, the messages and the tools that transformers is given)}
    "objects": ({"messages": [SYSTEM, USER, CALLS, TOLD, SAID], "tools": TOOLS}, [SYSTEM, USER, CALLS, TOLD, SAID], TOOLS),
    "texts": ({"messages": [USER, as_text(CALLS), TOLD, SAID, AND], "tools": json.dumps(TOOLS)}, [USER, CALLS, TOLD, SAID, AND], TOOLS),
    "no words": ({"messages": [USER, {**as_text(CALLS), "content": None}, TOLD, SAID], "tools": TOOLS, "parallel_tool_calls": False},
                 [USER, {**CALLS, "content": None}, TOLD, SAID], TOOLS),
    "ShareGPT": ({"conversations": [
        {"from": "human", "value": USER["content"]}, {"from": "function_call", "value": json.dumps(CALL["function"])},
        {"from": "observation", "value": TOLD["content"]}, {"from": "gpt", "value": SAID["content"]},
    ], "tools": json.dumps([t["function"] for t in TOOLS]), "system": SYSTEM["content"]},
        [SYSTEM, USER, {**CALLS, "tool_calls": [{"type": "function", "function": CALL["function"]}]},
         {"role": "tool", "content": TOLD["content"]}, SAID], TOOLS),
    "systems": ({"messages": [SYSTEM, USER, SAID, LATER, AND, SAID]}, [SYSTEM, USER, SAID, LATER, AND, SAID], None),
    "no tool": ({"messages": [USER, SAID], "tools": []}, [USER, SAID], []),
}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    """The task of instruction tuning over bytes, as a function of a template."""
    tokenizer = build("tokenizer", "byte")
    tokenizer.train([])
    config = compose(
        None, ["recipe=llama_tiny", "task=instruction_tuning", "data=conversations", "data.path=c.jsonl", "tokenizer=byte"]
    ).config

    def made(template):
        files = {"tokenizer_config.json": json.dumps({"bos_token": "<s>", "eos_token": "</s>"}), TEMPLATE: template}
        return preparing.task_of(config, Tokens(tokenizer.core, tokenizer.roles, files))

    return made


def published(name):
    return PLAIN if name == "plain" else (FOLDER / f"{name}.jinja").read_text(encoding="utf8")


def kept(tmp_path, record, data="conversations"):
    """The example of a record, written to a store and read again."""
    (tmp_path / "c.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf8")
    with Writer(tmp_path / "s.jsonl") as stored:
        stored.add(next(iter(build("data", data, path=str(tmp_path / "c.jsonl")).examples())))
    return Stored(tmp_path / "s.jsonl")[0]


@pytest.mark.parametrize("name", sorted(OFFERING))
def test_a_record_renders_what_transformers_renders_of_it(task, tmp_path, name):
    transformers = pytest.importorskip("transformers")
    made = task(published(name))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=made.tokenizer.core, bos_token="<s>", eos_token="</s>")
    for case, (record, messages, tools) in RECORDS.items():
        example = kept(tmp_path, record)
        want = theirs.apply_chat_template(messages, tools=tools, chat_template=published(name), tokenize=False)
        said = fitted(made.words, conversation_of(example), example.tools)
        assert made.words.text(said, answer=False, tools=example.tools) == want, case
        assert not tools or "Zürich" in want
        if name in LEARNT:
            (pieces,) = made.shown(conversation_of(example), example)
            assert made.tokenizer.decode([i for ids, _ in pieces for i in ids]) == want, case


@pytest.mark.parametrize("name", ["llama3_1", "lfm2_v2", "nemotron_3_nano", "qwen2_5", "qwen3", "glm4moe"])
def test_a_developer_is_shown_as_one_or_as_a_system(task, tmp_path, name):
    made = task(published(name))
    example = kept(tmp_path, {"messages": [SYSTEM, DEVELOPER, USER, SAID]})
    said = fitted(made.words, conversation_of(example), None)
    own = name in ("llama3_1", "lfm2_v2", "nemotron_3_nano")
    assert said[1]["role"] == ("developer" if own else "system")
    want = [SYSTEM, DEVELOPER if own else {**DEVELOPER, "role": "system"}, USER, SAID]
    assert made.words.text(said, answer=False) == made.words.text(want, answer=False)
    assert DEVELOPER["content"] in made.words.text(said, answer=False)


JSON = '{"name": "warmth", "arguments": {"place": "Zürich", "days": 2}}'
LEARNT = {  # the call, and the answer after what the tool said, as each template writes them
    "qwen2_5": (f"<tool_call>\n{JSON}\n</tool_call><|im_end|>\n", "It is 21 °C.<|im_end|>\n"),
    "qwen3_training": (f"<think>\n\n</think>\n\n<tool_call>\n{JSON}\n</tool_call><|im_end|>\n", "<think>\n\n</think>\n\nIt is 21 °C.<|im_end|>\n"),
    "llama3_1": (JSON.replace("arguments", "parameters") + "<|eot_id|>", "It is 21 °C.<|eot_id|>"),
    "llama3_2": (JSON.replace("arguments", "parameters") + "<|eot_id|>", "It is 21 °C.<|eot_id|>"),
    "lfm2_v2": ("<|tool_call_start|>[warmth(place='Zürich', days=2)]<|tool_call_end|><|im_end|>\n", "It is 21 °C.<|im_end|>\n"),
    "glm4moe": (
        "\n<think></think>\n<tool_call>warmth\n<arg_key>place</arg_key>\n<arg_value>Zürich</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        "\n<think></think>\nIt is 21 °C.",
    ),
    "plain": (f"### Call:\n{JSON}</s>\n", "It is 21 °C.</s>\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNT)
def test_the_loss_is_on_calls_and_answers_and_never_on_tools_and_what_they_answer(task, tmp_path, name):
    made = task(published(name))
    for case in ("objects", "texts", "no words"):
        example = kept(tmp_path, RECORDS[case][0])
        row = made.encode(example, 100_000)
        turns = [[]]
        for token, target in zip([*row.ids[1:], None], row.targets):
            assert target in (-100, token) or token is None
            turns[-1].append(target) if target != -100 else turns.append([])
        assert tuple(made.tokenizer.decode(t) for t in turns if t) == LEARNT[name], case
        read = made.tokenizer.decode([i for i, t in zip(row.ids[1:], row.targets) if t == -100])
        assert TOLD["content"] in read or json.dumps(TOLD["content"], ensure_ascii=False) in read
        assert "How warm it is <there>." in read, "the tools are read"


def test_of_preferences_the_prompts_calls_are_read_and_the_answers_calls_learnt(task, tmp_path):
    from components.training.task._pairs import OverPairs

    second = {**CALLS, "tool_calls": [OTHER]}
    record = {
        "prompt": [USER, CALLS, TOLD, SAID, AND],
        "chosen": [second, {**TOLD, "content": "9:00"}, SAID],
        "rejected": [SAID],
        "tools": TOOLS,
    }
    example = kept(tmp_path, record, "preferences")
    made = task(published("qwen2_5"))
    ids, asked = OverPairs.tokens(made, example, example.answers[0])
    learnt = made.tokenizer.decode([i for i, own in zip(ids, asked) if own])
    assert learnt == '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>\nIt is 21 °C.<|im_end|>\n'
    assert made.tokenizer.decode(ids).count("<tool_response>") == 2
    assert all(f'"name": "{tool["function"]["name"]}"' in made.tokenizer.decode(ids) for tool in TOOLS)


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("zephyr", {"messages": [USER, SAID], "tools": TOOLS}, "shows nothing of the tool 'warmth', which is offered"),
        ("chatml", {"messages": [USER, CALLS]}, "shows nothing of the call of 'warmth' in message 1"),
        ("phi3", {"messages": [USER, SAID, TOLD, SAID]}, "shows nothing of message 2, of the role 'tool'"),
        ("phi_4", {"messages": [SYSTEM, USER, LATER, SAID]}, "shows nothing of message 2, of the role 'system'"),
        ("gemma", {"messages": [SYSTEM, USER, SAID]}, "refuses this conversation: System role not supported"),
        ("mistral_v7_tekken", {"messages": [USER, CALLS, TOLD, SAID], "tools": TOOLS}, "refuses this conversation: Only user, system"),
        ("llama3_1", {"messages": [USER, {**CALLS, "tool_calls": [CALL, OTHER]}, SAID], "tools": TOOLS}, "only supports single tool-calls"),
        ("deepseek_r1_distill", {"messages": [USER, SAID]}, "differently once the answer is there"),
    ],
)  # fmt: skip
def test_what_a_template_cannot_show_is_one_line(task, tmp_path, name, record, says):
    made, example = task(published(name)), kept(tmp_path, record)
    with pytest.raises(
        UserError, match=rf"c\.jsonl:1: chat_template\.jinja .*{says}.*; .*data\.abnormal=drop leaves"
    ) as caught:
        made.encode(example, 100_000)
    assert "\n" not in str(caught.value)


def test_what_decides_is_what_the_template_writes_and_not_the_words_that_are_said(task):
    said = [{**USER, "content": "Shown0end warmth Shownx0end"}, CALLS, {**TOLD, "content": "Shown"}]
    with pytest.raises(UserError, match="shows nothing of the call of 'warmth'"):
        fitted(task(published("zephyr")).words, said, None)
    assert fitted(task(PLAIN).words, said, TOOLS) == said
    picky = "{% for t in tools or [] %}{% if t.function.name not in ['warmth', 'now'] %}{{ raise_exception('x') }}{% endif %}{% endfor %}"
    assert fitted(task(picky + PLAIN).words, said, TOOLS) == said, "a template that looks into names is taken at its word"


def test_the_records_of_the_page_are_learnt_as_it_says(task, tmp_path):
    page = (FOLDER.parents[2] / "docs" / "how_to" / "tasks.md").read_text(encoding="utf8")
    (block,) = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "chat.jsonl").write_text(block, encoding="utf8")
    examples = list(build("data", "conversations", path=str(tmp_path / "chat.jsonl")).examples())
    made = task(published("qwen2_5"))
    learnt = [[made.tokenizer.decode(ids) for ids, own in made.shown(conversation_of(e), e)[0] if own] for e in examples]
    call = '<tool_call>\n{{"name": "warmth", "arguments": {{"place": "{}"}}}}\n</tool_call><|im_end|>\n'
    assert learnt == [
        [call.format("Basel"), "It is 21 °C.<|im_end|>\n"],
        [call.format("Bern"), "It is 19 °C.<|im_end|>\n"],
        ["Guten Morgen<|im_end|>\n"],
    ]


SMALL = ["recipe=llama_tiny", "model.d_model=32", "trainer.max_steps=3", "task.validation_every=3", "trainer.precision=32-true"]
SMALL += ["model.context_length=1024", "task=instruction_tuning", "data=conversations", "data.path=c.jsonl", "tokenizer=byte"]
SMALL += ["task.scored=2", "task.sample_tokens=4", "task.batch_size=4", "task.validation_fraction=0.2"]


def test_a_packed_run_learns_calls_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    lines = []
    for i in range(20):
        call = {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]}
        last = (
            [call] if i % 2 else [call, {"role": "tool", "content": f"{i}:00"}, {"role": "assistant", "content": f"It is {i}."}]
        )
        lines.append(json.dumps({"messages": [{"role": "user", "content": f"{i}?"}, *last], "tools": [tool]}))
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    made = components.train(overrides=[*SMALL, "task.packing=true"], quiet=True)
    loaded = components.load(made.folder)
    asked = {"messages": [{"role": "user", "content": "5?"}], "tools": [tool]}
    assert isinstance(loaded.chat(**asked, max_new_tokens=3), str)
    task = preparing.task_of(loaded.config, loaded.tokenizer)
    called = Example(
        (asked["messages"][0], {"role": "assistant", "tool_calls": [tool | {"function": {"name": "now", "arguments": {}}}]}),
        None,
        "f",
        tools=(tool,),
    )
    assert task.asked_and_answer(called) == ("5?", '### Call:\n{"name": "now", "arguments": {}}'), (
        "what a call is compared with"
    )
    row = task.encode(called, 1024)
    assert torch.tensor(row.targets).ne(-100).sum() == len(task.asked_and_answer(called)[1]) + 1


def test_a_run_with_a_template_without_tools_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    talk = {"messages": [USER, SAID]}
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(r) for r in [talk] * 3 + [{**talk, "tools": TOOLS}]))
    words = ["train", *SMALL, "task.validation_fraction=0", f"task.template={FOLDER / 'zephyr.jinja'}"]
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert "c.jsonl:4: chat_template.jinja shows nothing of the tool 'warmth', which is offered; " in said
    assert said.count("\n") == 0
    assert not (tmp_path / "runs").exists()
