"""Our answers to lm-eval's questions are those that its own model for transformers gave (harness_figures.json). Needs no lm-eval."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import harness_model
import pytest
import torch
from tokenizers import Tokenizer, models

import components
from components.compose.composed import compose
from components.core.errors import UserError
from components.corpus.tokens import Tokens
from components.evaluating import continuations
from components.evaluating.continuations import batches, likelihoods
from components.evaluating.harness import Harness, Results
from components.evaluating.requests import Answers, Writing, windows
from components.runs.loading import Opened, model_of

KNOWN = json.loads(Path(__file__).with_name("harness_figures.json").read_text(encoding="utf8"))
LETTERS = Tokens(Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[])), {})


@pytest.fixture(scope="module", params=["begins", "bare"])
def asked(request, tmp_path_factory) -> tuple[Answers, dict[str, Any]]:
    folder = harness_model.write(tmp_path_factory.mktemp("harness") / request.param, begins=request.param == "begins")
    return Answers(components.load(folder)), KNOWN[request.param]


def test_likelihoods_and_what_is_greedy(asked):
    answers, known = asked
    found = answers.loglikelihood([(context, text) for context, text, *_ in known["pairs"]])
    assert [greedy for _, greedy in found] == [greedy for *_, greedy in known["pairs"]]
    assert {True, False} == {greedy for _, greedy in found}
    assert [p for p, _ in found] == pytest.approx([p for *_, p, _ in known["pairs"]], abs=1e-4)


def test_rolling_in_windows(asked):
    answers, known = asked
    assert answers.loglikelihood_rolling(harness_model.texts()) == pytest.approx(known["rolling"], abs=1e-4)


def test_texts_until(asked):
    answers, known = asked
    assert answers.generate_until(harness_model.written()) == known["written"]
    assert any(known["written"])


def test_small_batches_and_no_sharing_change_nothing(asked, monkeypatch):
    answers, known = asked
    monkeypatch.setattr(continuations, "READ", 60)
    monkeypatch.setattr(continuations, "KEPT", 60)
    monkeypatch.setattr(continuations, "turning_points", lambda _: {7})  # as if a length turned all angles: nothing is shared
    found = answers.loglikelihood([(context, text) for context, text, *_ in known["pairs"]])
    assert [p for p, _ in found] == pytest.approx([p for *_, p, _ in known["pairs"]], abs=1e-4)


def test_a_shared_context_is_read_once(asked):
    answers, _ = asked
    read: list[int] = []
    model = answers.model
    hook = model.register_forward_pre_hook(lambda _, given: read.append(given[0].ids.numel()))
    context, after = [*range(5, 35)], [[40], [41], [42, 43], [44, 45, 46]]
    try:
        together = likelihoods(model, answers.tokenizer, [(context, a) for a in after], answers.limit)
    finally:
        hook.remove()
    assert read == [30, 2 * 2]  # the context; then all tokens but the last of the two longer ones, padded
    alone = [likelihoods(model, answers.tokenizer, [(context, a)], answers.limit)[0] for a in after]
    assert [p for p, _ in together] == pytest.approx([p for p, _ in alone], abs=1e-5)


def test_a_context_of_spaces_alone(asked):
    """lm-eval's own model stops here where nothing stands before a text; the continuation keeps all of its tokens."""
    answers, _ = asked
    before, after = answers.pair("  ", "the")
    assert before == [answers.begins]
    assert answers.tokenizer.decode(after) == "  the"


def test_a_continuation_that_adds_no_token_is_refused(asked):
    answers, _ = asked
    with pytest.raises(UserError, match="there are 0 tokens of the continuation ''"):
        answers.pair("the cat", "")
    with pytest.raises(UserError, match="the model's context has 48"):
        answers.pair("the cat", " word" * 60)


def test_a_task_that_asks_for_more_tokens_than_the_context_has(asked):
    answers, _ = asked
    with pytest.raises(UserError, match=r"256 new tokens, and the model's context has 48; .*max_gen_toks: 32"):
        answers.generate_until([("the cat", {"until": ["."]})])


def test_a_text_that_is_drawn_again_is_another(asked):
    answers, _ = asked
    drawn = [("the cat", {"do_sample": True, "temperature": 1.5, "max_gen_toks": 10})] * 3
    first = answers.generate_until(drawn)
    assert len(set(first)) == 3
    assert answers.generate_until(drawn) == first


