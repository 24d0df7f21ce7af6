"""One process at a time trains in a run's folder."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from components.core import files
from components.core.errors import UserError
from components.core.publishing import recover, remove

NAME = "run.lock"


class Lock:
    """Held until ``release``, or until the process ends in whatever way: the operating system frees it, so a left-over file locks nothing.

    It is a record lock, which child processes do not inherit, so a left-over reader cannot keep the run locked. On a disk without locks
    nothing is locked.

    Raises:
        UserError: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl

        self.file = folder / NAME
        while True:
            self._stream = files.open_append(self.file)
            try:
                fcntl.lockf(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                self._stream.close()
                raise UserError(
                    str(folder), f"{self._holder()} is training in it", "wait until it has ended, or stop it"
                ) from None
            except OSError:  # a network disk without locks
                return
            if self._is_there():
                break
            self._stream.close()  # its holder has removed the file meanwhile
        with suppress(OSError):
            self._stream.truncate(0)
            self._stream.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            self._stream.flush()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.file.lstat(), os.fstat(self._stream.fileno()))
        except OSError:
            return False

    def _holder(self) -> str:
        with suppress(UserError):
            return files.read_text(self.file, most=300, errors="replace").strip() or "another process"
        return "another process"

    def release(self) -> None:
        with suppress(OSError):
            self.file.unlink()
        self._stream.close()


def sweep(folder: Path) -> None:
    """Remove half-written files and folders of a killed process, and put back what it was about to replace. The caller holds the lock."""
    for left in (*folder.glob(f"*{files.PART}"), *(folder / "checkpoints").glob(f"*{files.PART}")):
        with suppress(OSError):
            remove(left)
    recover(folder / "checkpoints")
