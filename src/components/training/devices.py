"""How many processes a run has, and what this machine must refuse. Does not import Lightning, so that checking a config is quick."""

from __future__ import annotations

import os
from typing import TypeGuard

from components.core.config_types import Config
from components.core.errors import UserError

# one of them is set by who starts a process on several machines: torchrun or the user, SLURM, LSF, an MPI
TELL_OF_OTHERS = ("MASTER_ADDR", "SLURM_JOB_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK")
AUTO = "auto"  # of trainer.precision: what is fastest here
LONG = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}  # Lightning warns of short names


def count_devices(devices: object) -> int | None:
    """The number of devices on each node; None if the machine decides (``auto``, -1).

    Raises:
        UserError: ``devices`` is neither a number nor a list of numbers.
    """
    if devices in (None, "auto", -1, "-1"):
        return None
    pieces = devices
    if isinstance(devices, str):
        written = [p.strip() for p in devices.split(",") if p.strip()]
        numbers = [int(p) for p in written if p.isdigit()]
        one = "," not in devices and bool(numbers)
        pieces = None if len(numbers) < len(written) else numbers[0] if one else numbers
    if _whole(pieces) and pieces > 0:
        return pieces
    if isinstance(pieces, (list, tuple)) and pieces and all(map(_whole, pieces)):
        return len(pieces)
    raise UserError(
        "trainer.devices",
        f"{devices!r} is not a number of devices",
        "give a number >= 1, auto, or a list of device numbers: [0,1]",
    )


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def processes(settings: Config) -> int:
    """devices x num_nodes, where ``auto`` is what this machine has."""
    import torch

    devices, nodes = count_devices(settings.get("devices")), int(settings.get("num_nodes") or 1)
    if devices is None:
        devices = torch.cuda.device_count() if torch.cuda.is_available() and settings.get("accelerator") != "cpu" else 1
    return devices * nodes


def readers(settings: Config, ranks: int) -> int:
    """How many of ``ranks`` processes read rows of their own: those that hold a layer together, or share rows, read the same."""
    node = settings.get("strategy")
    if not isinstance(node, dict):
        node = {"name": node}
    sizes = {"tp": ranks, "fsdp2_tp": int(node.get("tensor_size") or 2), "cp": int(node.get("context_size") or ranks)}
    together = sizes.get(str(node.get("name")), 1)
    return max(1, ranks // together)


def device_kind(settings: Config) -> str:
    """Where the weights will be: ``cuda`` or ``cpu`` (Apple's GPUs share its memory)."""
    import torch

    return "cuda" if torch.cuda.is_available() and settings.get("accelerator") != "cpu" else "cpu"


def multiplies_float8(settings: Config) -> bool:
    """Whether the run is on CUDA devices (or HIP's) that have products of fp8, as the first of this machine has."""
    import torch

    if device_kind(settings) != "cuda":
        return False
    return torch.cuda.get_device_capability() >= ((9, 4) if torch.version.hip else (8, 9))


def precision_here(precision: object, accelerator: object = "auto") -> str:
    """What ``trainer.precision`` is on this machine, by its whole name: ``auto`` is bf16-mixed where the device multiplies bf16, else 32-true."""
    from components.functional.precision import multiplies_bf16

    if precision != AUTO:
        return LONG.get(str(precision or "32"), str(precision))
    return "bf16-mixed" if multiplies_bf16(device_kind({"accelerator": accelerator})) else "32-true"


def with_precision_of_here(config: Config) -> Config:
    """The config of a run with what ``auto`` is here, by its whole name: a run goes on in the precision that it began in."""
    settings = config.get("trainer") or {}
    if settings.get("precision") != AUTO and str(settings.get("precision")) not in LONG:
        return config
    return {**config, "trainer": {**settings, "precision": precision_here(settings["precision"], settings.get("accelerator"))}}


def slow_line(settings: Config) -> list[str]:
    """A warning where bf16 was asked for and the device has no products of it."""
    from components.functional.precision import multiplies_bf16

    precision = str(settings.get("precision"))
    if precision not in ("bf16", "bf16-mixed", "bf16-true") or multiplies_bf16(device_kind(settings)):
        return []
    return [f"trainer.precision={precision} is slower than 32-true here: this device has no products of bf16 (auto chooses)"]


def check_hardware(settings: Config) -> None:
    """Refuse what would hang here or silently train in another precision.

    Raises:
        UserError: fp16 on a CPU, fp8 where nothing multiplies it, several machines of which nothing is told, or a launcher that started another number
            of processes.
    """
    import torch

    precision = str(settings.get("precision") or "32-true")
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    here["gpu"], accelerator = any(here.values()), str(settings.get("accelerator"))
    if here.get(accelerator) is False:
        what = f"this machine has no {accelerator}, or this torch was built without it"
        raise UserError("trainer.accelerator", what, "use cpu or auto; components doctor shows what was found")
    on_cpu = accelerator == "cpu" or not here["gpu"]
    if precision in ("16", "16-mixed") and on_cpu:
        raise UserError(
            "trainer.precision",
            f"{precision} needs a GPU; on a CPU Lightning would silently take bfloat16",
            "use bf16-mixed or 32-true",
        )
    if precision == "fp8-mixed" and not multiplies_float8(settings):
        what = (
            "fp8-mixed needs a GPU that multiplies fp8: NVIDIA's from Ada and Hopper (compute capability 8.9), AMD's from MI300"
        )
        raise UserError("trainer.precision", what, "use bf16-mixed")
    nodes = int(settings.get("num_nodes") or 1)
    if nodes > 1 and not any(name in os.environ for name in TELL_OF_OTHERS):
        what = f"{nodes} machines, and nothing tells this process of the others, so it would wait for them"
        raise UserError("trainer.num_nodes", what, "start it on each by torchrun or srun, or set MASTER_ADDR and NODE_RANK")
    started = int(os.environ.get("WORLD_SIZE", "1"))
    asked = processes(settings)
    if started not in (1, asked):
        raise UserError(
            "trainer.devices",
            f"the launcher started {started} processes (WORLD_SIZE), and devices x num_nodes is {asked}",
            f"set trainer.devices={started // nodes}, or start without the launcher",
        )
