"""``explain(run, prompt=...)``: one pass of one model, or of two, as data, page, table and figures."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.compose.python_values import listed
from components.compose.request import Request
from components.core import html
from components.core.config_types import Overrides
from components.core.errors import UserError
from components.core.files import make_folder, whole, write_text
from components.core.terminal import readable, require_text
from components.explain.page import page
from components.explain.subject import Config, Loaded, Subject, subject_of
from components.explain.trace import Trace
from components.explain.tracing import Options, trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(repr=False)
class Explanation:
    """One model or two on one prompt.

    Args:
        traces: one of each model; explain/trace.py says what stands in them.
        configs: of the models, spelled out.
    """

    traces: list[Trace]
    configs: list[Config]

    def __repr__(self) -> str:
        shown = "; ".join(f"{t.name} ({t.trained}), {len(t.tokens)} tokens" for t in self.traces)
        return f"<Explanation of {shown}: print(.table()), .save(FILE), .figures(), .trace>"

    @property
    def trace(self) -> Trace:
        """Of the first model."""
        return self.traces[0]

    def page(self) -> str:
        """A whole HTML page, which loads nothing from anywhere."""
        return page(self.traces, self.configs)

    def _repr_html_(self) -> str:
        """The page inside a notebook."""
        return html.frame(self.page())

    def save(self, file: str | Path) -> Path:
        """Write the page to ``file``, whole or not at all."""
        file = Path(file).expanduser()
        write_text(file, self.page())
        return file

    def table(self) -> str:
        """The same as lines of text for a terminal."""
        from components.explain.table import table

        return "\n\n".join(table(t) for t in self.traces)

    def figures(self) -> dict[str, Figure]:
        """{name: matplotlib figure} of the first model."""
        from components.explain.figures import figures

        return figures(self.trace)

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Each figure as a PNG in ``folder``; names of the second model's begin with ``b_``."""
        from components.explain.figures import figures

        folder = make_folder(Path(folder).expanduser())
        files = []
        for one, before in zip(self.traces, ("", "b_")):
            for name, figure in figures(one).items():
                files.append(folder / f"{before}{name}.png")
                with warnings.catch_warnings(), whole(files[-1]) as stream:
                    warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that matplotlib's font does not have
                    figure.savefig(stream, format="png")
        return files


def explain(
    *subjects: str | Path | Loaded | Subject | tuple[str, Overrides],
    prompt: str,
    overrides: Overrides = (),
    new_tokens: int = 12,
    shown: int = 64,
    loss: bool = False,
    target: str | None = None,
    seed: int = 0,
) -> Explanation:
    """What one model, or each of two, does with ``prompt``.

    Args:
        subjects: one or two: a run, a checkpoint, a recipe by name, or what ``components.load`` or ``load_recipe`` returned; a name and
            overrides of its own as a pair, ``("gpt_python", ["model/norm=rms"])``.
        prompt: a text; ``[MASK]`` is the mask of a masked language model; numbers with commas between for models that read numbers.
        overrides: for all of them: of the recipe, or of the run's stored config.
        new_tokens: how many tokens the model writes after the prompt, at most.
        shown: how many of the last tokens are shown. All are read.
        loss: a backward pass of the config's own loss as well.
        target: for the loss: a label, amounts, or what an encoder-decoder should write.
        seed: of what is drawn.

    Raises:
        UserError: there is nothing of that name, or the model cannot read the prompt.
    """
    if not 1 <= len(subjects) <= 2:
        raise UserError("explain", f"{len(subjects)} models are named", "one, or two to compare them")
    require_text("prompt", prompt)
    require_text("target", target)
    found = []
    for subject in subjects:
        name, own = subject if isinstance(subject, tuple) else (subject, ())
        found.append(subject if isinstance(subject, Subject) else subject_of(name, [*listed(overrides), *listed(own)]))
        found[-1].name = readable(" ".join([found[-1].name, *(w for a in Request.of(own).arguments for w in a.words)]))
    options = Options(new_tokens, shown, loss, target, seed)
    return Explanation([trace(s, prompt, options) for s in found], [s.config for s in found])
