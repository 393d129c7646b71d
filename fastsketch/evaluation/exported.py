"""An exported file over a split of a data set, by the same pass as a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastsketch.errors import ConfigError
from fastsketch.formats.classes import check_same_classes
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.inference.saved import SavedModel
from fastsketch.urls import written

if TYPE_CHECKING:
    from fastsketch.training.validation import Scores


def evaluate_exported(path: str | Path, data: str | Path | None, split: str = "val") -> Scores:
    """Score what `fastsketch export` wrote; the loss is that of its probabilities, temperature included.

    Args:
        path: A `.onnx` or `.pt2` file.
        data: A converted data set of its classes and its size.
        split: Of it.

    Raises:
        ConfigError: There is no such file, data set or split, or they do not fit each other.
        BackendMissing: onnxruntime is not installed.
        DataError: The file or the data set is damaged, or another program wrote the file.
    """
    saved = SavedModel.find(path)
    if data is None:
        raise ConfigError(f"{path} names no data set", hint="name it with --data")
    folder = Path(data)
    dataset = DatasetMetadata.load(folder)
    dataset.split(split)
    check_same_classes(saved.classes, dataset.classes, f"{written(folder)} has other classes than {path}")
    if dataset.size != saved.reading.size:
        raise ConfigError(
            f"{path} takes images of {saved.reading.size} px, {written(folder)} has {dataset.size} px",
            hint=f"convert its images with --size {saved.reading.size}",
        )

    import torch  # from here on there is something to compute

    from fastsketch.inference.classifier import BATCH, Member
    from fastsketch.loaders import Sampling, open_loader
    from fastsketch.training.validation import accuracy_metrics, validate

    cpu = torch.device("cpu")
    member = Member.load(saved, cpu)
    loader = open_loader(folder, dataset, split, Sampling(BATCH), cpu)
    return validate(member.model, member.preprocess, loader, accuracy_metrics(len(dataset.classes)))
