"""Hydra is used by its public interface alone, and a sweep is as Hydra runs one: its callbacks, its config folders, its job names."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.compose import jobs, multirun

SOURCES = Path(multirun.__file__).parents[2]
LIBRARIES = ("hydra", "omegaconf")


def private(source: str) -> Iterator[str]:
    """What a module takes of Hydra and OmegaConf that begins with an underscore."""
    tree, names = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names if a.name.split(".")[0] in LIBRARIES]
            names |= {a.asname or a.name.split(".")[0] for a in node.names if a.name in found}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            found = [f"{node.module}.{a.name}" for a in node.names]
            names |= {a.asname or a.name for a in node.names}
        else:
            continue
        yield from (name for name in found if any(part.startswith("_") for part in name.split(".")))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            inner: ast.AST = node.value
            while isinstance(inner, (ast.Attribute, ast.Call)):
                inner = inner.value if isinstance(inner, ast.Attribute) else inner.func
            if isinstance(inner, ast.Name) and inner.id in names:
                yield f"{inner.id}...{node.attr}"


def test_nothing_private_of_hydra_is_used() -> None:
    files = [f for f in SOURCES.rglob("*.py") if "_share" not in f.parts]
    assert len(files) > 100
    assert {str(f.relative_to(SOURCES)): found for f in files if (found := list(private(f.read_text(encoding="utf8"))))} == {}


def test_what_counts_as_private() -> None:
    assert list(private("from hydra._internal.hydra import Hydra")) == ["hydra._internal.hydra.Hydra"]
    assert list(private("import hydra._internal")) == ["hydra._internal"]
    assert list(private("from omegaconf import _utils")) == ["omegaconf._utils"]
    assert list(private("from hydra.core.plugins import Plugins as P\nP.instance()._register(1)")) == ["P..._register"]
    assert list(private("from hydra.core.plugins import Plugins\nself._x = Plugins.instance()")) == []


HEARD: list[str] = []


class Heard:
    """Notes what a callback is told, and fails where it is asked to."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails = name, fails

    def __getattr__(self, event: str) -> Any:
        if not event.startswith("on_"):
            raise AttributeError(event)

        def hear(config: Any, **more: Any) -> None:
            del config, more
            HEARD.append(f"{self.name} {event}")
            if self.fails:
                raise ValueError("no")

        return hear


def quick_job(config: Any) -> float:
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    held = {"number": hydra.job.num, "overrides": list(hydra.overrides.task), "folder": str(folder), "exit_code": 0}
    held |= {"seconds": 0.0, "figures": {"name": hydra.job.override_dirname, "job": hydra.job.name, "seed": config.seed}}
    (folder / "job.json").write_text(json.dumps(held))
    return 0.0


def sweep(folder: Path, *overrides: str) -> list[jobs.JobResult]:
    return multirun.multirun("gpt_python", ["hydra/launcher=basic", *overrides], cwd=folder, job=quick_job)


def test_callbacks_hear_of_every_job_and_stop_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "heard", sys.modules[__name__])
    (tmp_path / "conf/hydra/callbacks").mkdir(parents=True)
    lines = ["first:", "  _target_: heard.Heard", "  name: first", "second:", "  _target_: heard.Heard", "  name: second"]
    (tmp_path / "conf/hydra/callbacks/both.yaml").write_text("\n".join([*lines, "  fails: true"]))
    HEARD.clear()
    with pytest.warns(UserWarning, match=r"Callback Heard\.on_\w+ raised ValueError: no") as told:
        results = sweep(tmp_path, "hydra/callbacks=both", "seed=1,2")
    assert [r.exit_code for r in results] == [0, 0]
    assert "Callback Heard.on_job_start raised ValueError: no" in [str(w.message) for w in told]
    job = ["first on_job_start", "second on_job_start", "second on_job_end", "first on_job_end"]
    begin, end = ["first on_multirun_start", "second on_multirun_start"], ["second on_multirun_end", "first on_multirun_end"]
    assert [*begin, *job, *job, *end] == HEARD


def test_a_job_is_named_by_its_overrides(tmp_path) -> None:
    results = sweep(tmp_path, "trainer.max_steps=2", "seed=1,2", "hydra.job.config.override_dirname.exclude_keys=[recipe]")
    assert [r.figures["name"] for r in results] == ["seed=1,trainer.max_steps=2", "seed=2,trainer.max_steps=2"]
    assert results[0].figures["job"] == "components"
    form = ["hydra.job.config.override_dirname.kv_sep='-'", "hydra.job.config.override_dirname.item_sep='_'"]
    (result,) = sweep(tmp_path, "seed=1", *form)
    assert result.figures["name"] == "recipe-gpt_python_seed-1"


def test_hydras_groups_are_found_in_conf_during_a_sweep_only(tmp_path) -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    sweep(tmp_path, "seed=1")
    assert not GlobalHydra.instance().is_initialized()
    with hydra.initialize(config_path=None, version_base="1.3"):
        found = [e.provider for e in GlobalHydra.instance().config_loader().get_search_path().get_path()]
    assert found == ["hydra", "schema"], "another use of Hydra in the same program"


def test_a_choice_of_the_sweep_counts_the_same_in_every_job(tmp_path) -> None:
    results = sweep(tmp_path, "seed=3,4", "hydra.sweep.dir=at_${now:%f}")
    assert len({r.folder.parent for r in results}) == 1, "the time is that of the sweep"
    assert [r.figures["seed"] for r in results] == [3, 4]
