"""What users would take instead, and the same mathematics composed from our parts with their weights.

Shape (a): GPT-2 with 6 layers, 6 heads, d_model 384, context 256, vocabulary 65, batch 16. (b): 12 layers, 12 heads, d_model 768, context 512, vocabulary 50,304,
batch 2. (c): Llama of the size of (a), with two heads of keys, vocabulary 32,000, batch 4. Each ``Peer`` builds the foreign model, says which of our parts
make the same function, and maps its weights onto ours, so that equal losses can be asserted before anything is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import nanogpt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPES = {"a": (6, 6, 384, 256, 65, 16), "b": (12, 12, 768, 512, 50304, 2), "c": (6, 6, 384, 256, 32000, 4)}
L, H, D, T, V, B = SHAPES["a"]


@dataclass(frozen=True)
class Peer:
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    generate: Callable[[nn.Module, Tensor, int], Tensor]
    parts: dict[str, Any]  # our options for the same function
    weights: Callable[[nn.Module], dict[str, Tensor]]


def ours(parts: dict[str, Any]) -> nn.Module:
    from components import build

    return build("model", "decoder", vocab_size=V, d_model=D, n_layers=L, context_length=T, **parts)


def our_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    from components import build
    from components.core.sockets import Batch

    total, weight = model(Batch(x, targets=y), build("loss", "next_token", vocab_size=V)).losses["loss"]
    return total / weight


def our_generate(model: nn.Module, prompt: Tensor, new: int) -> Tensor:
    from components import build
    from components.core.sockets import Batch

    return build("decoding", "greedy").generate(
        model, Batch(prompt), cache=build("cache", "growing"), max_new_tokens=new, stop_ids=()
    )


def block(i: int, part: str) -> str:
    return f"stack.layers.{i}.block.{part}"


ALL = ["q", "k", "v", "out"]


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": V, "n_positions": T, "n_embd": D, "n_layer": L, "n_head": H}
    drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(
        GPT2Config(**sizes, **drop, activation_function="gelu", bos_token_id=0, eos_token_id=None, pad_token_id=0)
    )


def _gpt2_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x, use_cache=False).logits.flatten(0, 1), y.flatten())


def _gpt2_generate(model: nn.Module, prompt: Tensor, new: int) -> Tensor:
    return model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, do_sample=False)  # type: ignore[operator]


def _gpt2_weights(model: nn.Module) -> dict[str, Tensor]:
    s, out = model.state_dict(), {}
    out["embedding.table.weight"] = s["transformer.wte.weight"]
    out["stack.positions.0.table.weight"] = s["transformer.wpe.weight"]
    for i in range(L):
        h = f"transformer.h.{i}."
        for leaf in ("weight", "bias"):
            for name, value in zip("qkv", s[f"{h}attn.c_attn.{leaf}"].chunk(3, -1), strict=True):
                out[block(i, f"attention.{name}.{leaf}")] = value.T if leaf == "weight" else value
            for theirs, mine in (("attn.c_proj", "attention.out"), ("mlp.c_fc", "ffn.up"), ("mlp.c_proj", "ffn.out")):
                out[block(i, f"{mine}.{leaf}")] = s[f"{h}{theirs}.{leaf}"].T if leaf == "weight" else s[f"{h}{theirs}.{leaf}"]
            for theirs, mine in (("ln_1", "attention_norm"), ("ln_2", "ffn_norm")):
                out[block(i, f"{mine}.{leaf}")] = s[f"{h}{theirs}.{leaf}"]
    return out | {f"stack.final_norm.{leaf}": s[f"transformer.ln_f.{leaf}"] for leaf in ("weight", "bias")}


def _litgpt() -> nn.Module:
    from litgpt import GPT, Config

    sizes = {
        "n_layer": L,
        "n_head": H,
        "n_embd": D,
        "block_size": T,
        "vocab_size": V,
        "padded_vocab_size": V,
        "intermediate_size": 4 * D,
    }
    return GPT(
        Config(
            **sizes,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=True,
            norm_class_name="LayerNorm",
            mlp_class_name="GptNeoxMLP",
        )
    )


def _litgpt_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    from litgpt.utils import chunked_cross_entropy

    return chunked_cross_entropy(model(x), y)


def _litgpt_generate(model: nn.Module, prompt: Tensor, new: int) -> Tensor:
    from litgpt.generate.base import generate

    model.clear_kv_cache()  # type: ignore[operator]
    model.set_kv_cache(batch_size=1)  # type: ignore[operator]
    out = generate(model, prompt[0], prompt.shape[1] + new, temperature=0.0, top_k=1, include_prompt=True)
    model.clear_kv_cache()  # type: ignore[operator]
    return out[None]


def _litgpt_weights(model: nn.Module) -> dict[str, Tensor]:
    s, out = model.state_dict(), {}
    out["embedding.table.weight"], out["head.logits.weight"] = s["transformer.wte.weight"], s["lm_head.weight"]
    for i in range(L):
        h = f"transformer.h.{i}."
        for leaf in ("weight", "bias"):
            for name, value in zip("qkv", s[f"{h}attn.qkv.{leaf}"].chunk(3, 0), strict=True):
                out[block(i, f"attention.{name}.{leaf}")] = value
            for theirs, mine in (
                ("attn.proj", "attention.out"),
                ("mlp.fc", "ffn.up"),
                ("mlp.proj", "ffn.out"),
                ("norm_1", "attention_norm"),
                ("norm_2", "ffn_norm"),
            ):
                out[block(i, f"{mine}.{leaf}")] = s[f"{h}{theirs}.{leaf}"]
    return out | {f"stack.final_norm.{leaf}": s[f"transformer.ln_f.{leaf}"] for leaf in ("weight", "bias")}


def _x_transformers() -> nn.Module:
    from x_transformers import Decoder, TransformerWrapper

    return TransformerWrapper(num_tokens=V, max_seq_len=T, attn_layers=Decoder(dim=D, depth=L, heads=H, attn_flash=True))


def _x_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def _x_generate(model: nn.Module, prompt: Tensor, new: int) -> Tensor:
    from x_transformers import AutoregressiveWrapper

    wrapped = AutoregressiveWrapper(model)
    return torch.cat((prompt, wrapped.generate(prompt, new, temperature=0.0, cache_kv=True)), 1)


def _x_weights(model: nn.Module) -> dict[str, Tensor]:
    s, out = model.state_dict(), {}
    out["embedding.table.weight"], out["head.logits.weight"] = s["token_emb.emb.weight"], s["to_logits.weight"]
    out["stack.positions.0.table.weight"] = s["pos_emb.emb.weight"] * D**-0.5
    for i in range(L):
        a, f = f"attn_layers.layers.{2 * i}.", f"attn_layers.layers.{2 * i + 1}."
        for name in "qkv":
            out[block(i, f"attention.{name}.weight")] = s[f"{a}1.to_{name}.weight"]
        out[block(i, "attention.out.weight")] = s[f"{a}1.to_out.weight"]
        for mine, theirs in (("up", "ff.0.0"), ("out", "ff.2")):
            for leaf in ("weight", "bias"):
                out[block(i, f"ffn.{mine}.{leaf}")] = s[f"{f}1.{theirs}.{leaf}"]
        for mine, theirs in (("attention_norm", a), ("ffn_norm", f)):
            out[block(i, f"{mine}.weight")] = 1 + s[f"{theirs}0.0.gamma"]  # stored as offsets
            out[block(i, f"{mine}.bias")] = torch.zeros(D)
    return out | {"stack.final_norm.weight": 1 + s["attn_layers.final_norm.gamma"], "stack.final_norm.bias": torch.zeros(D)}


def _nanogpt() -> nn.Module:
    return nanogpt.NanoGPT(V, T, D, L, H)


def _nanogpt_generate(model: nn.Module, prompt: Tensor, new: int) -> Tensor:
    return model.generate(prompt, new)  # type: ignore[operator]  # of NanoGPT


def _parts(position: Any, head: str, attention_bias: list[str]) -> dict[str, Any]:
    attention = {"name": "gqa", "n_heads": H, "bias": attention_bias}
    ffn = {"name": "mlp", "activation": "gelu", "bias": True}
    return {"position": position, "attention": attention, "norm": "layer", "ffn": ffn, "head": head}


HALF = {"name": "rope", "layout": "half"}
PEERS = {
    "transformers": Peer(_gpt2, _gpt2_loss, _gpt2_generate, _parts("learned", "tied", ALL), _gpt2_weights),
    "litgpt": Peer(_litgpt, _litgpt_loss, _litgpt_generate, _parts(HALF, "linear", ALL), _litgpt_weights),
    "x-transformers": Peer(_x_transformers, _x_loss, _x_generate, _parts("learned", "linear", []), _x_weights),
    "nanoGPT": Peer(
        _nanogpt, lambda m, x, y: m(x, y), _nanogpt_generate, _parts("learned", "tied", ALL), nanogpt.weights_for_ours
    ),
}


def take(shape: str) -> dict[str, Peer]:
    """Builds models of that shape from now on; returns who has one."""
    global L, H, D, T, V, B
    L, H, D, T, V, B = SHAPES[shape]
    if shape == "c":
        import llama_peers

        return llama_peers.PEERS
    return PEERS


def main() -> None:
    parser = argparse.ArgumentParser(
        description="python bench/peers.py install: an environment for each library that is measured"
    )
    parser.add_argument("command", choices=("install",))
    parser.add_argument("only", nargs="*", help="libraries; all of them if none is named")
    parser.add_argument("--into", type=Path, default=environments.INTO)
    asked = parser.parse_intermixed_args()
    if wrong := [name for name in asked.only if name not in environments.WANTED]:
        parser.error(f"no such library: {wrong[0]}; there are {', '.join(environments.WANTED)}")
    environments.install(asked.into.absolute(), asked.only)


if __name__ == "__main__":
    main()
