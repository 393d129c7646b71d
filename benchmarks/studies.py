"""A study of accuracy: the same sketches and weights, trained in several ways with several seeds, each on one core."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, TypeVar

from rich.console import Console

from fastsketch.formats.metadata import DatasetMetadata

from .common import processes_at_once, results_of
from .originals import imagenet_weights, labelled_dataset

ResultT = TypeVar("ResultT")
StudyT = TypeVar("StudyT", bound="Study")

console = Console(highlight=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """How large everything is: a timm model, images of `size` px of the first `classes`."""

    model: str
    size: int
    classes: int
    seeds: int


def train_all(
    study: StudyT,
    train: Callable[Concatenate[StudyT, Path, Path | None, Path, ...], ResultT],
    asked: Iterable[tuple[object, ...]],
    line: Callable[[ResultT], str],
) -> tuple[list[ResultT], dict[str, Any], str]:
    """Train what is asked for, and print a line of each as it ends.

    Args:
        study: Its model, sketches and how many.
        train: Called with the study, the converted data set, the model's ImageNet weights if they are at hand, a folder
            for runs, and what is asked for.
        asked: Arguments of each training.
        line: What is printed of a result.

    Returns:
        The results in their order, the settings for the record, and a title for the plot.
    """
    results: list[ResultT] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset, weights = labelled_dataset(folder, study.size, study.classes), imagenet_weights(study.model)
        for result in results_of(train, [(study, dataset, weights, folder, *each) for each in asked]):
            results.append(result)
            console.print(line(result))
        metadata = DatasetMetadata.load(dataset)
    sketches = {split: metadata.split(split).samples for split in ("train", "val")}
    settings = {
        **asdict(study), "classes": len(metadata.classes), **sketches, "pretrained": weights is not None,
        "processes": processes_at_once(),
    }  # fmt: skip
    return results, settings, f"{study.model}, {sketches['val']} sketches of {len(metadata.classes)} classes"
