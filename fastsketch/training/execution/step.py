"""One optimisation step, from a uint8 batch to changed weights, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from fastsketch.augment import SketchAugment, Targets
from fastsketch.augment.params import AugmentParams
from fastsketch.config import TrainingConfig
from fastsketch.errors import ConfigError
from fastsketch.loaders import Batch
from fastsketch.training.execution.precision import autocast
from fastsketch.training.loss import mixed_cross_entropy

PROBE_SCALE = 2.0**10
"""Of a float16 loss in a trial: the scaler's first, 2^16, often overflows, and then there is no gradient to compare."""

Augment = Callable[[Tensor, Tensor, AugmentParams], tuple[Tensor, Targets]]
LossOf = Callable[[Tensor, Targets], Tensor]


class Probe(NamedTuple):
    """What a trial step gave: loss, norm of the gradient, both of the whole batch."""

    loss: float
    grad_norm: float


class TrainStep:
    """Augment, forward, backward, update.

    The whole batch is augmented at once, so that MixUp and CutMix find their partners in all of it. The model sees it
    in micro-batches whose gradients add up to the batch's. Augmentation and loss are two functions, each of which may
    be exchanged for its compiled form; nothing in a step depends on which it is.

    Args:
        model: In training mode when called; wrapped for several processes already.
        augment: What augments.
        optimizer: Of the model's parameters.
        scaler: Scales a float16 loss; disabled otherwise.
        precision: What the model computes in.
        micro_batch: Images that the model sees at once, a divisor of the batch.
        config: Label smoothing and clipping.

    Attributes:
        augment: What augments.
        loss_of: Forward pass and loss of a micro-batch.
        micro_batch: As above; may be changed between steps.
        precision: As above.
    """

    augment: Augment
    loss_of: LossOf

    def __init__(
        self,
        model: nn.Module,
        augment: SketchAugment,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        precision: torch.dtype,
        micro_batch: int,
        config: TrainingConfig,
    ) -> None:
        self.model = model
        self.augment = augment
        self.loss_of = self._loss_of
        self.micro_batch = micro_batch
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = optimizer
        self._scaler = scaler
        self.precision = precision
        self._config = config

    def __call__(self, batch: Batch, params: AugmentParams) -> Tensor:
        """Change the weights; return the batch's mean loss, float32 [], on the device.

        Args:
            batch: uint8 images and labels.
            params: From `SketchAugment.sample_params`, for these samples.
        """
        images, targets = self.augment(batch.images, batch.labels, params)
        self._optimizer.zero_grad()
        loss = self._accumulate(images, targets, self._scaler.scale)
        if self._config.clip_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            clip_grad_norm_(self._parameters, self._config.clip_grad_norm)
        # With an optimizer that is not fused a float16 scaler waits here, to learn whether the step is to be skipped.
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss

    def probe(self, batch: Batch, params: AugmentParams, seed: int) -> Probe:
        """A step that changes nothing, read by the host: gradients are dropped, batch-norm statistics put back."""
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        torch.manual_seed(seed)
        try:
            images, targets = self.augment(batch.images, batch.labels, params)
            scale = PROBE_SCALE if self._scaler.is_enabled() else 1.0
            loss = float(self._accumulate(images, targets, lambda part: part * scale))
            norm = nn.utils.get_total_norm(
                [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            )
            return Probe(loss, float(norm) / scale)
        finally:
            self._optimizer.zero_grad()
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                    buffer.copy_(before)

    def state_to_come(self) -> list[Tensor]:
        """As much memory as an optimizer like Adam is going to take at its first step."""
        missing = [parameter for parameter in self._parameters if parameter not in self._optimizer.state]
        return [torch.empty_like(parameter) for parameter in missing for _ in range(2)]

    def _accumulate(self, images: Tensor, targets: Targets, scaled: Callable[[Tensor], Tensor]) -> Tensor:
        """Forward and backward over all micro-batches; returns the batch's mean loss."""
        parts = len(images) // self.micro_batch
        total = torch.zeros((), device=images.device)
        pieces = zip(images.chunk(parts), *(tensor.chunk(parts) for tensor in targets), strict=True)
        for number, (piece, *labels) in enumerate(pieces, 1):
            with nullcontext() if number == parts else self._unsynchronised():
                loss = self._part(piece, Targets(*labels)) / parts
                scaled(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _part(self, images: Tensor, targets: Targets) -> Tensor:
        """The mean loss of a micro-batch."""
        try:
            return self.loss_of(images, targets)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"batch normalisation wants more than {len(images)} image of {images.shape[-1]} px at once",
                hint="choose a larger training.micro_batch, data.batch_size or image size, or another model",
            ) from error

    def _loss_of(self, images: Tensor, targets: Targets) -> Tensor:
        with autocast(images.device, self.precision):
            logits = self.model(images)
        return mixed_cross_entropy(logits, targets, self._config.label_smoothing)

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """Between micro-batches the processes need not exchange gradients."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()