@pytest.mark.parametrize(
    ("settings", "decoding"),
    [
        ({}, {"name": "greedy"}),
        ({"temperature": 0.0}, {"name": "greedy"}),
        ({"do_sample": False, "temperature": 1}, {"name": "greedy"}),
        ({"do_sample": True}, {"name": "sample", "samplers": [{"name": "temperature", "value": 1.0}]}),
        (
            {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "num_beams": 1},
            {
                "name": "sample",
                "samplers": [{"name": "temperature", "value": 0.5}, {"name": "top_k", "k": 5}, {"name": "top_p", "p": 0.9}],
            },
        ),
    ],
)
def test_how_a_task_has_texts_written(settings, decoding):
    assert Writing.of({**settings, "until": "\n"}) == Writing(("\n",), 256, decoding)


@pytest.mark.parametrize("settings", [{"num_beams": 4}, {"repetition_penalty": 1.2}])
def test_a_setting_that_nothing_here_knows_is_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        Writing.of(settings)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 23])
def test_windows_predict_each_token_once_with_as_much_context_as_fits(length):
    found = list(windows([*range(length)], 99, 8))
    assert [i for _, after in found for i in after] == [*range(length)]
    assert all(len(before) + len(after) <= 9 for before, after in found)
    assert all(before[-1] == after[0] - 1 for before, after in found[1:])


def test_batches_are_of_like_length_and_bounded():
    found = list(batches([3, 9, 1, 20, 8, 2], lambda n: n, lambda _: 1, 18))
    assert found == [[20], [9, 8], [3, 2, 1]]


@pytest.mark.parametrize(
    ("recipe", "said"), [("ladder/11_translation", "only after it has read a source"), ("bert_prose", "sees later tokens")]
)
def test_a_model_without_likelihoods_is_refused(recipe, said):
    config = compose(recipe).config
    with pytest.raises(UserError, match=said):
        Answers(Opened(model_of(config, 300), LETTERS, config))


def test_a_tokenizer_with_nothing_to_begin_with_is_refused():
    config = compose("llama_tiny").config
    with pytest.raises(UserError, match="no token that begins or ends a text"):
        Answers(Opened(model_of(config, 300), LETTERS, config))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"harness": 3}, "harness: 3 is no list of tasks"),
        ({"harness": [{"name": "x"}]}, "is no list of tasks"),
        ({"harness": ["x"], "harness_limit": 0}, "harness_limit: 0 is no number"),
        ({"harness": ["x"], "harness_folder": "nowhere"}, "harness_folder: there is no folder nowhere"),
    ],
)
def test_settings_of_another_type_are_one_line(config, said):
    with pytest.raises(UserError, match=said):
        Harness.of(config)


def test_settings():
    assert Harness.of({"harness": [], "harness_limit": 3}) is None
    assert Harness.of({"harness": "arc_easy"}) == Harness(["arc_easy"])


def test_results_as_figures_and_as_a_file(tmp_path):
    raw = {
        "results": {
            "mine": {"alias": "mine", "acc,none": 0.5, "acc_stderr,none": 0.1, "em,strict": 0.25, "em_stderr,strict": "N/A"},
            "all": {"alias": "all", "acc,none": 0.5, "acc_stderr,none": "N/A"},
        },
        "group_subtasks": {"all": ["mine"]},
        "n-samples": {"mine": {"original": 9, "effective": 4}},
        "config": {"model": "Asked", "dtype": torch.float32},
    }
    found = Results(raw)
    assert found.figures() == {
        "mine": {
            "acc": {"value": 0.5, "error": 0.1, "count": 4, "chance": None},
            "em/strict": {"value": 0.25, "error": None, "count": 4, "chance": None},
        },
        "all": {"acc": {"value": 0.5, "error": None, "count": 4, "chance": None}},
    }
    assert found.flat() == {
        "harness/mine/acc": 0.5,
        "harness/mine/acc_stderr": 0.1,
        "harness/mine/em/strict": 0.25,
        "harness/all/acc": 0.5,
    }
    file = found.write(tmp_path, Path("checkpoints/best.ckpt"))
    held = json.loads(file.read_text())
    assert held["results"] == raw["results"]
    assert held["config"]["model_args"] == {"checkpoint": "best.ckpt"}
    assert not any(math.isnan(v) for v in found.flat().values())
