"""``components plan`` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from components.cli import main

LARGE = [
    *("recipe=known/llama3_1_70b", "trainer.devices=64", "trainer.precision=bf16-mixed", "tokenizer.vocab_size=128256"),
    *("model.context_length=8192", "task.batch_size=64"),
]
SAME = ("exact_bytes_of_rank_0", "estimated_bytes", "sent_in_a_step", "rows", "accumulate", "checkpointing", "flops")


def planned(capsys, *words: str) -> dict:
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_seventy_billion_parameters_in_seconds(tmp_path):
    """Fifteen seconds of one processor, the interpreter's start and all imports included; and no Lightning."""
    code = (
        "import resource, sys\nfrom components.cli import main\nmain(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, 'lightning' in sys.modules, file=sys.stderr)"
    )
    words = ["plan", *LARGE, "trainer.strategy=fsdp2", "--accelerator", "h100", "--tokens", "1e12", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    seconds, lightning = done.stderr.split()[-2:]
    assert float(seconds) < 15
    assert lightning == "False"
    found = json.loads(done.stdout)
    assert found["parameters"] == 70_553_706_496  # as published
    state = found["exact_bytes_of_rank_0"]
    assert state["parameters"] == state["gradients"] == 70_553_706_496 * 4 // 64
    assert found["flops_per_token"] == pytest.approx(6 * (found["parameters"] - 128256 * 8192) + 6 * 80 * 8192 * 8192, rel=0.01)
    assert not found["fits"]
    assert found["largest_micro_batch"]["plain"] == 0 < found["largest_micro_batch"]["checkpointed"]
    assert found["bill"]["days"] > 0
    assert (found["utilisation"], found["tokens_of_the_run"], found["price_per_hour"]) == (0.4, 1e12, None)
    assert found["estimated_activations"]["checkpointed"] < found["estimated_activations"]["plain"]
    assert found["estimated_activations"]["plain"] == found["estimated_bytes"]["kept"]


def test_the_layouts_of_seventy_billion_parameters_are_searched_in_few_operations(capsys, monkeypatch):
    """131,000 operations on shapes, which take 10 s of a core where little else runs, and would be more than twice as many if each piece of a bend ran.
    Counted, since seconds are not the code's alone."""
    dispatch, count = FakeTensorMode.dispatch, []

    def counted(self, *args, **kwargs):
        count.append(None)
        return dispatch(self, *args, **kwargs)

    monkeypatch.setattr(FakeTensorMode, "dispatch", counted)
    found = planned(capsys, *LARGE, "trainer.strategy=fsdp2", "--accelerator", "h100", "--search")
    assert 0 < len(count) < 160_000
    assert found["tried"] == 26
    assert {e["strategy"] for e in found["layouts"]} == {"fsdp2", "hsdp", "fsdp2_tp", "cp"}


def test_the_page_that_is_printed(capsys):
    assert (
        main(
            [
                "plan",
                "recipe=llama_tiny",
                "trainer.devices=4",
                "trainer.strategy=fsdp2",
                "--accelerator",
                "l4",
                "--tokens",
                "1e9",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    for word in ("parameters", "exact", "estimate", "all-gather of weights", "largest micro-batch", "days"):
        assert word in out


def test_rows_that_do_not_divide_are_said_and_planned(capsys):
    found = planned(capsys, "recipe=llama_tiny", "trainer.devices=6", "trainer.strategy=ddp", "task.batch_size=16")
    assert found["rows"] == 3
    assert any("task.batch_size=16 among 6" in line for line in found["does_not_divide"])


def test_a_search_names_overrides_that_can_be_planned(capsys):
    found = planned(capsys, "recipe=llama_tiny", "trainer.devices=4", "--accelerator", "l4", "--search")
    assert {e["strategy"] for e in found["layouts"]} >= {"ddp", "fsdp2", "hsdp"}
    for e in found["layouts"][:6]:
        again = planned(capsys, "recipe=llama_tiny", "trainer.devices=4", *e["overrides"])
        assert again.items() >= {name: e[name] for name in SAME}.items()


def test_a_search_for_the_most_rows_names_overrides_that_can_be_planned(capsys):
    words = ["recipe=llama_tiny", "trainer.devices=4", "model.context_length=64", "task.batch_tokens=1024"]
    found = planned(capsys, *words, "--accelerator", "l4", "--search", "--most-rows")
    first = found["layouts"][0]
    assert first["rows"] > 1024 // 64
    again = planned(capsys, *words, *first["overrides"])
    assert again.items() >= {name: first[name] for name in SAME}.items()


def test_a_search_says_how_long_and_for_how_much(capsys):
    words = ["recipe=llama_tiny", "trainer.devices=4", "--accelerator", "l4", "--search"]
    assert "days_at_least" not in planned(capsys, *words)["layouts"][0]
    found = planned(capsys, *words, "--tokens", "1e12", "--price-per-hour", "2")["layouts"]
    for e in found:
        assert e["days_at_least"] == pytest.approx(1e12 / e["tokens_per_second_at_most"] / 86400)
        assert e["cost_at_least"] == pytest.approx(e["days_at_least"] * 24 * 4 * 2)
    assert main(["plan", *words, "--tokens", "1e12", "--price-per-hour", "2"]) == 0
    out = capsys.readouterr().out
    (head,) = [line.split() for line in out.splitlines() if "checkpointed" in line]
    assert head[-3:] == ["days", "cost", "layout"]
    assert f"{found[0]['days_at_least']:,.3g}" in out
    assert f"{found[0]['cost_at_least']:,.3g}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--accelerator", "h10"], "--accelerator: no figures of 'h10'; did you mean 'h100'?"),
        (["--search"], "--search: needs an accelerator"),
        (["--tokens", "1e9"], "--tokens: needs an accelerator"),
        (["--utilisation", "0.3"], "--utilisation: needs an accelerator"),
        (["--per-machine", "4"], "--per-machine: needs an accelerator"),
        (["--accelerator", "h100", "--per-machine", "4"], "--per-machine: goes with --search"),
        (["--accelerator", "h100", "--network", "25"], "--network: goes with --search"),
        (["--accelerator", "h100", "--most-rows"], "--most-rows: goes with --search"),
        (["--accelerator", "h100", "--price-per-hour", "2"], "--price-per-hour: needs the length of the run"),
        (["--accelerator", "h100", "--tokens", "-1"], "'-1' is no number above 0"),
        (["--accelerator", "h100", "--utilisation", "40"], "'40' is no share"),
        (["trainer.strategy=fsdp"], "trainer.strategy: 'fsdp' is FSDP1"),
        (["trainer.strategy=deepspeed"], "'deepspeed' is not planned"),
        (["trainer.devices=6", "trainer.strategy={name: hsdp, shard_size: 4}"], "6 devices are no whole number of groups of 4"),
        (
            ["trainer.devices=8", "trainer.strategy=tp", "model.attention.n_kv_heads=2"],
            "does not divide into pieces for 8 devices",
        ),
        (["optimizer=asgd"], "asgd's step cannot be taken on shapes alone"),
        (["recipe=ladder/13_classify"], "task: task/classification learns classes, and plans are of models that write tokens"),
        (["recipe=ladder/01_leaf_flower"], "task: task/"),
        (["--accelerator", "v100", "trainer.precision=bf16-mixed"], "plan trainer.precision=32-true or 16-mixed"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    try:
        code = main(["plan", *([] if any(w.startswith("recipe=") for w in words) else ["recipe=llama_tiny"]), *words])
    except SystemExit as e:
        code = e.code
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
    assert "Traceback" not in err
