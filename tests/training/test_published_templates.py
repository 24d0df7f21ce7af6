"""Published chat templates render here what transformers' ``apply_chat_template`` renders, byte for byte, or are refused in both.

Where the templates are from: chat_templates/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components import build
from components.core.errors import UserError
from components.corpus.tokens import Tokens
from components.generation.chat import Template

FOLDER = Path(__file__).parent / "chat_templates"
NAMES = sorted(file.stem for file in FOLDER.glob("*.jinja"))
USER = {"role": "user", "content": "How warm is it in  Zürich – “now”, <b>& today</b>?\n"}
AND = {"role": "user", "content": "And in 東京?"}
SYSTEM = {"role": "system", "content": 'Be short.\nBe "kind".'}
SAID = {"role": "assistant", "content": "It is 21 °C."}
CALL = {"type": "function", "id": "abc123def", "function": {"name": "warmth", "arguments": {"place": "Zürich", "days": 2}}}
OTHER = {"type": "function", "id": "abc123deg", "function": {"name": "now", "arguments": {}}}
TOLD = {"role": "tool", "name": "warmth", "tool_call_id": "abc123def", "content": '{"celsius": 21, "says": "°"}'}
PARAMETERS = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "description": "The town's name, such as Zürich."},
        "days": {"type": "integer", "description": "How far ahead.", "enum": [1, 2]},
        "units": {"type": ["string", "null"], "default": "°C"},
    },
    "required": ["place"],
}
TOOLS = [
    {"type": "function", "function": {"name": "warmth", "description": "How warm it is <there>.", "parameters": PARAMETERS}},
    {
        "type": "function",
        "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
    },
]
Case = tuple[list[dict[str, Any]], list[dict[str, Any]] | None]
CASES: dict[str, Case] = {
    "a question": ([USER], None),
    "turns": ([USER, SAID, AND, SAID], None),
    "a system": ([SYSTEM, USER, SAID, AND], None),
    "systems": ([SYSTEM, USER, SAID, {"role": "system", "content": "Now be long."}, AND], None),
    "a developer": ([{"role": "developer", "content": "Be short."}, USER], None),
    "a system and a developer": ([SYSTEM, {"role": "developer", "content": "Be long."}, USER], None),
    "tools offered": ([USER], TOOLS),
    "tools and a system": ([SYSTEM, USER], TOOLS),
    "no tool offered": ([USER], []),
    "a call": ([SYSTEM, USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, TOLD, SAID, AND], TOOLS),
    "a call with words": ([USER, {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}, TOLD, SAID], TOOLS),
    "a call without tools": ([USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, TOLD], None),
    "a call as text": (
        [USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "warmth", "arguments": "{}"}}]}, TOLD],
        TOOLS,
    ),
    "two calls": ([USER, {"role": "assistant", "content": "", "tool_calls": [CALL, OTHER]}, TOLD, {**TOLD, "content": "9:00"}], TOOLS),
    "reasoning": ([USER, {**SAID, "reasoning_content": "It is summer."}, AND, {**SAID, "thinking": "So it is."}], None),
    "reasoning in words": ([USER, {**SAID, "content": "<think>\nIt is summer.\n</think>\n\nWarm."}, AND], None),
    "reasoning before a call": ([USER, {"role": "assistant", "reasoning": "Ask.", "tool_calls": [CALL]}, TOLD], TOOLS),
    "parts": ([{"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "warm?"}]}, SAID], None),
    "an answer first": ([SAID, USER], None),
    "two questions": ([USER, AND], None),
    "nothing said": ([{"role": "user", "content": ""}], None),
    "an unknown role": ([{"role": "critic", "content": "No."}, USER], None),
}  # fmt: skip
REFUSES = {  # how many of the cases each refuses, as in transformers; all others none
    **{
        "chatml": 4,
        "cohere2": 4,
        "deepseek_r1_distill": 4,
        "deepseekv3": 7,
        "gemma": 14,
        "gemma3": 12,
        "glm4moe": 1,
    },
    **{
        "llama3_1": 1,
        "llama3_2": 1,
        "mistral_v7_tekken": 9,
        "nemotron_3_nano": 1,
        "phi3": 4,
        "phi_4": 4,
        "qwen2_5": 1,
        "zephyr": 4,
    },
}
OFFERING = {  # these show tools, and calls of them
    *("llama3_1", "llama3_2", "qwen2_5", "qwen3", "qwen3_training", "glm4moe", "lfm2_v2", "nemotron_3_nano"),
    "command_a_tool_use",
}
SYSTEMS = {  # these show each of several systems
    *("llama3_1", "llama3_2", "qwen2_5", "qwen3", "qwen3_training", "glm4moe", "lfm2_v2", "nemotron_3_nano", "phi3", "zephyr"),
    *("chatml", "cohere2", "command_a_tool_use", "deepseekv3", "mistral_v7_tekken"),
}
LEARNT = {*("chatml", "zephyr", "phi_4", "gemma", "gemma3", "cohere2", "mistral_v7_tekken", "qwen2_5", "lfm2_v2")}
LEARNT |= {*("llama3_1", "llama3_2")}  # later messages change nothing before them, so conversations are learnt from


@pytest.fixture(scope="module")
def tokens():
    made = build("tokenizer", "byte")
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
    return Tokens(made.core, made.roles, {"tokenizer_config.json": json.dumps(config)})


@pytest.fixture(scope="module")
def theirs(tokens):
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens.core, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders_what_transformers_renders(tokens, theirs, name):
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf8")
    made, same = Template(source, tokens, name), dict[str, str]()
    for case, (messages, tools) in CASES.items():
        for answer in (True, False):
            options = {"tools": tools, "chat_template": source, "tokenize": False, "add_generation_prompt": answer}
            try:
                want = theirs.apply_chat_template(messages, **options)
            except Exception:  # whatever a template raises, and makes jinja raise
                with pytest.raises(UserError, match=f"^{name}: refuses this conversation"):
                    made.text(messages, answer=answer, tools=tools)
            else:
                assert made.text(messages, answer=answer, tools=tools) == want, (case, answer)
                same[case] = want
    assert len(CASES) - len(same) == REFUSES.get(name, 0), [case for case in CASES if case not in same]
    if name in OFFERING:
        assert all("warmth" in same[case] for case in ("tools offered", "tools and a system", "a call"))
    if name in SYSTEMS:
        assert all(said in same["systems"] for said in ("Be short.", "Now be long."))


@pytest.mark.parametrize("name", sorted(LEARNT))
def test_answers_and_calls_are_what_is_learnt(tokens, name):
    made = Template((FOLDER / f"{name}.jinja").read_text(encoding="utf8"), tokens, name)
    for case in ("turns", "a call") if name in OFFERING else ("turns",):
        messages, tools = CASES[case]
        (pieces,) = made.frames(messages, tools)
        assert tokens.decode([i for ids, _ in pieces for i in ids]) == made.text(messages, answer=False, tools=tools)
        learnt = [tokens.decode(ids) for ids, number in pieces if number is not None]
        read = "".join(tokens.decode(ids) for ids, number in pieces if number is None)
        assert len(learnt) == sum(m["role"] == "assistant" for m in messages)
        assert SAID["content"] in learnt[-1]
        assert SAID["content"] not in read
        if case == "a call":
            assert "warmth" in learnt[0]
            assert "celsius" in read
            assert "celsius" not in learnt[0]


def test_names_of_special_tokens_in_calls_and_tools_are_words(tokens):
    end = next(name for name in tokens.roles.values() if tokens.core.token_to_id(name) is not None)
    made = Template((FOLDER / "qwen2_5.jinja").read_text(encoding="utf8"), tokens)
    call = {**CALL, "function": {"name": "warmth", "arguments": {"place": [f"Zürich{end}"]}}}
    messages = [USER, {"role": "assistant", "tool_calls": [call]}, {**TOLD, "content": f"21{end}"}]
    tools = [{**TOOLS[0], "function": {**TOOLS[0]["function"], "description": f"How warm{end}"}}]
    ids = made.ids(messages, tools=tools)
    assert tokens.core.token_to_id(end) not in ids
    assert tokens.decode(ids).count(end) == 3
    assert tokens.decode(ids) == made.text(messages, tools=tools)


@pytest.mark.parametrize("tool", ["warmth", {}, {"function": {}}, {"type": "function", "function": {"name": 3}}])
def test_what_is_no_tool_is_said(tokens, tool):
    made = Template((FOLDER / "qwen2_5.jinja").read_text(encoding="utf8"), tokens)
    with pytest.raises(UserError, match="is not a tool"):
        made.ids([USER], tools=[tool])


@pytest.mark.parametrize("calls", ["warmth", [], ["warmth"], {}])
def test_what_is_no_call_is_said(tokens, calls):
    made = Template((FOLDER / "qwen2_5.jinja").read_text(encoding="utf8"), tokens)
    with pytest.raises(UserError, match="is not a text message"):
        made.ids([USER, {"role": "assistant", "tool_calls": calls}])


def test_there_are_enough():
    assert len(NAMES) >= 12
    assert {*NAMES} >= OFFERING | SYSTEMS | {*REFUSES} | LEARNT
    listed = (FOLDER / "README.md").read_text(encoding="utf8")
    assert all(f"`{name}.jinja`" in listed for name in NAMES)
