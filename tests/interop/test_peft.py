"""Adapters in PEFT's layout, in and out: its logits, its files byte for byte, several on one model, and what does not fit.

``peft_tiny/`` was written by peft 0.21.2: bases with two layers, adapters over them with tensors drawn anew, and the logits of each for some ids.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import components
from components.cli import main
from components.core.errors import UserError

TINY = Path(__file__).parent / "peft_tiny"
BASE = TINY / "base"
KEPT = ("lora", "dora", "ia3")
LOGITS = load_file(TINY / "logits.safetensors")
IDS = LOGITS["ids"]


def off(given: torch.Tensor, right: torch.Tensor) -> float:
    return float((given - right).detach().abs().max() / right.detach().abs().max())


@torch.no_grad()
def logits(run, ids=IDS):
    return components.load(run).model(ids)


def run_of(adapter: Path, to: Path, base: Path = BASE) -> Path:
    assert main(["import", str(adapter), "--base", str(base), "--to", str(to)]) == 0
    return to


@pytest.mark.parametrize("name", KEPT)
def test_an_adapter_comes_in_with_its_logits_and_goes_out_byte_for_byte(name, tmp_path, capsys):
    run = run_of(TINY / name, tmp_path / "run")
    assert f"adapter {name}: " in capsys.readouterr().out
    assert off(logits(run), LOGITS[name]) < 1e-6
    assert off(logits(BASE), LOGITS[name]) > 1e-2
    assert main(["export", str(run), "--adapter", "--to", str(tmp_path / "out")]) == 0
    for file in (TINY / name).iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name
    assert main(["export", str(run), "--to", str(tmp_path / "merged")]) == 0
    assert off(logits(tmp_path / "merged"), LOGITS[name]) < 1e-5


def test_experts_that_peft_keeps_in_one_product_come_in(tmp_path):
    run = run_of(TINY / "experts", tmp_path / "run", TINY / "experts_base")
    assert off(logits(run), LOGITS["experts"]) < 1e-6
    assert off(logits(TINY / "experts_base"), LOGITS["experts"]) > 1e-2
    assert components.load(run).config["adapter"]["targets"] == ["*.attention.q", "*.ffn.gate", "*.ffn.up", "*.ffn.out"]
    assert main(["export", str(run), "--adapter", "--to", str(tmp_path / "out")]) == 0  # expert by expert
    again = run_of(tmp_path / "out", tmp_path / "again", TINY / "experts_base")
    assert torch.equal(logits(again), logits(run))


def test_fused_experts_come_in_and_go_out_byte_for_byte(tmp_path):
    """gpt-oss, whose stacks are ``target_parameters``: two of one module, of which the first is wrapped by the second."""
    run = run_of(TINY / "fused", tmp_path / "run", TINY / "fused_base")
    assert off(logits(run), LOGITS["fused"]) < 1e-6
    assert off(logits(TINY / "fused_base"), LOGITS["fused"]) > 1e-2
    assert main(["export", str(run), "--adapter", "--to", str(tmp_path / "out")]) == 0
    for file in (TINY / "fused").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def test_one_model_with_several_adapters_by_name(tmp_path):
    loaded = components.load(BASE)
    plain, modules = logits(BASE), [type(m) for m in loaded.model.modules()]
    for name in KEPT[:2]:
        loaded.adapters.add(name, TINY / name)
    loaded.adapters.add("run", run_of(TINY / "ia3", tmp_path / "run"))
    assert list(loaded.adapters) == ["lora", "dora", "run"]
    for name in ("lora", "run", "dora", "lora", None, "run", None):
        loaded.use(name)
        assert loaded.adapters.in_use == name
        with torch.no_grad():
            given = loaded.model(IDS)
        right = plain if name is None else LOGITS["ia3" if name == "run" else name]
        assert off(given, right) < 1e-6, name
        assert torch.equal(given, plain) == (name is None)
    assert [type(m) for m in loaded.model.modules()] == modules
    loaded.use("lora")
    text = loaded.generate("1 5 9", max_new_tokens=6)
    assert text == components.load(run_of(TINY / "lora", tmp_path / "lora")).generate("1 5 9", max_new_tokens=6)


def test_a_run_with_an_adapter_can_leave_it_and_take_another(tmp_path):
    loaded = components.load(run_of(TINY / "ia3", tmp_path / "run"))
    loaded.adapters.add("dora", TINY / "dora")
    for name, right in (("dora", LOGITS["dora"]), ("default", LOGITS["ia3"]), (None, logits(BASE))):
        loaded.use(name)
        with torch.no_grad():
            assert off(loaded.model(IDS), right) < 1e-6
    lost = components.load(run_of(TINY / "lora", tmp_path / "lora"))
    with pytest.raises(UserError, match=r"trained head\.logits\.weight itself"):
        lost.use(None)
    with pytest.raises(UserError, match=r"no adapter is called 'lora'.*default"):
        lost.use("lora")
    with pytest.raises(UserError, match="dora is there already"):
        loaded.adapters.add("dora", TINY / "dora")


TARGETS = {
    "lora": ["adapter=lora", "adapter.rank=3", "adapter.targets=[*]", "adapter.train=[*norm*]"],
    "q_and_v": ["adapter=lora", "adapter.rank=2", "adapter.scaling=root", "adapter.alpha=5", "adapter.train=[*.ffn_norm]"],
    "dora": ["adapter=dora", "adapter.rank=3", "adapter.targets=[*.attention.*,*.ffn.*]"],
    "ia3": ["adapter=ia3"],
}
OURS = [
    *("recipe=gpt_python", "model.d_model=32", "model.n_layers=2", "model.context_length=32", "model.attention.n_heads=4"),
    *("data=text", "data.path=book.txt", "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("task.samples=0", "task.judged_samples=0", "task.batch_size=4", "tokenizer=bpe", "tokenizer.vocab_size=300"),
]
LLAMA = [
    *("model/position=rope", "model/attention=gqa", "model/ffn=glu", "model.ffn.activation=silu", "model/norm=rms"),
    "model.attention.qk_norm=none",
]
GPT2 = [
    *("model/position=learned", "model/norm=layer", "model/head=tied", "model.attention.bias=[q,k,v,out]"),
    *("model.attention.qk_norm=none", "model/ffn=mlp", "model.ffn.bias=true", "model.ffn.activation=gelu_tanh"),
]
EXPERTS = [
    *(o for o in LLAMA if "ffn" not in o),
    *("model/ffn=moe", "model.ffn.expert=glu", "model.ffn.activation=silu", "model.ffn.n_experts=3", "model.ffn.router.k=2"),
    *("model.ffn.load_balance=0.0", "model.ffn.d_ff=24"),
]
GPT_OSS = [
    *(
        "model/position=rope",
        "model.position.layout=half",
        "model/norm=rms",
        "model/attention=gqa",
        "model.attention.qk_norm=none",
    ),
    *("model.attention.sinks=true", "model.attention.bias=[q,k,v,out]", "model/head=linear", "model/ffn=moe"),
    *("model.ffn.expert=clamped_glu", "model.ffn.bias=true", "model.ffn.load_balance=0.0", "model.ffn.n_experts=3"),
    *("model/ffn.router=top_k_softmax", "model.ffn.router.bias=true", "model.ffn.router.k=2", "model.ffn.d_ff=24"),
    *("model.norm.eps=1e-5", "model.attention.head_dim=8", "model.ffn.activation=silu"),
    "model.layers={every2: {attention: {mask: {name: sliding_window, window: 8}}}}",
]
TRAINED = {
    **{f"llama_{name}": (LLAMA, options) for name, options in TARGETS.items()},
    "gpt2_q_and_v": (GPT2, TARGETS["q_and_v"]),
    "gpt2_dora": (GPT2, TARGETS["dora"]),
    "gpt2_tied_table": (GPT2, ["adapter=lora", "adapter.rank=2", "adapter.targets=[embedding.table,*.ffn.up]"]),
    "fused_all": (
        GPT_OSS,
        [
            "adapter=lora",
            "adapter.rank=2",
            "adapter.dropout=0.1",
            "adapter.targets=[*.ffn.gate,*.ffn.up,*.ffn.out,*.attention.q]",
        ],
    ),
    "fused_up": (GPT_OSS, ["adapter=lora", "adapter.rank=3", "adapter.scaling=root", "adapter.targets=[*.ffn.up]"]),
    "experts": (EXPERTS, ["adapter=lora", "adapter.rank=2", "adapter.targets=[*.ffn.gate,*.ffn.up,*.ffn.out,*.attention.q]"]),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{name: a folder with the base, the run with an adapter over it, and what was exported of both}, each made once."""
    bases: dict[str, Path] = {}
    known: dict[str, Path] = {}

    def made(name: str) -> Path:
        at = tmp_path_factory.mktemp(name)
        kind, (model, options) = name.partition("_")[0], TRAINED[name]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(at)
            Path("book.txt").write_text("\n\n".join(f"The fox and dog number {i} walk over the hill." for i in range(80)))
            if kind not in bases:
                bases[kind] = components.train(None, [*OURS, *model], quiet=True).folder.resolve()
            more = [f"init_from={bases[kind]}", *options, "optimizer.lr=0.05"]
            components.train(None, [*OURS, *model, *more], quiet=True).folder.rename(at / "tuned")
        (at / "own").symlink_to(bases[kind])
        assert main(["export", str(bases[kind]), "--to", str(at / "base")]) == 0
        assert main(["export", str(at / "tuned"), "--adapter", "--to", str(at / "adapter")]) == 0
        return at

    def once(name: str) -> Path:
        if name not in known:
            known[name] = made(name)
        return known[name]

    return once


