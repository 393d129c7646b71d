"""What a training writes into its run directory, when, and by which process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType

from fastsketch.formats.verification import Verifier
from fastsketch.training.run.checkpoint import save_trained
from fastsketch.training.run.directory import Run
from fastsketch.training.run.loggers import open_loggers
from fastsketch.training.run.metrics import EpochRecord, MetricLog
from fastsketch.training.run.record import write_record
from fastsketch.training.run.resume import remake_models, save_resume, saveable
from fastsketch.training.run.stop import StopController
from fastsketch.training.trainer import Trainer

log = logging.getLogger(__name__)


class Checkpointer:
    """Keeps a run directory such that whatever ends the training, the same command continues it.

    `resume.pt` holds what the next step needs, `last/` and `best/` the model, `metrics.jsonl` a record an epoch. With
    several processes all of them call its methods and rank 0 alone writes. A context manager: it closes the loggers.

    Args:
        run: Held by this process.
        trainer: What is saved.
        earlier: Records of the epochs before.
        verifier: Of the data set that is trained on.
        stop: Learns how long saving takes.
    """

    def __init__(
        self, run: Run, trainer: Trainer, earlier: Sequence[EpochRecord], verifier: Verifier, stop: StopController
    ) -> None:
        self._run, self._trainer, self._verifier, self._stop = run, trainer, verifier, stop
        self._leads = trainer.world.leads
        state, recipe, dataset = trainer.state, trainer.recipe, trainer.dataset
        best_kept = True
        if self._leads:
            run.create(recipe, dataset)
            if earlier or state.steps:
                best_kept = remake_models(run, state, trainer.preprocess, dataset)
            resolved = {"device": str(trainer.device), "precision": str(trainer.precision)}
            processes = {"processes": trainer.world.size}
            done = round(state.epoch + state.steps / trainer.steps_per_epoch, 3)
            write_record(run.record, dataset, epochs_done=done, **resolved, **processes, **asdict(trainer.execution))
        if not trainer.world.agreed(best_kept, trainer.device):
            state.best_top1, state.best_epoch = -1.0, 0
        self._metrics = MetricLog(run.metrics, earlier, open_loggers(recipe, run.root) if self._leads else ())
        if self._leads:
            self._metrics.mend()

    @property
    def records(self) -> list[EpochRecord]:
        """Of all epochs so far."""
        return self._metrics.records

    def save(self) -> None:
        """Write `resume.pt`. Waits for the device."""
        trainer, verifier = self._trainer, self._verifier
        state = trainer.state_dict()
        if self._leads:
            verifier.doubtful |= not verifier.finished(0) or verifier.damage is not None
            with self._stop.saving():
                save_resume(self._run.resume_path, saveable(state, self.records, trainer.recipe, trainer.dataset))

    def end(self) -> None:
        """Save the state; and the models, if there was no epoch that ended with it."""
        self.save()
        if self._leads and not self._trainer.state.epoch:
            self._save_models("last", "best")

    def save_and_stop(self) -> None:
        """Save everything; the end, by whoever asked for it.

        Raises:
            Interrupted: Somebody did.
        """
        self.save()
        state = self._trainer.state
        if self._leads and state.steps:
            self._save_models("last")
        log.info("stopped in epoch %d after step %d of %d", state.epoch + 1, state.steps, self._trainer.steps_per_epoch)
        self._stop.raise_if_asked()

    def end_epoch(self, record: EpochRecord, improved: bool) -> None:
        """Write the models and the record of an epoch."""
        if self._leads:
            self._save_models(*(("last", "best") if improved else ("last",)))
            self._metrics.add(record)

    def _save_models(self, *names: str) -> None:
        trainer = self._trainer
        for name in names:
            save_trained(trainer.state.eval_model, self._run.root / name, trainer.preprocess, trainer.dataset)

    def __enter__(self) -> Checkpointer:
        self._metrics.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.__exit__(kind, error, trace)
