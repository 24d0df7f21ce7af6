"""A user's script, read by pyright alone (test_typed_script.py): each comment says the type that an editor shows."""

from __future__ import annotations

import torch

import components

loaded = components.load("runs/mine")
reveal_type(loaded)  # Loaded
reveal_type(loaded.model)  # Model
reveal_type(loaded.tokenizer)  # Tokens
reveal_type(loaded.generate("once"))  # str
reveal_type(loaded.generate("once", max_new_tokens=5, seed=1))  # str
reveal_type(loaded.generate("once", count=3))  # list[str]
reveal_type(loaded.generate(["once", "upon"]))  # list[str]
reveal_type(loaded.generate(["once", "upon"], count=2, stop=["."]))  # list[list[str]]
reveal_type(loaded.score("once"))  # Score
reveal_type(loaded.score(["once", "upon"]))  # list[Score]
reveal_type(loaded.chat([{"role": "user", "content": "hello"}]))  # str
loaded.generate("once", max_tokens=5)  # error
loaded.generate(5)  # error

recipe = components.load_recipe("gpt_python")
reveal_type(recipe.model)  # Model
reveal_type(recipe.data)  # PackedDataModule
reveal_type(recipe.task)  # Training
reveal_type(components.train("gpt_python"))  # Result
reveal_type(components.evaluate("runs/mine"))  # Measured

attention = components.build("attention", "gqa", d_model=32, n_heads=4)
reveal_type(attention)  # Attention
reveal_type(attention.forward(torch.zeros(1, 4, 32)))  # Tensor
reveal_type(components.build("norm", "rms", dim=8))  # Norm
reveal_type(components.build("model", "decoder", vocab_size=10).context_length)  # int

t = components.trace(recipe.model, torch.zeros(1, 4, dtype=torch.long))
reveal_type(t)  # Activations
reveal_type(t.hidden)  # list[Tensor]
reveal_type(t.attention[0])  # Tensor | None
reveal_type(t["layers.0.ffn"])  # Tensor
reveal_type(t.layers[0].routing)  # Routing | None
reveal_type(components.explain(loaded, prompt="once"))  # Explanation
reveal_type(components.check("norm/rms"))  # Report
reveal_type(components.list_parts("norm"))  # Listing


@components.register("norm", "typed")
class Typed(torch.nn.Module):
    """Nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


reveal_type(Typed(3).dim)  # int
