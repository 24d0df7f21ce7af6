"""Quantised checkpoints: the numbers are those that transformers makes of them, or weight times scale; what is not known is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints as made
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import components
from components.cli import main
from components.core.errors import UserError
from components.interop.files import Tensors
from components.interop.quantised import dequantised

transformers = pytest.importorskip("transformers")
FP8 = torch.float8_e4m3fn
IDS = torch.tensor([[1, 5, 9, 30, 7, 2]])
GROUP = {"weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}, "targets": ["Linear"]}


def blocks_of(weight: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """(fp8, scales) by blocks of ``rows`` x ``columns``, the last ones smaller."""
    counts = [-(-n // b) for n, b in zip(weight.shape, (rows, columns), strict=True)]
    scale = torch.empty(counts)
    held = torch.empty(weight.shape, dtype=FP8)
    for i in range(counts[0]):
        for j in range(counts[1]):
            at = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            scale[i, j] = weight[at].abs().max() / 448
            held[at] = (weight[at] / scale[i, j]).to(FP8)
    return held, scale


def by_tensor(weight: Tensor) -> dict[str, Tensor]:
    scale = weight.abs().max() / 448
    return {"": (weight / scale).to(FP8), "_scale": scale, "|input_scale": torch.tensor(0.5)}


def by_row(weight: Tensor) -> dict[str, Tensor]:
    scale = weight.abs().amax(1, keepdim=True) / 448
    return {"": (weight / scale).to(FP8), "_scale": scale}


def in_int8(weight: Tensor) -> dict[str, Tensor]:
    scale = weight.abs().amax(1, keepdim=True) / 127
    return {"": (weight / scale).round().to(torch.int8), "_scale": scale.bfloat16()}


def by_block(weight: Tensor) -> dict[str, Tensor]:
    held, scale = blocks_of(weight, 16, 16)
    return {"": held, "_scale_inv": scale}


def in_powers(weight: Tensor) -> dict[str, Tensor]:
    """Scales of one byte, powers of two."""
    power = torch.ceil(torch.log2(weight.abs().amax(1, keepdim=True) / 448))
    return {"": (weight / power.exp2()).to(FP8), "_scale": (power + 127).to(torch.uint8)}


WAYS: dict[str, tuple[dict[str, Any], Callable[[Tensor], dict[str, Tensor]]]] = {
    "blocks of fp8": ({"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}, by_block),
    "fbgemm": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, by_row),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8"}, by_tensor),
    "compressed-tensors": ({"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}}, by_row),
    "compressed-tensors, int8": ({"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}}, in_int8),
    "compressed-tensors, powers": ({"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}}, in_powers),
}


def formula(held: dict[str, Tensor]) -> Tensor:
    """Weight times scale, written out."""
    scale = held.get("_scale_inv", held.get("_scale"))
    assert scale is not None
    if "_scale_inv" in held:
        scale = scale.repeat_interleave(16, 0).repeat_interleave(16, 1)
    return held[""].float() * ((scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float())


def quantise(folder: Path, way: str) -> dict[str, Tensor]:
    """Quantise the matrices of a folder's layers; {name: the number that each stands for, in bf16}."""
    said, quantised = WAYS[way]
    file, tensors = folder / "model.safetensors", {}
    wanted = {}
    for name, tensor in load_file(file).items():
        if "proj" not in name:
            tensors[name] = wanted[name] = tensor.bfloat16()
            continue
        held = quantised(tensor.float())
        wanted[name] = formula(held).bfloat16()
        for end, one in held.items():
            tensors[name.removesuffix(".weight") + end.replace("|", ".") if "|" in end else f"{name}{end}"] = one
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16", "quantization_config": said}))
    return wanted


@pytest.mark.parametrize("way", WAYS)
def test_each_weight_is_what_weight_and_scale_stand_for(way, tmp_path, capsys):
    folder = made.llama(tmp_path / "theirs")
    wanted = quantise(folder, way)
    assert main(["import", str(folder), "--to", str(tmp_path / "run")]) == 0
    assert "14 tensors in " in capsys.readouterr().out
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 0
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(found[n].dtype == torch.bfloat16 and torch.equal(found[n], wanted[n]) for n in wanted)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_blocks_are_dequantised_as_transformers_does(tmp_path):
    folder = made.llama(tmp_path / "theirs")
    quantise(folder, "blocks of fp8")
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    held = load_file(folder / "model.safetensors")
    read = dequantised(Tensors(folder), json.loads((folder / "config.json").read_text()), "x")
    for name in (n for n in held if n.endswith("_scale_inv")):
        weight = name.removesuffix("_scale_inv")
        theirs = Fp8Dequantize(None)._dequantize_one(held[weight], held[name], torch.bfloat16)
        assert torch.equal(read[weight], theirs)


