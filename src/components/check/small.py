"""Options that make each built-in part's effect visible in the battery's small model (12 positions, width 32), and the parts it needs beside it.

A part of another package says the same in its class: ``checked_with = ("window=5", "model.n_layers=4")``.
"""

from __future__ import annotations

from typing import Any

GIVEN = "the battery gives one"
# kind -> required options that the battery itself sees to
SUPPLIED: dict[str, dict[str, Any]] = {"data": {"path": GIVEN}}
# kind/name -> options of the part itself
SMALL: dict[str, dict[str, Any]] = {
    "mask/sliding_window": {"window": 5},
    "block/scaled_sandwich": {"scale": 0.5, "last_ffn": "mlp"},
    "stack/altup": {"side_ffn": "per_layer_input"},
    "ffn/product_key_memory": {"n_keys": 2, "k": 2},
    "ffn/sparse_glu": {"sparsity": 0.5},  # of few tokens some channel would stand out in none
    "embedding/ngram_hash": {"buckets": 64},
    "embedding/patches": {"d_in": 4},
    "embedding/projected": {"inner": "token_types", "position": "learned", "norm": "layer"},
    "model/electra": {
        "head": {"name": "value", "dense": True},
        "generator": {
            **{
                "name": "encoder",
                "d_model": 16,
                "n_layers": 1,
                "context_length": 256,
                "position": "none",
                "head": "tied_factorised",
            },
            "embedding": {"name": "projected", "width": 32},
        },
    },
    "model/mlp": {"window": 4, "hidden": [24, 20], "activation": "gelu"},
    "attention/sliding_window": {"mask": {"name": "sliding_window", "window": 5}},
    "attention/chunked": {"mask": {"name": "chunked", "size": 5}},
    "attention/dsa": {"top_k": 4, "index_n_heads": 8},
    "mask/chunked": {"size": 5},
    "position/cope": {"n_positions": 6},
    "position/disentangled": {"span": 6, "max_distance": 10, "norm": "layer"},
    "position/dynamic_bias": {"activation": "gelu"},
    "position/fire": {"activation": "gelu"},
    "position/log_temperature": {"floor_scale": 3, "inner": "rope"},
    "position/rope_2d": {"width": 3},
    "position/shaw": {"max_distance": 4},
    "position/t5_bias": {"buckets": 8, "max_distance": 10},
    "mask/blocks": {"size": 3},
    "mask/dilated": {"window": 5},
    "mask/first_and_window": {"first": 1, "window": 3},
    "scaling/linear": {"factor": 4.0},
    "scaling/yarn": {"factor": 4.0},
    "scaling/longrope": {"short_factor": [1.5, 2.0, 3.0, 4.0]},
    "scaling/proportional": {"fraction": 0.5},
    "loss/distillation": {"teacher": GIVEN},
    "loss/ensemble_distillation": {"teachers": [GIVEN, GIVEN], "weights": [1.0, 3.0]},
    "sampler/allowed_tokens": {"ids": [1, 3, 5]},
    "sampler/suppress_tokens": {"ids": [1, 3, 5]},
    "data/babel_dates": {"count": 300},
    "data/hf": {"streaming": True},  # nothing of the battery's file is to stay in a cache
    "data/hf_conversations": {"streaming": True},
    "data/hf_labelled_text": {"streaming": True},
    "data/hf_preferences": {"streaming": True},
    "data/hf_text_pairs": {"streaming": True},
    "data/token_files": {"tokenizer": "byte", "dtype": "uint8"},  # bytes are ids of this one
    "data/mixed": {"parts": ["rhyme", "python_functions"]},
    "data/python_instructions": {"max_prompt": 300},  # another would be looked for in the whole library
    "data/python_preferences": {"max_prompt": 300},
    "data/conversations_of": {"source": {"name": "babel_dates", "count": 300}},
    "data/texts_of": {"source": {"name": "babel_dates", "count": 300}},
    "data/table_amounts": {"targets": ["amount"]},
}
# kind/name -> other sockets and sizes of the decoder that it is put into
AROUND: dict[str, dict[str, Any]] = {
    "value/embedding": {"embedding": "value_embeddings"},
    "head/tied_factorised": {"embedding": "factorised"},
    "embedding/value_embeddings": {"attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "value": "embedding"}},
    "stack/altup": {"embedding": "per_layer_embeddings"},
    "embedding/per_layer_embeddings": {"ffn": "per_layer_input"},
    "ffn/per_layer_input": {"embedding": "per_layer_embeddings"},
    "embedding/number": {"position": "learned"},  # else all channels but one are 0, and so are gradients of what reads them
    "attention/disentangled": {"position": {"name": "disentangled", "span": 6, "max_distance": 10}},
    "position/disentangled": {"attention": "disentangled"},
    "attention/gla": {"position": "none"},  # channels forget each at its own rate: no pair of them can be rotated
    "attention/hgrn2": {"position": "none"},
    "attention/kda": {"position": "none"},
    "attention/mamba2": {"position": "none"},  # it has no queries and keys to rotate
}
