"""What a run has given to a tracker (W&B, MLflow) so far, so that a run that goes on continues the tracker's run and tells it nothing twice.

After a kill, a run goes on from its checkpoint, and takes the steps since then again with the same result. metrics.csv cuts the rows of those
steps; a tracker cannot, so they are not sent again. What a tracker has is kept in ``NAME.sent.jsonl`` in the run's folder, beside the id of its run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from components.core import files
from components.core.errors import UserError

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Sent:
    """
    The first line says whose it is, ``{"run": id, "folder": the run's}``; then ``["loss", "lr"]``, the names of figures that came together, and
    ``[0, step, rows]`` for each time that the names of that number came: a step, and how many rows the tracker had then.

    Args:
        file: where it is kept; None: nowhere.
        run: the id of the tracker's run; None: it has none yet.
        copied_from: the id that another folder, of which this one is a copy, goes on with.
    """

    def __init__(self, file: Path | None, run: str | None = None, copied_from: str | None = None) -> None:
        self.file, self.run, self.copied_from = file, run, copied_from
        self.rows = 0
        self._kinds: dict[tuple[str, ...], int] = {}
        self._last: dict[str, int] = {}  # the last step of each figure

    @classmethod
    def of(cls, folder: Path, tracker: str) -> Sent:
        """What the run in ``folder`` has given to the tracker; nothing, without an id, if it begins there.

        A copy of a run's folder begins anew: both would write into one run. A folder that was moved goes on.

        Raises:
            UserError: the file is damaged.
        """
        file = folder / f"{tracker}.sent.jsonl"
        if not file.exists():
            return cls(file)
        lines = []
        for text in files.read_text(file).splitlines():
            with suppress(ValueError):  # the last line of a killed process
                lines.append(json.loads(text))
        head = lines[0] if lines and isinstance(lines[0], dict) else {}
        run, place = head.get("run"), head.get("folder")
        if not (isinstance(run, str) and ID.fullmatch(run) and isinstance(place, str)):
            raise UserError(
                str(file), "is damaged: it does not begin with the tracker's run", f"remove it: {tracker} begins anew"
            )
        before = Path(place)
        if before != folder.absolute() and (before / file.name).exists() and not _same(before, folder):
            return cls(file, copied_from=run)
        found = cls(file, run)
        names: list[tuple[str, ...]] = []
        for line in lines[1:]:
            found._read(line, names, str(file))
        return found

    def _read(self, line: object, names: list[tuple[str, ...]], where: str) -> None:
        match line:
            case [int(kind), int(step), int(rows)] if 0 <= kind < len(names):
                self._last.update(dict.fromkeys(names[kind], step))
                self.rows = max(self.rows, rows)
            case [*words] if all(isinstance(word, str) for word in words):
                names.append(tuple(str(word) for word in words))
                self._kinds.setdefault(names[-1], len(names) - 1)
            case _:
                raise UserError(
                    where, f"is damaged: {str(line)[:60]} is no line of it", "remove it, and the tracker begins anew"
                )

    def begin(self, run: str) -> None:
        """The tracker's run is ``run``. If it is another than before, it has nothing yet."""
        if self.run != run:
            self.rows, self._kinds, self._last = 0, {}, {}
        self.run = run
        if self.file is None:
            return
        together: dict[int, list[str]] = {}
        for name, step in self._last.items():
            together.setdefault(step, []).append(name)
        self._kinds = {tuple(names): kind for kind, names in enumerate(together.values())}
        lines = [json.dumps({"run": run, "folder": str(self.file.parent.absolute())}), *map(json.dumps, self._kinds)]
        lines += [json.dumps([kind, step, self.rows]) for kind, step in enumerate(together)]
        files.write_text(self.file, "\n".join(lines) + "\n")

    def fresh(self, names: Iterable[str], step: int) -> list[str]:
        """Those of the figures that the tracker does not have yet for ``step``."""
        return [name for name in names if step > self._last.get(name, -1)]

    def note(self, names: Iterable[str], step: int, rows: int) -> None:
        """The tracker has got these figures of ``step``, and has so many rows now."""
        key, self.rows = tuple(names), rows
        self._last.update(dict.fromkeys(key, step))
        if self.file is None:
            return
        text = ""
        if key not in self._kinds:
            self._kinds[key] = len(self._kinds)
            text = json.dumps(key) + "\n"
        text += json.dumps([self._kinds[key], step, rows]) + "\n"
        try:
            with files.open_append(self.file) as stream:
                stream.write(text.encode())
        except OSError as e:
            raise files.unwritable(self.file, e) from None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