def test_the_last_blocks_may_be_smaller(tmp_path):
    """DeepSeek-V3's 576 rows in blocks of 128. transformers refuses these where it dequantises, so it is the formula that is held."""
    weight = torch.randn(57, 40, generator=torch.Generator().manual_seed(0))
    held, scale = blocks_of(weight, 16, 12)
    save_file({"a.weight": held, "a.weight_scale_inv": scale}, tmp_path / "model.safetensors")
    said = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 12]}, "dtype": "float32"}
    found = dequantised(Tensors(tmp_path), said, "x")["a.weight"]
    for i in range(57):
        for j in range(40):
            assert found[i, j] == held[i, j].float() * scale[i // 16, j // 12]
    assert (found - weight).abs().max() < 0.1 * weight.abs().max()


def test_four_bits_are_those_of_transformers(tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (3, 8, 2, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(110, 140, (3, 8, 2), dtype=torch.uint8, generator=generator)
    save_file({"e_blocks": blocks, "e_scales": scales}, tmp_path / "model.safetensors")
    read = dequantised(Tensors(tmp_path), {"quantization_config": {"quant_method": "mxfp4"}}, "x")
    assert read.names == {"e"}
    assert read.shape("e") == (3, 64, 8)
    assert torch.equal(read["e"], convert_moe_packed_tensors(blocks, scales))


def test_a_checkpoint_of_gpt_oss_in_four_bits(tmp_path):
    """From the tensors that OpenAI publishes to logits."""
    config = transformers.GptOssConfig(
        **{"vocab_size": 40, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 16},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
        **{"max_position_embeddings": 64, "sliding_window": 8, "pad_token_id": 0},
    )
    torch.manual_seed(0)
    model = transformers.GptOssForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.1)
    model.bfloat16().save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "model.safetensors"
    tensors, generator = load_file(file), torch.Generator().manual_seed(1)
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        experts, inner, rows = tensors.pop(name).shape
        tensors[f"{name}_blocks"] = torch.randint(256, (experts, rows, inner // 32, 16), dtype=torch.uint8, generator=generator)
        tensors[f"{name}_scales"] = torch.randint(
            120, 125, (experts, rows, inner // 32), dtype=torch.uint8, generator=generator
        )
    save_file(tensors, file, metadata={"format": "pt"})
    config_file = tmp_path / "theirs" / "config.json"
    held = {**json.loads(config_file.read_text()), "quantization_config": {"quant_method": "mxfp4"}}
    config_file.write_text(json.dumps(held))
    with torch.no_grad():
        how = transformers.Mxfp4Config(dequantize=True)
        model = transformers.GptOssForCausalLM.from_pretrained(
            tmp_path / "theirs", dtype=torch.bfloat16, quantization_config=how
        )
        theirs = model.float()(IDS).logits
        ours = components.load(tmp_path / "theirs").model(IDS)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


WRONG: dict[str, tuple[Any, dict[str, Tensor], str]] = {
    "another way": ({"quant_method": "gptq", "bits": 4}, {}, "quant_method='gptq' is not known: there are fp8"),
    "no way": ({}, {}, "quant_method=None is not known"),
    "no object": ([4], {}, r"is \[4\], and no object"),
    "four bits of modelopt": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, {}, "quant_algo='NVFP4'"),
    "four bits in groups": (
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4, "group_size": 128}}}},
        {},
        "'num_bits': 4",
    ),
    "a group that is none": ({"quant_method": "compressed-tensors", "config_groups": {"a": 3}}, {}, "weights=None"),
    "a block that is none": ({"quant_method": "fp8", "weight_block_size": [0, "x"]}, {}, "is no pair of sizes"),
    "no scale": (
        {"quant_method": "fp8"},
        {"a.weight": torch.zeros(4, 4, dtype=FP8)},
        "no a.weight_scale_inv or _scale is there",
    ),
    "a scale of another shape": (
        {"quant_method": "fp8", "weight_block_size": [2, 2]},
        {"a.weight": torch.zeros(4, 4, dtype=FP8), "a.weight_scale_inv": torch.ones(3, 2)},
        "a.weight_scale_inv is 3x2, and a.weight is 4x4, in blocks of 2x2",
    ),
    "more axes than the weight": (
        {"quant_method": "fp8"},
        {"a.weight": torch.zeros(4, 4, dtype=FP8), "a.weight_scale_inv": torch.ones(4, 4, 4)},
        "a scale does not fit",
    ),
    "exponents of another shape": (
        {"quant_method": "mxfp4"},
        {"e_blocks": torch.zeros(1, 2, 3, 16, dtype=torch.uint8), "e_scales": torch.zeros(1, 2, 2, dtype=torch.uint8)},
        "e_scales of 1x2x3 bytes is not there",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_known_is_refused_by_name(what, tmp_path):
    said, tensors, wanted = WRONG[what]
    save_file(tensors or {"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=wanted) as e:
        dequantised(Tensors(tmp_path), {"quantization_config": said}, "config.json")
    assert "\n" not in str(e.value)
