"""The glass box at the end of a run: what the best weights do with a text, as pictures in the run's folder and in its logger."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, Trainer

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import NonNegative
from components.runs.task_module import TaskModule


@register("callback", "figures")
class Figures(Callback):
    """Pictures of what the trained model does with a text, in the run's folder and in W&B or TensorBoard.

    Of a run, its best weights; where the trainer's ``default_root_dir`` is no run, the weights that the task ends with.
    If the prompt cannot be read, nothing is drawn and the run says so.

    Args:
        prompt: what the model reads; null: the task's first prompt, or none.
        new_tokens: how many tokens it writes after that, at most.
        target: a label, amounts, or what an encoder-decoder should write; with it, gradients are drawn too.
    """

    def __init__(self, *, prompt: str | None = None, new_tokens: NonNegative = 12, target: str | None = None) -> None:
        self.prompt, self.new_tokens, self.target = prompt, new_tokens, target

    def on_fit_end(self, trainer: Trainer, pl_module: object) -> None:
        if not trainer.is_global_zero:
            return
        from components.explain import explain
        from components.runs.loading import Opened, open_model
        from components.runs.preparing import print_err

        folder, task = Path(trainer.default_root_dir), cast(TaskModule, pl_module)
        opened = (
            open_model(folder) if (folder / "run.json").exists() else Opened(task.model.eval(), task.tokenizer, task.config)
        )
        prompt = self.prompt if self.prompt is not None else next(iter(getattr(pl_module, "prompts", None) or [""]))
        try:
            made = explain(opened, prompt=prompt, new_tokens=self.new_tokens, target=self.target, loss=self.target is not None)
        except UserError as e:  # what was trained is not lost for a picture
            print_err(f"callbacks.figures: nothing is drawn ({' '.join(str(e).split())})")
            return
        files = made.save_figures(folder / "figures")
        loggers: list[Any] = trainer.loggers
        for logger in loggers:
            if callable(getattr(logger, "log_image", None)):  # W&B
                for file in files:
                    logger.log_image(f"figures/{file.stem}", [str(file)], step=None)
            elif callable(getattr(logger.experiment, "add_figure", None)):  # TensorBoard
                for name, figure in made.figures().items():
                    logger.experiment.add_figure(f"figures/{name}", figure, trainer.global_step)
