"""MiniMax-Text-01 (MiniMax 2025, arXiv:2501.08313): lightning attention in most layers, softmax attention in every eighth, experts, a normed stream.

The released files turn half of the channels and say so by ``rotary_dim``, which the model's own code reads and transformers' class passes over: it turns all
(its MiniMax-M2 did until transformers issue 48241). Such files are read as their own code reads them, and refused on the way out. Blocks of another size
than 256 are refused, which change no number: files hold tables of the decays within a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._layers import in_layers, layers_of, option
from components.interop.architectures._llama import BASE, DROPOUT
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, count, experts
from components.interop.fields import Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import PerHead

ROPE, ROPE_OF_CLASS = rope(1e6), rope(1e6, partial=False)
BLOCK, KINDS = 256, ("linear_attention", "full_attention")
BRANCHES = ("full_attn", "linear_attn", "mlp")
FACTORS = {"alpha": "model.residual.alpha", "beta": "model.residual.beta"}


def _read_layers(config: Theirs) -> Options:
    n_layers = config["num_hidden_layers"]
    types = config.get("layer_types") or [KINDS[(i + 1) % 2] for i in range(n_layers)]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    linear = [i for i, t in enumerate(types) if t == KINDS[0]]
    node = {"name": "lightning", "n_heads": config["num_attention_heads"], "head_dim": config.get("head_dim")}
    return in_layers(linear, n_layers, "attention", node) | in_layers(linear, n_layers, "position", "none")


def _write_layers(get: Get) -> Fields:
    linear = layers_of(get, "attention", "lightning")
    if not linear:
        raise Unsupported("no layer is a lightning attention")
    return {"layer_types": [KINDS[i not in linear] for i in range(get("model.n_layers"))]}


def _read_factors(config: Theirs) -> Options:
    made = {}
    for factor, ours in FACTORS.items():
        found = [float(value_of(config, f"{branch}_{factor}_factor", 1.0)) for branch in BRANCHES]
        if len(set(found)) > 1:
            raise Unsupported(
                f"{BRANCHES[0]}_{factor}_factor={found[0]}: a model has one for all branches, and here are {found}"
            )
        made[ours] = found[0]
    return made


def _write_factors(get: Get) -> Fields:
    return {f"{branch}_{factor}_factor": _factor(get, factor) for branch in BRANCHES for factor in FACTORS}


def _factor(get: Get, factor: str) -> float:
    value = get(FACTORS[factor])
    return (2 * get("model.n_layers")) ** 0.25 if value == "depth" else value


def _read_turned(config: Theirs) -> Options:
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    turned = config.get("rotary_dim")
    return ROPE.read({**({} if turned in (None, width) else {"partial_rotary_factor": turned / width}), **config})


def _tables(get: Get) -> Mapping[str, Callable[[Get], Tensor]]:
    """The tables of decays that each lightning layer's files hold, computed in the order of the class, to the last bit."""

    def slopes(get: Get, layer: int) -> Tensor:
        heads = option(get, "attention", "lightning", "n_heads")
        share = 1 - layer / (get("model.n_layers") - 1 + 1e-5) + 1e-5
        return ((1 / 2 ** (8 / heads)) ** (torch.arange(heads) + 1) * share)[:, None, None]

    def within(get: Get, layer: int) -> Tensor:
        place = torch.arange(BLOCK) + 1
        later = (place[:, None] - place[None, :])[None, None]
        decay = slopes(get, layer) * later
        return torch.where(decay >= 0, -decay, float("-inf")).exp()

    place = (torch.arange(BLOCK) + 1)[:, None]
    makers: dict[str, Callable[[Get, int], Tensor]] = {
        "slope_rate": slopes,
        "query_decay": lambda get, i: torch.exp(-slopes(get, i) * place),
        "key_decay": lambda get, i: torch.exp(-slopes(get, i) * (BLOCK - place)),
        "diagonal_decay": within,
    }
    return {
        f"model.layers.{i}.self_attn.{name}": lambda get, i=i, make=make: make(get, i)
        for i in layers_of(get, "attention", "lightning")
        for name, make in makers.items()
    }


def _joined(get: Get) -> PerHead:
    return PerHead(option(get, "attention", "lightning", "head_dim") or get("model.d_model") // get("model.attention.n_heads"))


def _of(name: str) -> Callable[[Get], list[int]]:
    return lambda get: layers_of(get, "attention", name)


MIXERS = {
    "gqa": {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "out"},
    "lightning": {"output_gate": "z", "norm": "output_norm", "out_proj": "out"},
}
ARCHITECTURE = Architecture(
    names=("MiniMaxForCausalLM",),
    model_type="minimax",
    base={
        "model": {
            **BASE["model"],
            "block": "normed_stream",
            "residual": "deep_norm",
            "ffn": {**MOE, "router": {"name": "softmax_top_k", "renormalise": True}},
        }
    },
    fields=(
        *decoder_sizes(),
        *(HEAD_DIM, count("num_local_experts", "num_experts"), DROPOUT, TIED),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("num_experts_per_tok", "model.ffn.router.k", 2),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        *(Constant("hidden_act", "silu"), Constant("sliding_window", None), Constant("block_size", BLOCK)),
        Custom(("layer_types",), _read_layers, _write_layers),
        Custom(tuple(f"{branch}_{factor}_factor" for branch in BRANCHES for factor in FACTORS), _read_factors, _write_factors),
        Custom((*ROPE.names, "rotary_dim"), _read_turned, ROPE_OF_CLASS.write),
    ),
    tensors=(
        *EMBEDDED,
        *(
            Rule(f"model.layers.{{i}}.self_attn.{theirs}.weight", stack(f"attention.{ours}.weight"), layers=_of(of))
            for of, names in MIXERS.items()
            for theirs, ours in names.items()
        ),
        Rule(
            "model.layers.{i}.self_attn.qkv_proj.weight",
            tuple(stack(f"attention.{n}.weight") for n in "qkv"),
            _joined,
            layers=_of("lightning"),
        ),
        *experts((("w1", "gate"), ("w3", "up"), ("w2", "out")), "block_sparse_moe.experts.{e}"),
        Rule("model.layers.{i}.block_sparse_moe.gate.weight", stack("ffn.router.logits.weight")),
    ),
    computed=_tables,
    free=FREE,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
