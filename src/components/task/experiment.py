"""One run from config to summary: data, module, callbacks, loggers and Trainer put together; everything a run writes is named here."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from components.errors import UserError
from components.task import checkpoints, ending, limits, resume, run_folder
from components.task.bar import Bar
from components.task.building import aloud, calm, corpus_of, data_of, runs_of, silent, task_of, task_options
from components.task.callbacks import make_callbacks
from components.task.checkpoints import Checkpoints
from components.task.data_module import rows_each
from components.task.loggers import check_logger, make_loggers
from components.task.metrics_file import MetricsFile
from components.task.preemption import Preempted, Preemption
from components.task.progress import Recorder
from components.task.samples import Samples
from components.task.strategies import check_hardware, processes, strategy_of


@dataclass
class Job:
    """What is to be trained.

    Args:
        config: spelled out, plain containers.
        recipe: its name, which is also the folder's.
        difference: lines that say what differs from the recipe.
        notes: options that were kept or dropped by a swap.
        resumed: the run that goes on, or None.
        init_from: where the first weights come from, or None.
        quiet: print nothing.
    """

    config: dict[str, Any]
    recipe: str = "custom"
    difference: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resumed: resume.Resumed | None = None
    init_from: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Result:
    """What a run left: its folder (None on ranks that write nothing) and its final figures."""

    folder: Path | None
    figures: dict[str, Any]


def fit(job: Job) -> Result:
    """Train, and leave everything in the run's folder. Raises what training raised, after the folder has been completed."""
    calm()
    before = dict(os.environ)
    try:
        return _fit(job)
    finally:
        for name in set(os.environ) - set(before):  # what Lightning's launcher set would make the next run a child of this one
            del os.environ[name]
        os.environ.update(before)


