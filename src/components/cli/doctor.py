"""What is installed: versions, devices, kernels, extras, plug-ins, folders; what is missing, and how to get it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from components.core import allocator, layout, terminal, threads
from components.core.extras import EXTRAS, HYDRA, command

VERB = {
    "sentence": "versions, devices, kernels, plug-ins, and what is missing",
    "group": "set up",
}

DISTRIBUTION = "lightning-components"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    found = examine()
    terminal.show(json.dumps(found, indent=1) if args.json else "\n".join(as_text(found)))
    return 1 if found["missing"] else 0


def examine() -> dict[str, dict[str, str]]:
    """{section: {name: what was found}}; the section ``missing`` lists what must be installed or repaired."""
    missing: dict[str, str] = {}
    versions = {"python": f"{platform.python_version()} ({sys.executable})", "platform": platform.platform()}
    versions[DISTRIBUTION] = _version(DISTRIBUTION) or "not installed: run from its sources"
    for name, wanted in requirements().items():
        version = _version(name)
        versions[name] = version or "not installed"
        if version is None:
            missing[name] = f"pip install '{name}{wanted}'"
        elif not wanted.contains(version, prereleases=True):
            missing[name] = f"{version} is installed: pip install '{name}{wanted}'"
    hydra = {n: _version(n) or f"not installed: for {what}; pip install {n}" for n, what in _hydra().items()}
    devices: dict[str, str] = {}
    kernels: dict[str, str] = {}
    if "torch" not in missing:
        try:
            import torch
        except (ImportError, OSError) as e:  # installed, but its libraries do not load
            missing["torch"] = f"installed, but its import fails: {e}"
        else:
            devices, kernels = _devices(torch), _kernels(torch)
    found = {"versions": versions, "devices": devices, "kernels": kernels, "extras": _extras(), "Hydra's plug-ins": hydra}
    return {**found, "plug-ins": _plugins(), "places": _places(), "missing": missing}


def requirements(extra: str = "") -> dict[str, SpecifierSet]:
    """{package: version range} that this package requires, or that the extra adds."""
    try:
        declared = [Requirement(r) for r in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return {}
    always = [r for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})]
    wanted = [r for r in declared if r not in always and r.marker and r.marker.evaluate({"extra": extra})] if extra else always
    return {r.name: r.specifier for r in wanted}


def _extras() -> dict[str, str]:
    """{extra: the packages that it brings with their versions, or those that are not there}."""
    found = {}
    for extra, what in EXTRAS.items():
        wanted = {name: (_version(name), fits) for name, fits in requirements(extra).items()}
        short = [n if v is None else f"{n}{fits} ({v} is installed)" for n, (v, fits) in wanted.items() if not _fits(v, fits)]
        if short:
            found[extra] = f"lacks {', '.join(short)}: for {what.replace('`', '')}; {command(extra)}"
        elif wanted:
            found[extra] = f"complete: {', '.join(f'{n} {v}' for n, (v, _) in wanted.items())}"
    return found


def _hydra() -> dict[str, str]:
    """{package: the choices of a sweep that it brings}"""
    found: dict[str, list[str]] = {}
    for choice, package in HYDRA.items():
        group, _, name = choice.rpartition("/")
        found.setdefault(package, []).append(f"{group}={name}")
    return {package: f"--multirun {' or '.join(choices)}" for package, choices in found.items()}


def _fits(version: str | None, wanted: SpecifierSet) -> bool:
    return version is not None and wanted.contains(version, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices(torch: ModuleType) -> dict[str, str]:
    found = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} of them used as threads, {torch.backends.cpu.get_cpu_capability()}"
    }
    if threads.settled:
        found["threads wait"] = threads.settled
    found["memory that a step frees"] = f"in train, generate, chat and evaluate {allocator.choice()}"
    for i in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{p.name}, {p.total_memory / 2**30:.0f} GiB, capability {p.major}.{p.minor}"
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        found["cuda"] = "none found" if built else f"torch {torch.__version__} is built without it"
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    if torch.xpu.is_available():
        found["xpu"] = f"{torch.xpu.device_count()} devices"
    return found


def _kernels(torch: ModuleType) -> dict[str, str]:
    """The kernels that attention and matrix products can use here."""
    from components.functional.linear import wider

    cuda = torch.cuda.is_available()
    sdpa = torch.backends.cuda
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")
    flash = (
        "yes"
        if cuda and sdpa.flash_sdp_enabled() and torch.cuda.get_device_capability() >= (8, 0)
        else "no: needs CUDA, capability 8.0"
    )
    if not cuda:
        flash = "on CPU (part of torch); none for an accelerator"
    triton = _version("triton") or _version("pytorch-triton-rocm")
    able = bool(triton) if cuda else bool(compiler)
    needs = "triton: pip install triton" if cuda else "a C++ compiler, e.g. apt install g++"
    return {
        "flash attention": flash,
        "flex attention": "yes, compiled" if able else f"only uncompiled and slow; to compile: {needs}",
        "torch.compile": "yes" if able else f"no: needs {needs}",
        "products in fp32": "oneDNN: MKL uses half of the width of this processor" if wider() else "as torch has them",
        "mkldnn": "yes" if torch.backends.mkldnn.is_available() else "no: matrix products on CPU are slower",
        "bf16": _bf16(torch, "cuda" if cuda else "cpu"),
    }


def _bf16(torch: ModuleType, device: str) -> str:
    """The measured speed of a 512 x 512 matrix product in bf16, relative to fp32."""
    from components.training.devices import AUTO, precision_here

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, 512, device=device, dtype=dtype)
        best, end = float("inf"), time.perf_counter() + 0.2
        while time.perf_counter() < end:  # the best of many, since other work on the machine only slows it down
            start = time.perf_counter()
            torch.mm(a, a)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        seconds[dtype] = best
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    return f"{ratio:.2g} x the speed of fp32 on {device}: trainer.precision=auto is {precision_here(AUTO)}"


def _plugins() -> dict[str, str]:
    from components.core import plugins, registry

    found = {}
    for p in plugins.installed().values():
        parts = [e.label for e in registry.entries().values() if e.origin == p.name]
        found[f"{p.name} {p.version}"] = ", ".join(parts) or ("recipes only" if p.recipes and not p.modules else "no parts")
    found.update({f"{f.origin} (broken)": f.text for f in registry.faults()})
    return found


def _places() -> dict[str, str]:
    from components.core.cache_file import cache_folder
    from components.core.resources import PACKAGE, folders

    cache = cache_folder()
    above = next(p for p in (cache, *cache.parents) if p.exists())
    state = "" if os.access(above, os.W_OK) and above.is_dir() else " (cannot be written: everything is read anew each time)"
    git = shutil.which("git")
    version = subprocess.run([git, "--version"], capture_output=True, text=True).stdout.strip() if git else ""
    return {
        "package": str(PACKAGE),
        **{f"{what} ({whose})": str(where) for what in ("conf", "recipes") for whose, where in folders(what)},
        "cache": f"{cache}{state}",
        "runs": str(Path.cwd() / "runs"),
        "git": version or "not found: runs are stored without the state of your code; apt install git",
    }


def as_text(found: dict[str, dict[str, str]]) -> list[str]:
    lines = []
    for section, rows in found.items():
        if section != "missing":
            lines += [layout.styled(section, "bold"), *(layout.table(list(rows.items())) or ["  none"]), ""]
    lines += ["missing:", *layout.table(list(found["missing"].items()))] if found["missing"] else ["nothing is missing"]
    return lines
