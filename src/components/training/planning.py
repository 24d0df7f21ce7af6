"""Plan a run before anything is written. Everything that can be refused is refused here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from lightning.pytorch import Callback

from components.core import memory
from components.core.bar import Bar
from components.core.config_types import Config
from components.core.errors import found_in
from components.core.micro_batches import rows_each
from components.core.traits import why_cannot_generate
from components.corpus.corpus import Source
from components.corpus.examples import ExampleSource
from components.runs import archive, checkpoints, init_from, resume, run_folder
from components.runs.preparing import corpus_of, runs_of, task_of, task_options
from components.runs.task_module import AnyCorpus, TaskModule
from components.runs.weights import fits
from components.training import init_task, limits, resumable, slurm
from components.training.building import data_of, settle_rows
from components.training.callbacks import make_callbacks
from components.training.data_module import PackedDataModule
from components.training.devices import check_hardware, device_kind, processes, readers, slow_line, with_precision_of_here
from components.training.float8 import PRECISION, check_float8
from components.training.foreseen import foresee
from components.training.making import make_trainer
from components.training.preflight import check_settings
from components.training.quantised_base import check_base
from components.training.strategies import check_layout
from components.training.tuning import narrow_lines, rate_lines
from components.training.unchecked import unchecked
from components.training.within_memory import need_room


@dataclass
class Job:
    """What is to be trained.

    Args:
        config: the spelled-out config.
        recipe: its name, which is also that of the folder.
        difference: lines about what differs from the recipe.
        notes: lines about options that a swap kept or dropped.
        resumed: the run that goes on, or None.
        init_from: the run or checkpoint with the first weights, or None.
        quiet: print nothing.
    """

    config: Config
    recipe: str = "custom"
    difference: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resumed: resume.Resumed | None = None
    init_from: str | None = None
    quiet: bool = False


@dataclass
class Plan:
    """A job with its data prepared and its module made (the model on the meta device).

    Args:
        job: what is to be trained.
        settings: the trainer's.
        callbacks: those that the config names.
        source: the data part.
        corpus: its prepared documents or examples.
        module: the LightningModule; it knows the number of steps.
        data: the loaders.
        tokenizer: its files, {name: text}.
        parameters: their number in the model.
        step: that of the checkpoint that the run goes on from, or None.
        matched: the weights of another run that it starts with, or None.
        finishing: all steps are done, only the end of the run is missing.
    """

    job: Job
    settings: Config
    callbacks: list[Callback]
    source: Source | ExampleSource
    corpus: AnyCorpus
    module: TaskModule
    data: PackedDataModule
    tokenizer: dict[str, str]
    parameters: int
    step: int | None
    matched: init_from.Match | None
    finishing: bool = False

    @property
    def tokens_per_step(self) -> float:
        """Tokens of an optimizer step; an average if rows are examples of different lengths."""
        return self.module.batch_size * self.data.train.tokens_per_row

    def about(self) -> dict[str, object]:
        """The contents of run.json: where the figures come from."""
        return {
            "recipe": self.job.recipe,
            "init_from": self.job.config.get("init_from"),
            "weights": None if self.matched is None else self.matched.report(),
            "began": time.time(),
            "job": slurm.job(),
            "command": sys.argv,
            "schema": archive.SCHEMA,
            "versions": run_folder.versions(),
            "data": {"hash": self.corpus.hash, "report": self.corpus.report.lines()},
            "git": run_folder.git_state(Path.cwd()),
            "parameters": self.parameters,
            "total_steps": self.module.total_steps,
        }


def plan(job: Job, say: Callable[[str], None], bar: Bar | None) -> Plan:
    """Check the config, print the difference, prepare the data, build the module. Writes only to the data cache.

    Raises:
        UserError: the config cannot be trained here.
    """
    job.config = with_precision_of_here(job.config)
    settings = check_settings(job.config)
    check_hardware(settings)
    options = task_options(job.config)
    trainer = make_trainer(
        settings, options["validation_every"], 1
    )  # whatever Lightning refuses, it refuses now, before a folder exists
    if job.resumed is None:
        run_folder.require_place(runs_of(job.config))
    start = init_from.start_from(job.init_from, runs_of(job.config)) if job.init_from else None
    if start is not None:
        job.config = {**job.config, "init_from": start.origin}
    config = job.config
    foreseen = foresee(config) if job.resumed is None else None  # a run that goes on was built before
    if foreseen is not None:
        fits(foreseen.model, device_kind(settings), ranks=processes(settings))
    told = [f"  {line}" for line in (*job.difference, *job.notes)]
    if told:
        told.insert(0, f"difference from {'the run' if job.resumed else 'recipe ' + job.recipe}:")

    def begin() -> None:
        while told:
            say(told.pop(0))

    source, corpus = corpus_of(config, options, bar, going_on=job.resumed.checkpoint if job.resumed else None, begin=begin)
    begin()
    for line in corpus.report.lines():
        say(line)
    with found_in(job.resumed.folder / "config.yaml" if job.resumed else ""):
        module = task_of(config, corpus.tokenizer)
        model = module.new_model() if foreseen is None else foreseen.of(module)
        fits(model, device_kind(settings), ranks=processes(settings))  # before there is a folder; each process looks again
    tokenizer = checkpoints.tokenizer_files(corpus.tokenizer)
    callbacks = make_callbacks(config.get("callbacks"), module.metrics)
    matched = init_task.begin_task(module, model, start, say) if start is not None else None
    if job.resumed and module.loss.compares and config.get("init_from"):
        # weights come from the checkpoint, but what they are compared with is the start
        init_task.begin_task(module, model, init_from.start_from(config["init_from"], runs_of(config)), say)
    module.built.append(model)
    fits(
        model, device_kind(settings), ranks=processes(settings)
    )  # before there is a folder; each process looks again at its part
    context = cast(int, model.context_length)
    settle_rows(module, context)
    ranks = processes(settings)
    check_layout(trainer.strategy, model, ranks, module.loss)
    module.need_known_strategy(trainer.strategy)
    rows_each(module.batch_size, settings.get("accumulate_grad_batches") or 1, readers(settings, ranks))
    held = module.batch_size * (context + 1) * 8
    memory.hold(held, "model.context_length", f"the {module.batch_size} rows of a step", "make task.batch_size or it smaller")
    data = data_of(module, corpus, context, config["seed"])
    if device_kind(settings) == "cpu" and run_folder.rank() == 0:  # once: what other ranks hold by then is no longer free
        for line in need_room(module, model, settings, data.train):
            say(line)
    for line in [
        line for blocks in (data.train, data.validation, data.test) for line in (blocks.notes if blocks is not None else ())
    ]:
        say(line)
    data.limit_steps(limits.steps_in_epoch(settings, data.steps_per_epoch))
    module.total_steps = limits.total_steps(settings, data.steps_per_epoch, module.batch_size * data.train.tokens_per_row)
    step, finishing = resumable.place(job.resumed, config, module, data) if job.resumed else (None, False)
    if finishing:
        say(f"all steps are done (the last was {step}): what is left is the end of the run")
    parameters = sum(p.numel() for p in model.parameters())
    shape = f"{module.total_steps} steps of {module.batch_size} x {data.train.tokens_per_row:.3g} tokens"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    some = "" if trained == parameters else f" ({trained:,} of them trained)"
    say(f"{parameters:,} parameters{some}, {shape}, vocabulary {module.vocab_size}")
    if said := check_base(model, trainer.strategy, settings):
        say(said)
    if settings.get("precision") == PRECISION:
        say(check_float8(model))
    for line in [
        *rate_lines(model, config),
        *narrow_lines(config, settings.get("precision")),
        *slow_line(settings),
        *unchecked(config),
    ]:
        say(line)
    if trained < parameters and not config.get("init_from"):
        say("what is frozen stays as it was drawn: init_from=RUN gives it the weights of a trained model")
    if (module.samples or module.judged_samples) and (reason := why_cannot_generate(model, source=module.gives_sources)):
        say(f"no samples: {reason}")
    module.meet_teacher("cpu")
    return Plan(job, settings, callbacks, source, corpus, module, data, tokenizer, parameters, step, matched, finishing)