def _fit(job: Job) -> Result:
    config, first = job.config, run_folder.rank() == 0
    settings = limits.trainer_settings(config.get("trainer") or {})
    check_hardware(settings)
    check_logger(config.get("logger"))
    callbacks = make_callbacks(config.get("callbacks"))
    bar = Bar() if first and not job.quiet and settings.get("enable_progress_bar") is not False else None
    say = aloud if first and not job.quiet else silent
    start = resume.start_from(job.init_from, runs_of(config)) if job.init_from else None

    if job.difference or job.notes:
        say(f"difference from {'the run' if job.resumed else 'recipe ' + job.recipe}:")
    for line in [*job.difference, *job.notes]:
        say(f"  {line}")
    source, corpus = corpus_of(config, task_options(config), bar)
    for line in corpus.report.lines():
        say(line)
    module, tokenizer = task_of(config, corpus.tokenizer), checkpoints.tokenizer_files(corpus.tokenizer)
    if start is not None:
        resume.compare_tokenizers(start, tokenizer, say)
        module.start_from = lambda model: resume.load_weights(model, start.weights, start.origin, say)
    shape = module.built = module.new_model()
    context = shape.context_length
    if module.batch_tokens is not None:
        module.batch_size = max(1, module.batch_tokens // context)
    rows_each(module.batch_size, settings.get("accumulate_grad_batches") or 1, processes(settings))
    data = data_of(module, corpus, context, config["seed"])
    data.limit_steps(limits.steps_in_epoch(settings, data.steps_per_epoch))
    tokens_per_step = module.batch_size * context
    module.total_steps = limits.total_steps(settings, data.steps_per_epoch, tokens_per_step)

    step = checkpoints.read(job.resumed.checkpoint)["global_step"] if job.resumed else None
    if step is not None and step >= module.total_steps:
        raise UserError("resume", f"the run has done its {module.total_steps} steps", "set trainer.max_steps to more")
    folder = _folder(job, runs_of(config)) if first else None
    parameters = sum(p.numel() for p in shape.parameters())
    about = {
        "recipe": job.recipe,
        "began": time.time(),
        "command": sys.argv,
        "schema": checkpoints.SCHEMA,
        "versions": run_folder.versions(),
        "data": {"hash": corpus.hash, "report": corpus.report.lines()},
        "git": run_folder.git_state(Path.cwd()),
        "parameters": parameters,
        "total_steps": module.total_steps,
    }
    say(
        f"{parameters:,} parameters, {module.total_steps} steps of {module.batch_size} x {context} tokens, vocabulary {corpus.tokenizer.vocab_size}"
    )
    file = None
    if folder is not None:
        say(f"run: {folder}")
        if job.resumed is None:
            run_folder.write_start(folder, config, job.difference, about)
        else:
            run_folder.note_resumed(folder, config, job.difference, about, step)
        corpus.tokenizer.save(folder / "tokenizer.json")
        file = MetricsFile(folder / "metrics.csv", upto=step)

    validation = (corpus.validation.n_bytes, len(corpus.validation.tokens))
    recorder = Recorder(
        file,
        bar,
        tokens_per_step=tokens_per_step,
        total_steps=module.total_steps,
        blocks_per_step=module.batch_size / data.train.n_blocks,
        validation=validation,
    )
    keeper = Checkpoints(
        folder / "checkpoints" if folder else None,
        config,
        tokenizer,
        recorder,
        save=settings.get("enable_checkpointing") is not False,
    )
    samples = Samples(folder / "samples.txt" if folder else None, config, bar.say if bar else None, recorder)
    loggers = make_loggers(config.get("logger"), folder, config, say)
    extras = ending.extras_of(loggers, samples, config.get("logger") or {}) if folder is not None else []
    trainer = _trainer(
        settings,
        module,
        folder,
        loggers,
        [recorder, samples, keeper, Preemption(keeper), *callbacks],
    )
    state = "failed"
    try:
        # weights_only: a checkpoint is data, not code
        trainer.fit(module, data, ckpt_path=str(job.resumed.checkpoint) if job.resumed else None, weights_only=True)
        state = "finished"
    except Preempted:
        state = "preempted"
        if not first and run_folder.FOLDER in os.environ:
            raise SystemExit(0) from None  # Lightning's launcher ends the first rank when another one ends with an error
        raise
    except SystemExit:
        state = "interrupted"
        raise
    finally:
        figures = ending.figures_of(recorder, module, parameters, state)
        if state == "finished" and module.judged_samples and hasattr(source, "judge"):
            figures.update(ending.judge(trainer, module, config, source.judge))
        if folder is not None:
            ending.complete(folder, job.recipe, figures, extras, say)
    return Result(folder, figures)


def _folder(job: Job, runs: Path) -> Path:
    if job.resumed is not None:
        folder = job.resumed.folder
    else:
        folder = run_folder.new_folder(runs, job.recipe)
    os.environ[run_folder.FOLDER] = str(folder)
    return folder


def _trainer(settings: dict[str, Any], module: Any, folder: Path | None, loggers: list[Any], callbacks: list[Any]) -> Trainer:
    arguments = {n: v for n, v in settings.items() if n not in limits.OURS}
    strategy, precision = strategy_of(arguments.get("strategy") or "auto", str(arguments.get("precision") or "32-true"))
    accumulate = arguments.get("accumulate_grad_batches") or 1
    if arguments.get("val_check_interval") is None:
        arguments.update(val_check_interval=module.validation_every * accumulate, check_val_every_n_epoch=None)
    arguments.update(strategy=strategy, precision=precision, max_steps=module.total_steps, accumulate_grad_batches=accumulate)
    arguments.update(enable_progress_bar=False, enable_checkpointing=False, use_distributed_sampler=False)
    try:
        return Trainer(**arguments, callbacks=callbacks, logger=loggers or False, default_root_dir=str(folder or "."))
    except (ValueError, TypeError) as e:  # Lightning's own check of what the user gave
        raise UserError("trainer", str(e)) from e
