"""The training loop, and evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastsketch.config.section import Epochs, EpochsOrNone, Images, NotNegative, Positive, Section, Seed, Side, Word


class TrainingConfig(Section):
    """The loop.

    Attributes:
        epochs: Passes over the training split; 0 where `model.head_init` is `ridge` and that is enough.
        seed: Decides initial weights, data order, augmentation and dropout.
        label_smoothing: Share of the target spread over all classes.
        device: `auto` takes a GPU if there is one.
        precision: `auto` is bfloat16 on GPUs of compute capability 8.0 and above, float16 with a scaled loss below
            (T4), float32 elsewhere.
        compile: `eager`, or how Inductor compiles the step: `default`, `reduce-overhead` (with CUDA graphs), or
            `cudagraphs`, which needs no Triton. `auto` is what `fastsketch tune` found best on this device; without
            it, `default` on a GPU and `eager` elsewhere. What fails, or departs from eager, falls back to eager.
        channels_last: Convolutions' memory order: pixel by pixel rather than channel by channel. `auto` is what
            `fastsketch tune` found best; without it, true.
        micro_batch: Images that pass through the model at once; the gradients of a batch are accumulated over its
            micro-batches. None is what `fastsketch tune` found best, else the whole batch; it halves by itself if
            memory does not suffice.
        clip_grad_norm: Largest norm of the gradient; a longer one is shortened to it. None is off.
        freeze_epochs: For so many epochs only the classifier head is trained; the statistics of the backbone's batch
            normalisation stay as they are.
        ema: Decay of the exponential moving average of the weights, a step; it is what is validated, saved and
            evaluated then. 0 is off.
        validate_every: Epochs from one validation to the next; the last epoch is always validated. Once one has been,
            only a validated epoch can be the best.
        patience: Stop when validation top-1 has not improved for so many epochs. None is off.
        max_minutes: Stop in time, with everything saved, to be resumed later. None is off.
        save_minutes: Longest time between two writes of `resume.pt`, within an epoch as well.
        image_sizes: Progressive resizing: sides in pixels, none larger than the data set's, in turn over equal parts of
            the epochs, at which the images are augmented and trained on; one that is repeated has a larger part.
            Validation and the saved model have the last of them. Without any it is the data set's throughout.
        loggers: Where the metrics go besides JSON lines and CSV.
    """

    epochs: EpochsOrNone = 30
    seed: Seed = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    device: Word = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: Literal["auto", "eager", "default", "reduce-overhead", "cudagraphs"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    micro_batch: Images | None = None
    clip_grad_norm: Positive | None = None
    freeze_epochs: EpochsOrNone = 0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: Epochs = 1
    patience: Epochs | None = None
    max_minutes: Positive | None = None
    save_minutes: NotNegative = 5.0
    image_sizes: Annotated[tuple[Side, ...], Field(max_length=1000)] = ()
    loggers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Field(max_length=2)] = ()

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, is followed by validation."""
        return epoch % self.validate_every == 0 or epoch >= self.epochs


class EvaluationConfig(Section):
    """Validation and `evaluate`.

    Attributes:
        flip: Average the class probabilities of each image and its mirror image: twice the time.
    """

    flip: bool = False
