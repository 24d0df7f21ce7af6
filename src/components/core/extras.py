"""Which extra of this package brings an optional package, and what it is for: the one place that says what to install."""

from __future__ import annotations

from components.core.errors import UserError

# extra -> what it is for; tests/test_packaging.py holds the names, and the table in docs/how_to/install.md, to pyproject.toml
EXTRAS = {
    "data": "data sets of the Hugging Face hub (`data=hf`, `hf_*`), tables in Parquet files",
    "wandb": "`logger=wandb`",
    "tensorboard": "`logger=tensorboard`",
    "mlflow": "`logger=mlflow`",
    "stats": "`callbacks.device_stats=true` on a CPU",
    "studies": "`components ablate` and `components scale`: the statistics of their answers",
    "interop": "tokenizers in older files: SentencePiece, tiktoken, `vocab.txt`",
    "gguf": "checkpoints in GGUF files: `components import model.gguf`, `components export RUN --to mine.gguf`",
    "onnx": "ONNX files: `components export RUN --to model.onnx`",
    "ladder": "the data of the ladder's recipes: `data=babel_dates`, `language_id`, `digits`",
    "bleu": "`task.bleu_tokenize=intl`",
    "harness": "`components evaluate RUN harness=[...]`: EleutherAI's lm-eval",
    "dedup": "`task.near_duplicates`",
    "fp8": "`trainer.precision=fp8-mixed`",
    "fast": "encoding a corpus five times as fast; nothing else changes",
    "docs": "building the site (`make docs`)",
    "dev": "the tests; brings all of the above but `tensorboard`, `mlflow` and `harness`",
}

# import name -> extra
EXTRA = {
    "datasets": "data",
    "pyarrow": "data",  # datasets requires it
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "psutil": "stats",
    "scipy": "studies",
    "transformers": "interop",
    "sentencepiece": "interop",
    "tiktoken": "interop",
    "gguf": "gguf",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "babel": "ladder",
    "django": "ladder",
    "sklearn": "ladder",
    "regex": "bleu",
    "lm_eval": "harness",
    "datasketch": "dedup",
    "torchao": "fp8",
}

# Hydra's launchers and sweepers that are packages of their own: choice -> package
HYDRA = {
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/sweeper/optuna": "hydra-optuna-sweeper",
}


def command(extra: str) -> str:
    """What installs the extra."""
    return f"pip install 'lightning-components[{extra}]'"


def install(package: str) -> str:
    """What installs ``package``, an import name of `EXTRA`."""
    return command(EXTRA[package])


def lacking(where: str, what: str, package: str) -> UserError:
    """The error for a choice that needs ``package``, which is not installed: to be raised by the caller."""
    return UserError(where, what, install(package))
