"""Every choice a user can make, one model a stage, with the defaults.

All errors of a configuration are reported at once, each unknown key with the nearest valid one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from fastsketch import atomic
from fastsketch.problems import validated as validated


def _nameable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("no path has a null character in it")
    return path


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Images = Annotated[int, Field(ge=1, le=65_536)]
"""At a time: more would be a slip, and its memory is asked for before anything is learned."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What torch's and NumPy's generators take as it is."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Of a hidden layer. Two of the widest have 17 GB of weights between them."""
Workers = Annotated[int, Field(ge=0, le=1024)]
Word = Annotated[str, Field(max_length=200)]
Side = Annotated[int, Field(ge=8, le=4096)]
PathName = Annotated[Path, AfterValidator(_nameable)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
ElementSide = Annotated[int, Field(ge=1, le=31)]
BetaParameter = Annotated[float, Field(ge=0, le=32)]


class _Stage(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConvertConfig(_Stage):
    """Raw data → data set.

    Attributes:
        size: Side of the square images in pixels.
        resize: Resampling filter; all but `nearest` are anti-aliased.
        split: Samples a class (`48/9/23`) or fractions (`0.8/0.1/0.1`) for sources that do not come split.
        seed: Seed of the split.
        classes: Keep the first so many classes only.
        strict: Stop at the first unreadable image instead of skipping it.
        overwrite: Replace an existing data set.
        workers: Decoding processes; 0 means one for each available core.
        format: `pack` is always written; `ffcv`, `dali` or `all` of them come beside it.
    """

    size: Side = 224
    resize: Literal["bilinear", "box", "bicubic", "lanczos", "nearest"] = "bilinear"
    split: Word | None = None
    seed: Seed = 0
    classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    strict: bool = False
    overwrite: bool = False
    workers: Workers = 0
    format: Literal["pack", "ffcv", "dali", "all"] = "pack"


class DataConfig(_Stage):
    """Data set → batches.

    Attributes:
        path: The converted data set.
        batch_size: Training images a step; the ragged last batch of an epoch is dropped.
        eval_batch_size: Images a step in validation, where the last batch is kept.
        loader: `auto` puts a split on the device if it fits there easily (`resident`); else it takes the first of
            `ffcv`, `dali` and `pack` that is installed and that the data set has files for.
        train_split: `train`, or `train+val` for a last run, as the report's: nothing is left to choose the best epoch
            by, so that validation is left out and `best/` is `last/`.
        verify: Compare every byte of the data set with its checksum before a second epoch begins: what is loaded as a
            whole while it is loaded, the rest in the background. Labels and all that is small are compared in any case.
    """

    path: PathName | None = None
    train_split: Literal["train", "train+val"] = "train"
    batch_size: Images = 32
    eval_batch_size: Images = 128
    loader: Literal["auto", "resident", "ffcv", "dali", "pack"] = "auto"
    verify: bool = True


class AugmentConfig(_Stage):
    """Random changes to each training image, drawn anew for every sample; in the order in which they are applied.

    Attributes:
        engine: `fused` is ours; `kornia` the same from Kornia's stock modules, the baseline of benchmarks and tests,
            which knows only affine, flip, thicker lines, MixUp and CutMix.
        rotation: Largest angle in degrees, either way.
        translation: Largest shift as a share of the side, either way, in x and in y.
        scale: Smallest and largest factor of size.
        shear: Largest shear angle in degrees, either way, in x and in y.
        flip: Probability of a horizontal flip.
        perspective: Largest inward shift of each corner, as a share of half the side; 0 is off.
        elastic: Standard deviation of a smooth random displacement (Ronneberger et al., 2015), as a share of the side;
            0 is off. U-Net's is 10 px on 512, 0.02.
        thickness: Probability that the lines change their thickness.
        thickness_range: Smallest and largest side, in pixels, of the square that the pen is widened by (dilation with
            a flat element). A line of 2 px becomes 3 px wide with side 2.
        thinning: Share of those samples whose lines get thinner instead (erosion). It deletes lines that are not
            wider than the square.
        erasing: Probability that a rectangle is erased to paper (Zhong et al., 2020).
        erasing_area: Smallest and largest share of the image that it covers.
        mixup: alpha of MixUp's Beta(alpha, alpha) (Zhang et al., 2018); 0 is off, 1 uniform.
        cutmix: alpha of CutMix's (Yun et al., 2019); 0 is off.
        mix_probability: Probability that a sample is mixed with another, if `mixup` or `cutmix` is on.
        cutmix_share: Share of CutMix among the mixed samples, if both are on.
        normalize: `unit` leaves [0, 1] (the report's best); `standard` uses the training split's mean and standard
            deviation; `pretrained` uses those of the model's pretrained weights.
    """

    engine: Literal["fused", "kornia"] = "fused"
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    translation: Annotated[float, Field(ge=0, le=1)] = 0.1
    # Far beyond these bounds a matrix has no inverse in float32, and NaN would enter the training.
    scale: tuple[Scale, Scale] = (0.9, 1.1)
    shear: Annotated[float, Field(ge=0, le=75)] = 10.0
    flip: Probability = 0.5
    perspective: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    thickness: Probability = 0.0
    thickness_range: tuple[ElementSide, ElementSide] = (2, 3)
    thinning: Probability = 0.0
    erasing: Probability = 0.0
    erasing_area: tuple[Probability, Probability] = (0.02, 0.33)
    mixup: BetaParameter = 0.0
    cutmix: BetaParameter = 0.0
    mix_probability: Probability = 1.0
    cutmix_share: Probability = 0.5
    normalize: Literal["unit", "standard", "pretrained"] = "unit"

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with each other."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0

    @field_validator("scale", "thickness_range", "erasing_area")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("the smallest comes first")
        return bounds

    @model_validator(mode="after")
    def _within_kornia(self) -> AugmentConfig:
        if self.engine == "kornia":
            beyond = [name for name in ("perspective", "elastic", "thinning", "erasing") if getattr(self, name)]
            if beyond:
                raise ValueError(f"engine kornia does not do {', '.join(beyond)}")
            if self.mixup not in (0, 1):
                raise ValueError("engine kornia mixes with a uniform share only: mixup is 0 or 1")
        return self


MOST_PATCHES = 262_144
"""Of the largest image in the smallest patches: 4096 px in 8 × 8."""


class ModelConfig(_Stage):
    """A timm model with one gray input channel.

    Attributes:
        name: A short name (`fastsketch.models.zoo.SHORT_NAMES`) or any name that timm knows.
        weights: Local .safetensors or .pth file of tensors, in timm's keys for this model.
        pretrained: Fetch timm's pretrained weights from the hub: the only thing that uses the network.
        dropout: Dropout before the classifier head.
        drop_path: Stochastic depth (Huang et al., 2016): probability with which the deepest block is skipped.
        head_hidden: Sizes of hidden layers between the backbone and the classifier, each with GELU and `dropout` after
            it; none is timm's own linear head. Plain timm opens such a model's backbone only.
        tokens: Patches of each image that a vision transformer sees in training, those with ink first
            (`fastsketch.models.ink_tokens`): `all`, a number, or `auto`, so many as hold all ink of 95 % of the
            augmented training images.
        eval_tokens: Those that it sees in evaluation: `same` as in training, `all`, or a number.
    """

    name: Word = "vit_small"
    weights: PathName | None = None
    pretrained: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head_hidden: Annotated[tuple[Width, ...], Field(max_length=16)] = ()
    tokens: Literal["all", "auto"] | int = "all"
    eval_tokens: Literal["same", "all"] | int = "same"

    @field_validator("tokens", "eval_tokens", mode="before")
    @classmethod
    def _words_or_count(cls, value: object, info: ValidationInfo) -> object:
        words = ("all", "auto") if info.field_name == "tokens" else ("same", "all")
        number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PATCHES
        if number or (isinstance(value, str) and value in words):
            return value
        raise ValueError(f"must be {words[0]}, {words[1]} or a number of patches from 1 to {MOST_PATCHES:,}")


class OptimizerConfig(_Stage):
    """An optimizer from timm's factory.

    Attributes:
        name: timm's name: `momentum` is SGD with momentum, `sgd` adds Nesterov's, `adamw`, `lamb`, ...
        lr: Peak learning rate.
        momentum: For those optimizers that have one.
        weight_decay: Not applied to biases and normalisation layers.
        layer_decay: Factor of the learning rate from each layer to the one before it (Clark et al., 2020); 1 is off.
            A ViT-S or -B has 13 layers before its classifier, as timm counts, a ResNet-50 17.
    """

    name: Word = "momentum"
    lr: Positive = 5e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weight_decay: NotNegative = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class ScheduleConfig(_Stage):
    """The learning rate over the steps of training.

    Attributes:
        name: `cosine` falls from `optimizer.lr` to `min_lr` (Loshchilov and Hutter, 2017); `exponential` is multiplied
            by `decay_rate` from epoch to epoch, evenly over the steps; `constant` stays.
        warmup_epochs: Epochs of linear warm-up from `warmup_lr` to `optimizer.lr` before it.
        min_lr: Of `cosine`.
        decay_rate: Of `exponential`.
    """

    name: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    warmup_lr: NotNegative = 0.0
    min_lr: NotNegative = 0.0
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9


class TrainingConfig(_Stage):
    """The loop.

    Attributes:
        epochs: Passes over the training split.
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
        clip_norm: Largest norm of the gradient; a longer one is shortened to it. None is off.
        freeze_epochs: For so many epochs only the classifier head is trained; the statistics of the backbone's batch
            normalisation stay as they are.
        ema: Decay of the exponential moving average of the weights, a step; it is what is validated, saved and
            evaluated then. 0 is off.
        patience: Stop when validation top-1 has not improved for so many epochs. None is off.
        max_minutes: Stop in time, with everything saved, to be resumed later. None is off.
        save_minutes: Longest time between two writes of `resume.pt`, within an epoch as well.
        image_sizes: Progressive resizing: sides in pixels, none larger than the data set's, in turn over equal parts of
            the epochs, at which the images are augmented and trained on; one that is repeated has a larger part.
            Validation and the saved model have the last of them. None is the data set's own throughout.
        trackers: Where the metrics go besides JSON lines and CSV.
    """

    epochs: Epochs = 30
    seed: Seed = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    device: Word = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: Literal["auto", "eager", "default", "reduce-overhead", "cudagraphs"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    micro_batch: Images | None = None
    clip_norm: Positive | None = None
    freeze_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Epochs | None = None
    max_minutes: Positive | None = None
    save_minutes: NotNegative = 5.0
    image_sizes: Annotated[tuple[Side, ...], Field(max_length=1000)] = ()
    trackers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Field(max_length=2)] = ()


class EvaluationConfig(_Stage):
    """Validation and `evaluate`.

    Attributes:
        flip: Average the class probabilities of each image and its mirror image: twice the time.
    """

    flip: bool = False


class Recipe(_Stage):
    """A whole training run: one of these, resolved, is the `config.yaml` of a run.

    Attributes:
        description: One line for `fastsketch recipes`.
    """

    description: Annotated[str, Field(max_length=1000)] = ""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _partners(self) -> Recipe:
        if self.augment.mixes and self.data.batch_size < 2:
            raise ValueError("augment.mixup and augment.cutmix need data.batch_size of 2 or more: partners to mix with")
        return self

    def save(self, path: Path) -> None:
        """Write the recipe in full as YAML, atomically."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic.write_text(path, text)
