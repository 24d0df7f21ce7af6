"""Shape (c) of bench/peers.py, Llama's parts, in the libraries that users would take instead."""

from __future__ import annotations

import peers
import torch.nn.functional as F
from torch import Tensor, nn

KEYS, WIDTH, EPS = 2, 1024, 1e-6  # heads of keys, of the feed-forward, of the norms


def _transformers() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": peers.D, "intermediate_size": WIDTH, "num_hidden_layers": peers.L, "vocab_size": peers.V}
    heads = {"num_attention_heads": peers.H, "num_key_value_heads": KEYS, "max_position_embeddings": peers.T}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, rms_norm_eps=EPS, bos_token_id=0, eos_token_id=None, pad_token_id=0))


def _transformers_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x, use_cache=False).logits.flatten(0, 1), y.flatten())


def _weights(state: dict[str, Tensor], names: dict[str, str], layer: str) -> dict[str, Tensor]:
    """Ours by theirs: ``names`` says theirs within a layer, ``layer`` where a layer stands."""
    return {
        peers.block(i, f"{mine}.weight"): state[f"{layer.format(i)}.{theirs}.weight"]
        for i in range(peers.L)
        for mine, theirs in names.items()
    }


def _transformers_weights(model: nn.Module) -> dict[str, Tensor]:
    s = model.state_dict()
    names = {
        f"attention.{mine}": f"self_attn.{theirs}_proj" for mine, theirs in zip(peers.ALL, ("q", "k", "v", "o"), strict=True)
    }
    names |= {f"ffn.{mine}": f"mlp.{theirs}_proj" for mine, theirs in (("gate", "gate"), ("up", "up"), ("out", "down"))}
    names |= {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    out = {"embedding.table.weight": s["model.embed_tokens.weight"], "head.logits.weight": s["lm_head.weight"]}
    return out | {"stack.final_norm.weight": s["model.norm.weight"]} | _weights(s, names, "model.layers.{}")


def _litgpt() -> nn.Module:
    from litgpt import GPT, Config

    sizes = {"n_layer": peers.L, "n_head": peers.H, "n_embd": peers.D, "block_size": peers.T, "intermediate_size": WIDTH}
    words = {"vocab_size": peers.V, "padded_vocab_size": peers.V, "n_query_groups": KEYS}
    kinds = {"norm_class_name": "RMSNorm", "mlp_class_name": "LLaMAMLP", "norm_eps": EPS}
    return GPT(Config(**sizes, **words, **kinds, rotary_percentage=1.0, parallel_residual=False, bias=False))


def _litgpt_weights(model: nn.Module) -> dict[str, Tensor]:
    s = model.state_dict()
    names = {"attention.out": "attn.proj", "ffn.gate": "mlp.fc_1", "ffn.up": "mlp.fc_2", "ffn.out": "mlp.proj"}
    names |= {"attention_norm": "norm_1", "ffn_norm": "norm_2"}
    out = {"embedding.table.weight": s["transformer.wte.weight"], "head.logits.weight": s["lm_head.weight"]}
    head = peers.D // peers.H
    for i in range(peers.L):
        parts = s[f"transformer.h.{i}.attn.qkv.weight"].split([peers.D, KEYS * head, KEYS * head])
        out |= {peers.block(i, f"attention.{name}.weight"): part for name, part in zip("qkv", parts, strict=True)}
    return out | {"stack.final_norm.weight": s["transformer.ln_f.weight"]} | _weights(s, names, "transformer.h.{}")


PARTS = {
    "position": peers.HALF,
    "attention": {"name": "gqa", "n_heads": 6, "n_kv_heads": KEYS, "bias": []},
    "norm": {"name": "rms", "eps": EPS},
    "ffn": {"name": "glu", "d_ff": WIDTH},
    "head": "linear",
}
PEERS = {
    "transformers": peers.Peer(_transformers, _transformers_loss, peers._gpt2_generate, PARTS, _transformers_weights),
    "litgpt": peers.Peer(_litgpt, peers._litgpt_loss, peers._litgpt_generate, PARTS, _litgpt_weights),
}
