"""Every choice a user can make, one model a stage, with the defaults.

All errors of a configuration are reported at once, each unknown key with the nearest valid one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from fastsketch import atomic
from fastsketch.errors import ConfigError

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
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

    size: Annotated[int, Field(ge=8, le=4096)] = 224
    resize: Literal["bilinear", "box", "bicubic", "lanczos", "nearest"] = "bilinear"
    split: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    classes: Count | None = None
    strict: bool = False
    overwrite: bool = False
    workers: Annotated[int, Field(ge=0)] = 0
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
    """

    path: Path | None = None
    train_split: Literal["train", "train+val"] = "train"
    batch_size: Count = 32
    eval_batch_size: Count = 128
    loader: Literal["auto", "resident", "ffcv", "dali", "pack"] = "auto"


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

    name: str = "vit_small"
    weights: Path | None = None
    pretrained: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head_hidden: tuple[Count, ...] = ()
    tokens: Literal["all", "auto"] | int = "all"
    eval_tokens: Literal["same", "all"] | int = "same"

    @field_validator("tokens", "eval_tokens", mode="before")
    @classmethod
    def _words_or_count(cls, value: object, info: ValidationInfo) -> object:
        words = ("all", "auto") if info.field_name == "tokens" else ("same", "all")
        if value in words or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        raise ValueError(f"must be {words[0]}, {words[1]} or a number of patches from 1")


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

    name: str = "momentum"
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
    warmup_epochs: NotNegative = 0.0
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

    epochs: Count = 30
    seed: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: Literal["auto", "eager", "default", "reduce-overhead", "cudagraphs"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    micro_batch: Count | None = None
    clip_norm: Positive | None = None
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count | None = None
    max_minutes: Positive | None = None
    save_minutes: NotNegative = 5.0
    image_sizes: tuple[Annotated[int, Field(ge=8, le=4096)], ...] = ()
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()


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

    description: str = ""
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


_ModelT = TypeVar("_ModelT", bound=BaseModel)


def validated(model: type[_ModelT], values: Mapping[str, Any], origin: str) -> _ModelT:
    """Validate `values` as `model`.

    Raises:
        ConfigError: Everything that is wrong, a line each, with the nearest valid key for each unknown one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_problem(model, details) for details in error.errors()]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise ConfigError(f"{count} in the {origin}:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problem(model: type[BaseModel], details: ErrorDetails) -> str:
    """One of pydantic's errors as one line."""
    key = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        keys = _dotted_keys(model)
        # Most often the stage was forgotten or mixed up: `lr` and `training.lr` mean `optimizer.lr`.
        same = [known for known in keys if known.split(".")[-1] == key.split(".")[-1]]
        near = same or difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
        return f"{key}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if details["type"] == "value_error" and isinstance(details["input"], dict | BaseModel):
        return f"{key}: {message}".removeprefix(": ")  # about several keys of a stage together, which it names
    return f"{key}: {message} (got {details['input']!r})"


def _dotted_keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += [name, *(f"{name}.{key}" for key in _dotted_keys(inner))]
        else:
            keys.append(name)
    return keys