TRAINED_IDS = torch.randint(5, 290, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_trained_here_has_the_same_logits_in_peft(name, trained):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    transformers = pytest.importorskip("transformers")
    at = trained(name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(at / "base")
    with torch.no_grad():
        before = theirs(TRAINED_IDS).logits
        right = peft.PeftModel.from_pretrained(theirs, at / "adapter").eval()(TRAINED_IDS).logits
    assert off(before, right) > 1e-4
    assert off(logits(at / "tuned", TRAINED_IDS), right) < 1e-5


@pytest.mark.parametrize("name", ["llama_lora", "gpt2_dora", "experts", "fused_all", "fused_up"])
@pytest.mark.parametrize("over", ["base", "own"])  # pairs are halves in the folder, and interleaved in the run
def test_what_goes_out_comes_in_over_a_folder_and_over_a_run(name, over, trained, tmp_path):
    at = trained(name)
    run = run_of(at / "adapter", tmp_path / "run", at / over)
    assert off(logits(run, TRAINED_IDS), logits(at / "tuned", TRAINED_IDS)) < 1e-5
    assert off(logits(at / over, TRAINED_IDS), logits(at / "tuned", TRAINED_IDS)) > 1e-3
    assert main(["export", str(run), "--adapter", "--to", str(tmp_path / "out")]) == 0
    assert_alike(at / "adapter", tmp_path / "out")


def test_fused_experts_stand_as_parameters_and_other_classes_refuse_them(trained, tmp_path, capsys, monkeypatch):
    at = trained("fused_all")
    fields = json.loads((at / "adapter" / "adapter_config.json").read_text())
    assert fields["target_parameters"] == ["down_proj", "gate_up_proj"]
    assert (fields["target_modules"], fields["lora_dropout"], fields["rank_pattern"]) == (["q_proj"], 0.0, {"gate_up_proj": 4})
    held = load_file(at / "adapter" / "adapter_model.safetensors")
    layer = "base_model.model.model.layers.0.mlp.experts."
    assert held[f"{layer}base_layer.lora_A.weight"].shape == (3 * 4, 32)  # gate and up, of rank 2 each
    assert held[f"{layer}lora_B.weight"].shape == (32, 3 * 2)
    monkeypatch.setattr("components.interop.peft.STACKS", ())
    assert main(["export", str(at / "tuned"), "--adapter", "--to", str(tmp_path / "out")]) == 2
    assert "experts.gate_up_proj is a stack of experts" in capsys.readouterr().err.replace(":", "")
    assert not (tmp_path / "out").exists()


def assert_alike(one: Path, other: Path) -> None:
    a, b = (load_file(f / "adapter_model.safetensors") for f in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, msg=name)
    assert (one / "adapter_config.json").read_bytes() == (other / "adapter_config.json").read_bytes()


@pytest.fixture
def folder(tmp_path):
    """A copy of the stored adapter, to be spoiled."""
    return Path(shutil.copytree(TINY / "lora", tmp_path / "adapter"))


def said(folder: Path, capsys, base: Path = BASE) -> str:
    to = folder.parent / "run"
    assert main(["import", str(folder), "--base", str(base), "--to", str(to)]) == 2
    assert not to.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"peft_type": "LOHA"}, "peft_type is LOHA"),
        ({"lora_bias": True}, "lora_bias=True is not known here"),
        ({"init_lora_weights": "pissa"}, "changes the base's weights too"),
        ({"r": 8}, "has rank 4, and adapter_config.json says 8"),
        ({"lora_alpha": None}, "needs r and lora_alpha"),
        ({"r": float("inf")}, "needs r and lora_alpha"),
        ({"lora_dropout": "a tenth"}, "lora_dropout is no number from 0 to 1"),
        ({"rank_pattern": {"q_proj": "x"}}, "rank_pattern is no table of numbers over 0"),
        ({"rank_pattern": {"(": 2}}, "the pattern '(' is not read here"),
        ({"alpha_pattern": {"(((.*)*)*)*x": 3}}, "the pattern '(((.*)*)*)*x' is not read here"),
        ({"target_modules": [["q_proj"]]}, "target_modules is no list of names"),
        ({"target_modules": "((.*)*)*q"}, "the pattern '((.*)*)*q' is not read here"),
    ],
)
def test_settings_that_mean_something_else_are_refused(changed, text, folder, capsys):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    assert text in said(folder, capsys)


