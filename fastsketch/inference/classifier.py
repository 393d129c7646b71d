"""`Classifier`: trained models, with all that they need to be shown a sketch as they were in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from fastsketch.conversion.reading import Reading
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError
from fastsketch.inference.exported import Exported
from fastsketch.inference.saved import SavedModel, Source
from fastsketch.inference.sketch import Sketch, is_one, read_sketch
from fastsketch.models.zoo import to_device
from fastsketch.training.execution.precision import resolve_inference_precision
from fastsketch.training.logits import predict_logits
from fastsketch.training.run.checkpoint import load_model

BATCH = 64
"""Sketches that a model is shown at once."""


class Prediction(NamedTuple):
    """What a sketch may show, the likeliest first.

    Attributes:
        labels: Names of classes.
        probabilities: Theirs, in [0, 1].
        ids: Their places among the model's classes.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    ids: tuple[int, ...]


class Member(NamedTuple):
    """One model of a classifier.

    Attributes:
        model: On the classifier's device, in evaluation mode.
        preprocess: What makes the model's input of stored pixels.
        reading: How an original becomes what `preprocess` takes.
        flip: Whether the mean with the mirror image's probabilities is taken.
        precision: What it computes in.
        temperature: What its logits are divided by.
    """

    model: nn.Module
    preprocess: Callable[[Tensor], Tensor]
    reading: Reading
    flip: bool
    precision: torch.dtype
    temperature: float

    @classmethod
    def load(cls, saved: SavedModel, device: torch.device, flip: bool | None = None) -> Member:
        """A saved model with its weights.

        Raises:
            ConfigError: An exported one is asked for mirror images, of which that is settled.
            DataError: It is damaged.
        """
        if saved.exported:
            if flip and not saved.flip:
                raise ConfigError(f"{saved.folder} has the mirror image inside or not at all", hint="leave out --flip")
            as_it_is: Callable[[Tensor], Tensor] = nn.Identity()
            return cls(Exported(saved.folder), as_it_is, saved.reading, False, torch.float32, 1.0)
        model, preprocess = load_model(saved.folder)
        precision = resolve_inference_precision(saved.precision, device)
        flip = saved.flip if flip is None else flip
        model = to_device(model, device).eval()
        return cls(model, preprocess, saved.reading, flip, precision, saved.temperature)

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 [B, 1, S, S], paper = 255, S being the reading's size, on the model's device → float32 [B, C]."""
        logits = predict_logits(self.model, self.preprocess, images, flip=self.flip, precision=self.precision)
        return (logits / self.temperature).softmax(dim=1)


class Classifier:
    """A trained model, or several of the same classes, asked what sketches show.

        classifier = Classifier.load("runs/first")
        classifier.predict("cat.png").labels[0]

    A sketch goes the way that it would have gone through `convert` and validation, to the same bits: made gray, upright
    and square at the data set's size, then shrunk and normalised for the model, which is shown as many patches as it
    was in validation, and the mirror image too where the recipe says so. Of several models, which may be of other
    architectures and sizes, the mean of the probabilities counts.

    Args:
        members: The models.
        classes: Their names, in label order.
        device: Where the models are.
    """

    def __init__(self, members: Sequence[Member], classes: list[str], device: torch.device) -> None:
        self.members = list(members)
        self.classes = classes
        self.device = device

    @classmethod
    def load(
        cls,
        source: Source | Iterable[Source],
        *,
        checkpoint: str = "best",
        device: str = "auto",
        flip: bool | None = None,
        invert: str | None = None,
        clean_photo: bool | None = None,
    ) -> Classifier:
        """The model of a run, of a folder with `model.safetensors` and `config.json`, or of an exported file.

        Args:
            source: Runs, their folders, or models' folders; see `SavedModel.find`.
            checkpoint: `best` or `last`, of a run.
            device: `auto`, or torch's name of one.
            flip: Take the mean with the mirror image's probabilities; None is what each recipe says.
            invert: Turn over what is light on dark: `yes`, `no` or `auto`; None is what each data set says.
            clean_photo: Clean photographs; None is what each data set says.

        Raises:
            ConfigError: There is no run and no model, classes differ, or there is no such device.
            DataError: A model is damaged.
        """
        several = isinstance(source, Iterable) and not isinstance(source, str)
        sources = cast("Iterable[Source]", source) if several else [cast(Source, source)]
        found = [saved.read_as(invert, clean_photo) for saved in SavedModel.find_all(sources, checkpoint)]
        return cls.of(found, device=device, flip=flip)

    @classmethod
    def of(cls, saved: Sequence[SavedModel], *, device: str = "auto", flip: bool | None = None) -> Classifier:
        """Models that were found already, of the same classes. Arguments and errors as those of `load`."""
        where = resolve_device(device)
        return cls([Member.load(each, where, flip) for each in saved], saved[0].classes, where)

    @property
    def readings(self) -> list[Reading]:
        """How originals are read: each way that a member needs, once."""
        return list(dict.fromkeys(member.reading for member in self.members))

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path iterates over strings, too: as one sketch it comes first
        self, sketches: Sketch, topk: int = 5
    ) -> Prediction: ...

    @overload
    def predict(self, sketches: Iterable[Sketch], topk: int = 5) -> list[Prediction]: ...

    def predict(self, sketches: Sketch | Iterable[Sketch], topk: int = 5) -> Prediction | list[Prediction]:
        """What one sketch, or each of several, shows.

        Args:
            sketches: Files, PIL images, pixels (uint8 [H, W], or [H, W, 1, 3 or 4]) or Quick, Draw! records
                (`{"drawing": [[xs, ys], …]}`), of any size; colour, transparency and EXIF's orientation are seen to.
            topk: So many classes of each; all, where there are fewer.

        Raises:
            ConfigError: That is no sketch, or `topk` is below 1.
            DataError: One cannot be decoded.
        """
        check_topk(topk)
        if is_one(sketches):
            return self._predict([cast(Sketch, sketches)], topk)[0]
        remaining, found = iter(cast(Iterable[Sketch], sketches)), []
        while batch := list(islice(remaining, BATCH)):  # no more than these are in memory
            found += self._predict(batch, topk)
        return found

    def _predict(self, sketches: Sequence[Sketch], topk: int) -> list[Prediction]:
        read = {each: np.stack([read_sketch(sketch, each)[None] for sketch in sketches]) for each in self.readings}
        return self.ranked(self.probabilities({each: torch.from_numpy(images) for each, images in read.items()}), topk)

    @torch.inference_mode()
    def probabilities(self, images: dict[Reading, Tensor]) -> Tensor:
        """Class probabilities: the mean of the members'.

        Args:
            images: uint8 [B, 1, size, size] of the same sketches, paper = 255, on any device, by how they were read.

        Returns:
            float32 [B, C], on the CPU.
        """
        moved = {reading: batch.to(self.device) for reading, batch in images.items()}
        each = [member.probabilities(moved[member.reading]) for member in self.members]
        return torch.stack(each).mean(dim=0).cpu()

    def ranked(self, probabilities: Tensor, topk: int) -> list[Prediction]:
        """The `topk` likeliest classes of each row of probabilities, float32 [B, C]."""
        values, places = probabilities.topk(min(topk, len(self.classes)))
        return [
            Prediction(tuple(self.classes[label] for label in labels), tuple(shares), tuple(labels))
            for shares, labels in zip(values.tolist(), places.tolist(), strict=True)
        ]


def check_topk(topk: int) -> None:
    """Make sure that so many classes can be asked for.

    Raises:
        ConfigError: They cannot.
    """
    if topk < 1:
        raise ConfigError(f"topk is {topk}", hint="ask for one class at least")
