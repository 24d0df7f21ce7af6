"""What the command imports from the shell to the first step: modules are counted, since they are the same on a busy machine and seconds are not."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    *(
        "torchmetrics.functional",
        "torchmetrics.text",
        "transformers",
        "scipy",
        "sklearn",
        "pandas",
        "torchvision",
        "datasets",
        "pyarrow",
    ),
    *("wandb", "mlflow", "tensorboard", "torch.utils.tensorboard", "huggingface_hub", "jinja2", "requests", "aiohttp"),
    *("torch.distributed.checkpoint", "torch._inductor.compile_fx", "triton", "IPython", "nltk"),
}
# of the default recipe; 4,038 where torchmetrics is imported whole, beside scipy and transformers
MODULES = 3100
CODE = """
import gc, json, sys
from components.cli import main
code = main(sys.argv[1:])
import lightning.pytorch.core.module as module, torchmetrics
known = sorted(sys.modules)
same = module.Metric is torchmetrics.Metric and issubclass(torchmetrics.MeanMetric, module.Metric)
print(json.dumps({"code": code, "modules": known, "frozen": gc.get_freeze_count(), "sweeps": gc.isenabled(), "same": same}))
"""


def test_a_run_imports_what_it_needs(tmp_path):
    (tmp_path / "text.txt").write_text("the tree and the stone by the river. " * 400)
    words = [
        "data=text",
        "data.path=text.txt",
        "tokenizer=byte",
        "model.n_layers=1",
        "trainer.max_steps=1",
        "trainer.accelerator=cpu",
    ]
    words += ["task.samples=0", "task.judged_samples=0", "task.batch_size=1", "task.validation_batches=1"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, "train", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0
    assert found["same"]
    assert {*found["modules"]} & HEAVY == set()
    assert len(found["modules"]) <= MODULES, len(found["modules"])
    assert found["frozen"] > 100_000, "imports are not searched for garbage"
    assert found["sweeps"], "what trains is"
