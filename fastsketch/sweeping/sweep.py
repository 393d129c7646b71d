"""Trials of a sweep, each an ordinary run; by Optuna, whose storage several processes and machines may share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.optional import import_optional
from fastsketch.sweeping.space import Space, suggest, with_override
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import EpochRecord, best_record, read_records

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

RUN = "run"
"""The attribute of a trial that names its run directory, within the sweep's."""

STARTUP = 4
"""Trials, chosen at random, before any is broken off or learned from."""


class Outcome(NamedTuple):
    """One trial.

    Attributes:
        number: Optuna's.
        state: `complete`, `pruned` or `failed`; `running` in another process.
        top1: The best on the validation sketches, in [0, 1]; None where there was none.
        epochs: Those that were trained.
        settings: What was tried, by key.
        run: Its run directory.
    """

    number: int
    state: str
    top1: float | None
    epochs: int
    settings: dict[str, Any]
    run: Path


class _Pruned(Exception):
    """The trial is not worth another epoch."""


def sweep(
    recipe: Recipe,
    space: Space,
    out: Path,
    trials: int,
    *,
    storage: str | None = None,
    seed: int = 0,
    train: Callable[[Recipe, Run, Callable[[EpochRecord], None]], object] | None = None,
    on_trial: Callable[[Outcome], object] | None = None,
) -> list[Outcome]:
    """Train until there are so many trials, of this process and of all others that share the storage.

    What was broken off goes on: a trial that nobody works at any more is continued from its run directory. A trial that
    is behind the median of the others after an epoch is given up.

    Args:
        recipe: What all trials have in common; `data.path` is set.
        space: What they differ in.
        out: The folder of the sweep: a run directory a trial, and the storage.
        trials: All together, the given-up ones included.
        storage: URL of a data base; by default SQLite in `out`.
        seed: Of what is tried.
        train: Trains, and tells of each epoch; `fit` by default.
        on_trial: Told of each trial of this process.

    Returns:
        All trials, of other processes too.

    Raises:
        BackendMissing: Optuna is not installed.
        ConfigError: The storage cannot be opened, or is of another sweep.
        FastSketchError: A training failed; the others are kept.
        KeyboardInterrupt: Somebody asked to stop; the same call goes on.
    """
    optuna = require_optuna()
    out.mkdir(parents=True, exist_ok=True)
    study = _open(optuna, storage or f"sqlite:///{out / 'sweep.db'}", out, space, seed)
    _take_up(optuna, study, out)
    state = optuna.trial.TrialState
    begun = (state.RUNNING, state.COMPLETE, state.PRUNED)
    while len(study.get_trials(deepcopy=False, states=begun)) < trials:
        trial = study.ask()
        with _settled(optuna, study, trial):
            _run_trial(trial, recipe, space, out, train or _fit)
        if on_trial:
            on_trial(_outcome(study.trials[trial.number], out))
    return outcomes(study, out)


def outcomes(study: Study, out: Path) -> list[Outcome]:
    """All trials that came to anything, in the order in which they began."""
    return [_outcome(trial, out) for trial in study.trials if RUN in trial.user_attrs and trial.state.name != "FAIL"]


def best_outcome(found: list[Outcome]) -> Outcome | None:
    """The trial that learned best."""
    scored = [each for each in found if each.top1 is not None]
    return max(scored, key=lambda each: each.top1 or 0.0, default=None)


def require_optuna() -> Any:
    """The optuna package, which says nothing by itself.

    Raises:
        BackendMissing: It is not installed.
    """
    optuna = import_optional("optuna", "optuna", "sweep")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _open(optuna: Any, storage: str, out: Path, space: Space, seed: int) -> Study:
    described = {key: kind if isinstance(kind, list) else kind.model_dump() for key, kind in space.items()}
    try:
        study: Study = optuna.create_study(
            storage=storage,
            study_name=out.name,
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        )
    except Exception as error:  # whatever SQLAlchemy and the driver raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{storage} cannot be opened: {said}", hint="sqlite:///FILE, postgresql://…") from error
    if study.user_attrs.get("space", described) != described:
        raise ConfigError(
            f"{out} is a sweep of another space", hint="go on with the same space, or choose another --out"
        )
    study.set_user_attr("space", described)
    return study


def _take_up(optuna: Any, study: Study, out: Path) -> None:
    """Queue again what was broken off: trials that are said to run, and whose run directory nobody holds."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if trial.params and _abandoned(Run(out / trial.user_attrs.get(RUN, _name(trial.number)))):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            attributes = {RUN: trial.user_attrs.get(RUN, _name(trial.number))}
            study.enqueue_trial(trial.params, user_attrs=attributes)
            log.info("going on with %s", attributes[RUN])


def _abandoned(run: Run) -> bool:
    try:
        with run.held(resume=True):
            return True
    except FastSketchError:
        return False


def _name(number: int) -> str:
    return f"trial-{number:04d}"


@contextmanager
def _settled(optuna: Any, study: Study, trial: Trial) -> Iterator[None]:
    """Write down what became of a trial. One that is interrupted stays as it is: the next call takes it up."""
    try:
        yield
    except _Pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except Exception:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    else:
        study.tell(trial, trial.user_attrs["top1"])


def _run_trial(
    trial: Trial,
    recipe: Recipe,
    space: Space,
    out: Path,
    train: Callable[[Recipe, Run, Callable[[EpochRecord], None]], object],
) -> None:
    tried = with_override(recipe, suggest(space, trial))
    trial.set_user_attr(RUN, trial.user_attrs.get(RUN, _name(trial.number)))
    run = Run(out / trial.user_attrs[RUN])
    reported = 0

    def report(record: EpochRecord) -> None:
        nonlocal reported
        if record.val_top1 is None or record.epoch <= reported:
            return
        reported = record.epoch
        trial.report(record.val_top1, record.epoch)
        trial.set_user_attr("top1", max(record.val_top1, trial.user_attrs.get("top1", 0.0)))
        trial.set_user_attr("epochs", record.epoch)
        if record.epoch < tried.training.epochs and trial.should_prune():
            raise _Pruned

    if run.metrics.is_file():
        for record in read_records(run.metrics):
            report(record)
    train(tried, run, report)
    best = best_record(read_records(run.metrics)) if run.metrics.is_file() else None
    if best is None:
        raise ConfigError("nothing to compare trials by: without epochs, or on train+val, nothing is validated")
    trial.set_user_attr("top1", best.val_top1)


def _fit(recipe: Recipe, run: Run, on_epoch: Callable[[EpochRecord], None]) -> None:
    from fastsketch.training.fit import fit

    fit(recipe, run, resume=run.begun, on_epoch=on_epoch)


def _outcome(trial: FrozenTrial, out: Path) -> Outcome:
    state = trial.state.name.lower().replace("fail", "failed")
    known = trial.user_attrs
    settings = dict(trial.params)
    return Outcome(trial.number, state, known.get("top1"), known.get("epochs", 0), settings, out / known[RUN])
