"""Several runs evaluated together: the mean of their probabilities, beside each alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsketch.errors import ConfigError
from fastsketch.evaluation.evaluate import evaluate_run
from fastsketch.evaluation.result import Evaluation
from fastsketch.formats.classes import check_same_classes
from fastsketch.formats.metadata import split_parts
from fastsketch.formats.pack import PackSplit
from fastsketch.training.run.directory import Run

if TYPE_CHECKING:
    from fastsketch.training.validation import Scores


class EnsembleEvaluation(NamedTuple):
    """What `evaluate_ensemble` found.

    Attributes:
        members: Each run by itself, in order.
        scores: Of the mean of their probabilities, each with its own temperature.
    """

    members: list[Evaluation]
    scores: Scores


def evaluate_ensemble(runs: Sequence[Run | str | Path], split: str = "val", **settings: Any) -> EnsembleEvaluation:
    """Evaluate each of several runs, and all of them together, as `Classifier` asks them together.

    They may be of other architectures, and of data sets of other sizes, of the same sketches.

    Args:
        runs: Existing runs, or their folders.
        split: See `evaluate_run`.
        settings: Its other arguments.

    Raises:
        ConfigError: See `evaluate_run`; or the runs are of other classes or sketches than the first.
        DataError: Likewise.
    """
    opened = [Run.open(Run.of(run).root) for run in runs]
    first = opened[0].dataset().classes
    for other in opened[1:]:
        message = f"{other.root} was trained on other classes than {opened[0].root}"
        check_same_classes(first, other.dataset().classes, message)
    members = [evaluate_run(run, split, **settings) for run in opened]
    ids = _ids(members[0])
    for member in members[1:]:
        if _ids(member) != ids:
            raise ConfigError(
                f"'{split}' of {member.subject.folder} holds other sketches than that of {members[0].subject.folder}",
                hint="evaluate all on one data set: --data",
            )
    return EnsembleEvaluation(members, _together(members))


def _ids(evaluation: Evaluation) -> list[str]:
    subject = evaluation.subject
    return [id for part in split_parts(subject.split) for id in PackSplit(subject.folder, subject.dataset, part).ids()]


def _together(members: Sequence[Evaluation]) -> Scores:
    import torch
    import torch.nn.functional as F

    from fastsketch.training.validation import Scores, accuracy_metrics

    each = [member.outputs.probabilities(member.calibration.temperature) for member in members]
    probabilities, labels = torch.stack(each).mean(dim=0), members[0].outputs.labels
    metrics = accuracy_metrics(probabilities.shape[1])
    metrics.update(probabilities, labels)
    found = metrics.compute()
    loss = F.nll_loss(probabilities.clamp_min(torch.finfo(torch.float32).tiny).log(), labels)
    return Scores(float(loss), float(found["top1"]), float(found["top5"]))