def test_tensors_that_do_not_fit_are_one_list(folder, capsys):
    file = folder / "adapter_model.safetensors"
    held = load_file(file)
    layer = "base_model.model.model.layers.0."
    held[f"{layer}self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 12)
    held |= {f"{layer}self_attn.twist.lora_{side}.weight": torch.zeros(4, 4) for side in "AB"}
    del held[f"{layer}mlp.down_proj.lora_B.weight"]
    save_file(held, file)
    text = said(folder, capsys)
    assert "does not fit LlamaForCausalLM" in text
    assert "self_attn.q_proj is of a matrix 16x12 there" in text
    assert "self_attn.twist has no place" in text
    assert "mlp.down_proj has lora_A" in text


def test_an_adapter_of_another_class_says_what_has_no_place(tmp_path, capsys):
    adapter = Path(shutil.copytree(TINY / "experts", tmp_path / "adapter"))
    assert "model.layers.0.mlp.experts has no place in the model" in said(adapter, capsys)


def test_another_base_and_a_missing_one_are_told(folder, capsys, tmp_path):
    other = shutil.copytree(BASE, tmp_path / "other")
    held = load_file(other / "model.safetensors")
    save_file({n: t + 1 for n, t in held.items()}, other / "model.safetensors", metadata={"format": "pt"})
    assert "comes with another weight than the base has" in said(folder, capsys, Path(other))
    assert main(["import", str(folder), "--to", str(tmp_path / "run")]) == 2
    assert "is an adapter, and no model; name its model too" in capsys.readouterr().err
    run = run_of(folder, tmp_path / "run")
    capsys.readouterr()
    assert main(["import", str(folder), "--base", str(run), "--to", str(tmp_path / "twice")]) == 2
    assert "has an adapter already" in capsys.readouterr().err
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "no adapter_model.safetensors there" in said_of(["import", str(folder), "--base", str(BASE), "--to", "x"], capsys)


def said_of(command: list[str], capsys) -> str:
    assert main(command) == 2
    return capsys.readouterr().err


def test_a_run_without_an_adapter_has_none_to_write(tmp_path, capsys):
    assert main(["import", str(BASE), "--to", str(tmp_path / "run"), "--no-check"]) == 0
    assert "has no adapter" in said_of(["export", str(tmp_path / "run"), "--adapter", "--to", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()
