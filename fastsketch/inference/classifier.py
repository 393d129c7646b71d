"""`Classifier`: a trained model, with all that it needs to be shown a sketch as it was in training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast, overload

import torch
from torch import Tensor, nn

from fastsketch.config import TrainingConfig
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError
from fastsketch.inference.inputs import Sketch, batches, is_one
from fastsketch.models.zoo import to_device
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.precision import resolve_precision
from fastsketch.training.run.checkpoint import class_names, holds_model, load_model
from fastsketch.training.run.directory import Run
from fastsketch.training.validation import predict_logits

BATCH = 64
"""Sketches that the model is shown at once."""


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


class Classifier:
    """A trained model that is asked what sketches show.

        classifier = Classifier.load("runs/first")
        classifier.predict("cat.png").labels[0]

    A sketch goes the way that it would have gone through `convert` and validation, to the same bits: made gray, upright
    and square at the data set's size, then shrunk and normalised for the model, which is shown as many patches as it
    was in validation, and the mirror image too where the recipe says so.

    Args:
        model: In evaluation mode when asked.
        preprocess: What it is shown.
        classes: Their names, in label order.
        size: Side in pixels of what was stored of a sketch, at least `preprocess.size`.
        resize: Name of the resampling filter that made it so.
        flip: Whether the mean with the mirror image's probabilities is taken.
        precision: What the model computes in.
        device: Where.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess,
        classes: list[str],
        *,
        size: int,
        resize: str = "bilinear",
        flip: bool = False,
        precision: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.model = to_device(model, self.device).eval()
        self.preprocess = preprocess
        self.classes = classes
        self.size, self.resize, self.flip, self.precision = size, resize, flip, precision

    @classmethod
    def load(cls, source: Run | str | Path, *, checkpoint: str = "best", device: str = "auto") -> Classifier:
        """The model of a run, or of a folder with `model.safetensors` and `config.json`.

        Such a folder says nothing of the data set: sketches are then made as large as the model's input at once, and
        are not mirrored.

        Args:
            source: The run, or its folder, or the model's.
            checkpoint: `best` or `last`, of a run.
            device: `auto`, or torch's name of one.

        Raises:
            ConfigError: There is no run and no model, or no such device.
            DataError: It is damaged.
        """
        where = resolve_device(device)
        root = source.root if isinstance(source, Run) else Path(source)
        if holds_model(root) and not Run(root).config.is_file():
            model, preprocess = load_model(root)
            precision = resolve_precision(TrainingConfig().precision, where)
            return cls(model, preprocess, class_names(root), size=preprocess.size, precision=precision, device=where)
        run = Run.open(root)
        if not holds_model(run.root / checkpoint):
            raise ConfigError(f"{run.root / checkpoint} holds no model", hint="a run has best and last, after an epoch")
        recipe, dataset = run.recipe(), run.dataset()
        model, preprocess = load_model(run.root / checkpoint)
        return cls(
            model,
            preprocess,
            dataset.classes,
            size=dataset.size,
            resize=dataset.resize,
            flip=recipe.evaluation.flip,
            precision=resolve_precision(recipe.training.precision, where),
            device=where,
        )

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
        if topk < 1:
            raise ConfigError(f"topk is {topk}", hint="ask for one class at least")
        if is_one(sketches):
            return self._predict([cast(Sketch, sketches)], topk)[0]
        return self._predict(cast(Iterable[Sketch], sketches), topk)

    def _predict(self, sketches: Iterable[Sketch], topk: int) -> list[Prediction]:
        found: list[Prediction] = []
        for batch in batches(sketches, self.size, self.resize, BATCH):
            probabilities, ids = self.probabilities(torch.from_numpy(batch)).topk(min(topk, len(self.classes)))
            for shares, places in zip(probabilities.tolist(), ids.tolist(), strict=True):
                found.append(Prediction(tuple(self.classes[place] for place in places), tuple(shares), tuple(places)))
        return found

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities of images as a data set stores them.

        Args:
            images: uint8 [B, 1, size, size], paper = 255, on any device.

        Returns:
            float32 [B, C], on the CPU.
        """
        logits = predict_logits(
            self.model, self.preprocess, images.to(self.device), flip=self.flip, precision=self.precision
        )
        return logits.softmax(dim=1).cpu()
