"""Lightning's loop over the steps of an epoch, which takes a step on one device by the shortest way."""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import cast

from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher, _profile_nothing
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.types import LRSchedulerConfig

from components.training.stepping import Stepping
from components.training.whole_update import WholeUpdate, plain_step

_TAKEN = attrgetter("automatic_optimization.optim_progress.optimizer.step.total.completed")


class QuickEpoch(_TrainingEpochLoop):
    """Counts, hooks, checkpoints and validations are Lightning's. Where ``plain_step`` is not true, and for the step that takes a run up, so is all else."""

    _whole: WholeUpdate | None = None  # of this run, where a step is plain
    _every_step: list[LRSchedulerConfig] | None = None  # the schedules, where all of them go on at each step

    @property
    def global_step(self) -> int:
        return _TAKEN(self) if self._whole is not None else super().global_step

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        # an `optimizer_step` of somebody's own may hand the closure to what does the rest of it a second time
        stepping = getattr(type(trainer.lightning_module), "optimizer_step", None) is Stepping.optimizer_step
        self._whole = None
        if not stepping or isinstance(data_fetcher, _DataLoaderIterDataFetcher) or not plain_step(trainer):
            return
        self._whole = WholeUpdate(trainer, self.automatic_optimization.optim_progress.optimizer)
        data_fetcher._start_profiler = data_fetcher._stop_profiler = _profile_nothing
        configs = trainer.lr_scheduler_configs
        plain = all(c.interval == "step" and c.frequency == 1 and not c.reduce_on_plateau for c in configs)
        self._every_step = configs if plain else None

    @property
    def done(self) -> bool:
        """Lightning's answer, which takes longer, where it can be true."""
        more = self._whole is not None and not self.trainer.should_stop and not self._last_of_epoch()
        return False if more and not 0 <= self.max_steps <= self.global_step else super().done

    def _build_kwargs(self, kwargs: OrderedDict[str, object], batch: object, batch_idx: int) -> OrderedDict[str, object]:
        """Every task takes ``batch_idx``; Lightning reads the signature anew for each batch to see that."""
        kwargs.update(batch=batch, batch_idx=batch_idx)
        return kwargs

    def _last_of_epoch(self) -> bool:
        return self.batch_progress.is_last_batch or self.batch_progress.current.ready == self.trainer.num_training_batches

    def advance(self, data_fetcher: _DataFetcher) -> None:
        whole = self._whole
        if whole is None or self._restarting:
            return super().advance(data_fetcher)
        if self.val_loop._restarting:
            self.val_loop.restarting = False
        batch, _, __ = next(data_fetcher)
        counted, trainer, results = self.batch_progress, self.trainer, self._results
        batch_idx = counted.current.ready
        counted.is_last_batch = data_fetcher.done
        batch = whole.give(batch, batch_idx)
        counted.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        stepped = not self._should_accumulate()
        if whole.tell("on_train_batch_start", batch, batch_idx) == -1:
            counted.increment_by(0, is_last_batch=True)
            counted.increment_processed()
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            raise StopIteration
        counted.increment_started()
        if stepped:
            self._step(whole, batch_idx)
        else:
            whole()
        counted.increment_processed()
        if stepped:
            self._schedule()
        if self._last_of_epoch():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        whole.tell("on_train_batch_end", whole.output, batch, batch_idx)
        if results:
            trainer._logger_connector.on_batch_end()
        else:  # nobody has logged anything by Lightning's way
            results.batch = results.batch_size = None
        counted.increment_completed()
        if results:
            trainer._logger_connector.update_train_step_metrics()

    def _step(self, whole: WholeUpdate, batch_idx: int) -> None:
        trainer, counted = self.trainer, self.automatic_optimization.optim_progress.optimizer.step
        counted.increment_ready()
        module = trainer.lightning_module
        before, module._current_fx_name = module._current_fx_name, "optimizer_step"
        # the optimizer in Lightning's wrapping, for whoever overrides the hook
        module.optimizer_step(trainer.current_epoch, batch_idx, trainer.strategy._lightning_optimizers[0], whole)
        module._current_fx_name = before
        counted.increment_completed()

    def _schedule(self) -> None:
        if self._every_step is None:
            return self.update_lr_schedulers("step", update_plateau_schedulers=False)
        for config in self._every_step:
            self.scheduler_progress.increment_ready()
            self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
            self.scheduler_progress.increment_completed()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        stops = self.trainer.should_stop or self.trainer.received_sigterm or self._skip_next_val or self._every_step is None
        if self._whole is None or stops or self._should_check_val_fx(data_fetcher):
            return super().on_advance_end(data_fetcher)
        if not self._should_accumulate():
            self._batches_that_stepped += 1

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        """Lightning's answer, which looks first whether there is anything to validate, where the step is one to validate after."""
        trainer, every = self.trainer, self.trainer.val_check_batch
        interval = trainer._val_check_time_interval  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        by_count = isinstance(every, int) and interval is None
        if by_count and self._whole is not None and not trainer.should_stop:
            counted = self.batch_progress.total if trainer.check_val_every_n_epoch is None else self.batch_progress.current
            if counted.ready % cast(int, every):
                return False
        return super()._should_check_val_fx(data_fetcher)
