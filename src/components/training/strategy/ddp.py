"""PyTorch's DistributedDataParallel, by the names that Lightning gives its variants."""

from __future__ import annotations

from typing import Literal

from components.core.registry import preset, register


@register("strategy", "ddp")
def ddp(*, start: Literal["popen", "spawn", "fork", "notebook"] = "popen", find_unused_parameters: bool | None = None) -> str:
    """Data parallel: a whole model on each device, gradients summed over all of them.

    Args:
        start: how the other processes are started.
        find_unused_parameters: look at each step for weights that got no gradient; null: do not, and do not say so.
    """
    how = "" if start == "popen" else f"_{start}"
    unused = "" if find_unused_parameters is None else f"_find_unused_parameters_{str(find_unused_parameters).lower()}"
    return f"ddp{how}{unused}"


# Lightning's names
preset("strategy", "ddp_find_unused_parameters_true", of="ddp", find_unused_parameters=True)
preset("strategy", "ddp_find_unused_parameters_false", of="ddp", find_unused_parameters=False)
preset("strategy", "ddp_spawn", of="ddp", start="spawn")
preset("strategy", "ddp_spawn_find_unused_parameters_true", of="ddp", start="spawn", find_unused_parameters=True)
preset("strategy", "ddp_spawn_find_unused_parameters_false", of="ddp", start="spawn", find_unused_parameters=False)
preset("strategy", "ddp_fork", of="ddp", start="fork")
preset("strategy", "ddp_fork_find_unused_parameters_true", of="ddp", start="fork", find_unused_parameters=True)
preset("strategy", "ddp_fork_find_unused_parameters_false", of="ddp", start="fork", find_unused_parameters=False)
preset("strategy", "ddp_notebook", of="ddp", start="notebook")
preset("strategy", "ddp_notebook_find_unused_parameters_true", of="ddp", start="notebook", find_unused_parameters=True)
preset("strategy", "ddp_notebook_find_unused_parameters_false", of="ddp", start="notebook", find_unused_parameters=False)
