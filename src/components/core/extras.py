"""Which extra of this package brings an optional package: the one place that says what to install."""

from __future__ import annotations

from components.core.errors import UserError

# import name -> extra; tests/test_packaging.py holds it to pyproject.toml
EXTRA = {
    "datasets": "data",
    "pyarrow": "data",  # datasets requires it
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "transformers": "interop",
    "sentencepiece": "interop",
    "tiktoken": "interop",
    "babel": "ladder",
    "django": "ladder",
    "sklearn": "ladder",
    "regex": "bleu",
    "datasketch": "dedup",
}


def install(package: str) -> str:
    """The command that installs ``package``, an import name of `EXTRA`."""
    return f"pip install 'lightning-components[{EXTRA[package]}]'"


def lacking(where: str, what: str, package: str) -> UserError:
    """The error for a choice that needs ``package``, which is not installed: to be raised by the caller."""
    return UserError(where, what, install(package))
