"""Ranks that a run starts as processes on this machine: each trains the first rank's run and nothing else, and none outlives the others.

Lightning starts the whole script again for each of them. There the script might reach another run (its second one, or what ``resume=auto`` means
a moment later). So such a process takes the run from the first rank, through its environment, at its first call of ``train``, and ends
with that run.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch._C._distributed_c10d import TCPStore
from torch.distributed import distributed_c10d

from components.core.collectives import Differing
from components.core.errors import UserError
from components.core.exit import hard_exit, note_talk
from components.runs import resume, run_folder
from components.training.beats import Beats
from components.training.missing import RankLost
from components.training.planning import Job
from components.training.watch import FIRST, PATIENCE, Watch

RUN = "COMPONENTS_RUN"  # the run of the first rank: config, recipe, and the checkpoint that it goes on from
TIMEOUT = "COMPONENTS_RANK_TIMEOUT"  # where an earlier release took trainer.timeout from
STARTING = 300.0  # seconds for the first meeting: a busy machine, or a disk that all read at once, makes importing slow
YIELD = 5.0  # seconds that the first rank has to report an error that all ranks met
LEAVING = 60.0  # seconds that ranks have to end after their work


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher, but watched by us. Lightning's observer kills the first rank silently, and nothing watches for the other ranks."""

    def __init__(self, before: _SubprocessScriptLauncher, watch: Watch) -> None:
        super().__init__(before.cluster_environment, before.num_processes, before.num_nodes)
        self.watch = watch
        self.meeting: TCPStore | None = None

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            if self.num_nodes == 1:
                self.meeting = meeting_place(self.cluster_environment)
            self._call_children_scripts()  # from here on Lightning believes that this rank was started from outside
            self.watch.children = list(self.procs)
        return super().launch(function, *args, trainer=trainer, **kwargs)


def meeting_place(environment: ClusterEnvironment) -> TCPStore | None:
    """The store at which ranks of this machine meet, opened before they start. Lightning looks for a free port and opens it later: another
    process may have it by then. The first rank's group takes this store, since there is one for each port of a process."""
    if type(environment) is not LightningEnvironment or {"MASTER_PORT", "STANDALONE_PORT"} & set(os.environ):
        return None
    store = TCPStore(environment.main_address, 0, is_master=True, wait_for_workers=False, multi_tenant=True)
    os.environ["MASTER_PORT"] = str(store.port)
    return store


def tell(folder: Path, job: Job) -> None:
    """Put the run into the environment for the ranks that are started next. It is not written to a file, since the run may still be refused."""
    os.environ[run_folder.FOLDER], os.environ[FIRST] = str(folder.absolute()), str(os.getpid())
    checkpoint = str(job.resumed.checkpoint.absolute()) if job.resumed else None
    held = {"config": job.config, "recipe": job.recipe, "checkpoint": checkpoint, "before": job.resumed and job.resumed.config}
    os.environ[RUN] = json.dumps(held)


def launched() -> bool:
    """Whether a first rank has started this process to train with it."""
    return (
        run_folder.FOLDER in os.environ
        and os.environ.get(FIRST, str(os.getpid())) != str(os.getpid())
        and os.environ.get("LOCAL_RANK", "0") != "0"
    )


def job() -> Job:
    """The run that the first rank has put into the environment."""
    folder, held = Path(os.environ[run_folder.FOLDER]), json.loads(os.environ[RUN])
    config, checkpoint = held["config"], held["checkpoint"]
    resumed = resume.Resumed(folder, Path(checkpoint), held["before"]) if checkpoint else None
    return Job(config, held["recipe"], resumed=resumed, init_from=None if resumed else config.get("init_from"), quiet=True)


def follow(fit: Callable[[Job, Watch], object]) -> NoReturn:
    """The whole work of a launched process: train with the first rank, report errors that only this rank met, and exit."""
    code, watch = 0, Watch(parent=int(os.environ[FIRST]))
    watch.folder = Path(os.environ[run_folder.FOLDER])
    watch.start()
    try:
        fit(job(), watch)
    except UserError as e:
        code = e.exit_code
        if isinstance(e, Differing):
            watch.quiet = True
        if not watch.orphan():  # if all ranks met this error, the first one reports it and ends this process
            watch.join(YIELD)
        watch.say(e)
        if isinstance(e, RankLost) and e.stands and not watch.orphan():
            os.kill(os.getppid(), signal.SIGKILL)  # the first rank is stopped, and whoever waits for the run waits for it
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        code = 1
        traceback.print_exc()
    hard_exit(code)


def prepare(trainer: Trainer, watch: Watch, seconds: float) -> None:
    """Watch the trainer's other ranks, and let none wait longer than so many seconds for another.

    Raises:
        UserError: the time is given where an earlier release took it from.
    """
    if TIMEOUT in os.environ:
        raise UserError(TIMEOUT, "is read no more", f"trainer.timeout={os.environ[TIMEOUT] or '600'}")
    strategy: Any = trainer.strategy
    if trainer.world_size == 1:
        return
    beats = Beats(seconds, lambda: trainer.global_step)
    start_patiently(strategy, seconds, beats.meet)
    watch.patience = min(PATIENCE, seconds)
    loop = trainer.fit_loop.epoch_loop
    watch.progress = lambda: (trainer.global_step, loop.batch_progress.total.ready, loop.val_loop.batch_progress.total.ready)
    watch.works = strategy.root_device.type == "cpu"
    if type(strategy.launcher) is _SubprocessScriptLauncher:
        strategy._launcher = Launcher(strategy.launcher, watch)
    elif strategy.launcher is not None:
        return  # ranks that are forked or spawned: multiprocessing watches them
    if not watch.is_alive():
        watch.start()
    watch.beats = beats
    beats.start()


def start_patiently(strategy: Any, seconds: float, met: Callable[[], object]) -> None:
    """Ranks have ``STARTING`` seconds to come, or more; from then on none waits longer than ``seconds`` for another. All call ``met`` then."""
    set_up = strategy.setup_environment

    def setup_environment() -> None:
        strategy._timeout = timedelta(seconds=max(seconds, STARTING))
        set_up()
        strategy._timeout = timedelta(seconds=seconds)
        for group in list(distributed_c10d._world.pg_map) if dist.is_initialized() else ():
            distributed_c10d._set_pg_timeout(strategy._timeout, group)
        met()

    strategy.setup_environment = setup_environment


def close(watch: Watch, *, ended: bool) -> None:
    """After a run: end the ranks that it has started, so that the next run of this process starts its own.

    Args:
        watch: of the run.
        ended: the run has ended or was stopped on all ranks; otherwise ranks that are left are killed at once.
    """
    if watch.parent is None:
        watch.stop()
    if watch.beats is not None:
        watch.beats.stop()
    ours = dist.is_initialized() and (bool(watch.children) or watch.parent is not None)
    if ours and ended:
        dist.destroy_process_group()  # as the other ranks do
    watch.end_children(within=LEAVING if ended else 0.0)
    if ours and not ended and watch.children:
        _drop_group()
    if ours:
        note_talk()


def _drop_group() -> None:
    """Drop the process group without the lost ranks. Closing an NCCL communicator would wait for them."""
    if dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()
