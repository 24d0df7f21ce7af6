"""Putting a finished file or folder in the place of an older one: a kill at any instant leaves the older or the newer one, never neither.

One rename replaces a file by a file. A folder cannot be replaced so: the older one steps aside first, and is found there if that was the last that
happened. Only renames are used, which every disk has.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

BEFORE = ".before"


def publish(new: Path, place: Path) -> None:
    """Rename ``new`` to ``place``, whatever is there; it is removed. A link at ``place`` is replaced, not followed.

    Raises:
        OSError: the disk refuses; what was at ``place`` is there.
    """
    aside = place.with_name(place.name + BEFORE)
    if not is_folder(place) and not is_folder(new):
        os.replace(new, place)
    elif not os.path.lexists(place):
        os.rename(new, place)
    else:
        remove(aside)
        os.rename(place, aside)
        try:
            os.rename(new, place)
        except OSError:
            os.rename(aside, place)
            raise
    with suppress(OSError):  # what is left is removed by whoever comes next
        remove(aside)


def held(place: Path) -> Path:
    """Where what belongs at ``place`` is: there, or aside, if a kill came between two renames."""
    aside = place.with_name(place.name + BEFORE)
    return aside if not os.path.lexists(place) and os.path.lexists(aside) else place


def recover(folder: Path) -> None:
    """Put back what a kill left aside in ``folder``, and remove what has been replaced. Only for who may write there alone."""
    for aside in folder.glob(f"*{BEFORE}"):
        place = aside.with_name(aside.name.removesuffix(BEFORE))
        with suppress(OSError):
            remove(aside) if os.path.lexists(place) else os.rename(aside, place)


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing, if nothing is there."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def also_as(new: Path, place: Path) -> None:
    """Put ``new`` at ``place`` too: by hard links, or a copy where the disk has none. Links are safe: what is published is replaced, never modified.

    Raises:
        OSError: the disk refuses; what was at ``place`` is there.
    """
    part = place.with_name(f"{place.name}.part")
    remove(part)
    try:
        if is_folder(new):
            part.mkdir()
            for file in sorted(new.iterdir()):
                _link(file, part / file.name)
        else:
            _link(new, part)
        publish(part, place)
    except BaseException:
        with suppress(OSError):
            remove(part)
        raise


def _link(file: Path, name: Path) -> None:
    try:
        os.link(file, name)
    except OSError:
        with file.open("rb") as source, name.open("xb") as target:
            shutil.copyfileobj(source, target, 2**22)
            target.flush()
            os.fsync(target.fileno())
