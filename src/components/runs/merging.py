"""One run whose weights are merged from those of several runs. It takes the memory of a few tensors, not of a model.

Every method is a function over the same tensor of each run (``functional/model_soup.py``, ``slerp.py``, ``ties.py``). Here they are read, compared and
written.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from components.compose.request import Request
from components.core import files
from components.core.errors import UserError
from components.functional.model_soup import weighted_mean
from components.functional.slerp import slerp
from components.functional.ties import ties
from components.runs import archive, importing, resume, run_files, run_folder
from components.runs.exporting import plain_weights
from components.runs.fitting import need_same_model
from components.runs.foreign import Foreign, free_place, told, write
from components.runs.loading import vocab_size_of

How = Literal["linear", "slerp", "ties"]
DENSITY = 0.2  # of TIES: what its paper keeps


@dataclass(frozen=True)
class Method:
    """How the same tensor of several runs becomes one.

    Args:
        how: linear: the weighted mean; slerp: of two, along the arc between them; ties: what they changed in a base, by majority.
        weights: one for each run.
        density: of ties: the share of each change that is kept.
    """

    how: How
    weights: tuple[float, ...]
    density: float

    def __call__(self, tensors: Sequence[Tensor], base: Tensor | None) -> Tensor:
        """``base``: the tensor of ties' base."""
        if base is not None:
            return ties(base, tensors, self.weights, self.density)
        if self.how == "slerp":
            first, second = tensors
            return slerp(first, second, self.weights[1] / sum(self.weights))
        return weighted_mean(tensors, self.weights)


def merge_runs(
    names: Sequence[str],
    to: Path,
    *,
    how: How = "linear",
    weights: Sequence[float] | None = None,
    base: str | None = None,
    density: float | None = None,
) -> str:
    """Write ``to``, a run whose weights are merged from others. Returns what to print about it.

    Config, data and tokenizer are those of the first run. Adapters are folded into the weights first.

    Args:
        names: runs, checkpoints, or folders in Hugging Face's layout.
        to: the run's folder, a new one.
        how: the method, as ``Method`` says it.
        weights: one for each run, >= 0, up to a common factor; None: equal ones.
        base: of ties: the run, or as above, that all of them began with.
        density: of ties, in (0, 1]; None: 0.2.

    Raises:
        UserError: an option does not go with the method, or the runs do not fit together. Nothing has been written then.
    """
    to, method = free_place(to), method_of(len(names), how, weights, base, density)
    read = {name: _plain(name) for name in (*names, *([] if base is None else [base]))}
    first = read[names[0]]
    for name, run in read.items():
        need_same_model(name, run, names[0], first)
    about = {"how": how, "runs": [*names], "weights": [*method.weights]}
    about |= {} if base is None else {"base": base, "density": method.density}
    said = [f"{how} of {len(names)} runs, weights {_said(method.weights)}"]
    said += [] if base is None else [f"base {base}, density {method.density:g}"]
    with files.whole_folder(to) as part:
        room = files.make_folder(part / "room")  # tensors are put together in files: there may be more of them than memory
        held = merged(method, [read[name].weights for name in names], None if base is None else read[base].weights, room)
        made = replace(first, weights=dict(held), notes=["; ".join(said)])
        write(part, made, to, {"merged": about, **_no_data(names[0])}, "merged")
        shutil.rmtree(room)
        return told(made, to)


def method_of(count: int, how: How, weights: Sequence[float] | None, base: str | None, density: float | None) -> Method:
    """The method over ``count`` runs. UserError if its options do not fit."""
    if how == "ties" and base is None:
        raise UserError("--how ties", "needs the run that all of them began with", "--base RUN")
    if how != "ties" and (base, density) != (None, None):
        option = "density" if base is None else "base"
        raise UserError(f"--{option}", f"has no meaning for --how {how}", "leave it out, or take --how ties")
    if how == "slerp" and count != 2:
        raise UserError(
            "--how slerp", f"goes from one run to another, and it is given {count}", "name two, or take --how linear"
        )
    if how == "linear" and count < 2:
        raise UserError("components merge", "the mean of one run is that run", "name two or more")
    given = (1.0,) * count if weights is None else tuple(weights)
    if len(given) != count:
        raise UserError(f"--weights {_said(given)}", f"has {len(given)} numbers for {count} runs", "give one for each")
    if not all(math.isfinite(w) and w >= 0 for w in given) or not sum(given):
        raise UserError(f"--weights {_said(given)}", "must be numbers >= 0, and not all 0", "--weights 0.7,0.3")
    if density is not None and not 0 < density <= 1:
        raise UserError(f"--density {density:g}", "must be in (0, 1]", "0.2 keeps a fifth of each change")
    return Method(how, given, DENSITY if density is None else density)


def merged(
    method: Method, runs: Sequence[Mapping[str, Tensor]], base: Mapping[str, Tensor] | None, room: Path
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of the result, each in a file of its own in ``room``. What is tied in the first run is tied in it.

    Args:
        method: of merging.
        runs: {name: tensor} of each, with equal names, shapes and whole numbers.
        base: the same, of ties.
        room: a folder with room for files.
    """
    tied: dict[tuple[object, ...], Tensor] = {}
    for i, (name, first) in enumerate(runs[0].items()):
        key = (first.data_ptr(), first.shape, first.stride(), first.dtype) if first.numel() else (name,)
        if key not in tied:
            value = first
            if first.is_floating_point():
                value = method([run[name] for run in runs], None if base is None else base[name])
            tied[key] = _in_file(value, _dtype([run[name].dtype for run in runs]), room / str(i))
        yield name, tied[key]


def _dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """The smallest that holds what each of them holds."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        if found != dtype:  # torch does not say what fp8 and another have in common
            found = torch.float32 if 1 in (found.itemsize, dtype.itemsize) else torch.promote_types(found, dtype)
    return found


def _in_file(value: Tensor, dtype: torch.dtype, file: Path) -> Tensor:
    if not value.numel():
        return value.to(dtype)
    return torch.from_file(str(file), shared=True, size=value.numel(), dtype=dtype).view(value.shape).copy_(value)


def _plain(name: str) -> Foreign:
    """What a run holds, its adapter folded into its weights."""
    held = importing.held(name)
    config = {**held.config, "adapter": {"name": "none"}}
    source: archive.Source = {**held.source}
    source.pop("adapter", None)
    weights = plain_weights(vocab_size_of(held.config, held.tokenizer), dict(held.weights), held.config)
    return replace(held, weights=weights, config=config, source=source)


def _no_data(name: str) -> dict[str, object]:
    """What run.json says of an imported run: the data of its config are only a default."""
    if importing.is_foreign(Path(name).expanduser()):
        return {"imported": name}
    folder, _ = run_folder.find_run(name, resume.runs_folder(Request.of([])))
    about = run_files.read_about(folder) if (folder / "run.json").exists() else None
    return {} if about is None or "imported" not in about else {"imported": about["imported"]}


def _said(weights: Sequence[float]) -> str:
    return ",".join(f"{w:g}" for w in weights)
