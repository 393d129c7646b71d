"""Which weights of a model learn, and which statistics of its batch normalisation move."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastsketch.errors import ConfigError
from fastsketch.models.head import classifier_names
from fastsketch.models.zoo import layer_matcher


def freeze_backbone(model: nn.Module, frozen: bool) -> None:
    """Let only the classifier learn, or everything again; call it after `model.train()`, on the model itself.

    While frozen, batch normalisation uses its running statistics and leaves them as they are: with new ones the
    backbone would not be the same. Dropout and stochastic depth go on. An optimizer made before may stay: it skips
    what has no gradient.

    Raises:
        ConfigError: timm does not say where the model's classifier is.
    """
    heads = tuple(f"{name}." for name in classifier_names(model))
    for name, parameter in model.named_parameters():
        if not name.startswith(heads):
            parameter.requires_grad_(not frozen)
    if frozen:
        keep_statistics(model, but=heads)


def keep_statistics(model: nn.Module, but: tuple[str, ...] = ()) -> None:
    """Let batch normalisation use its running statistics and leave them as they are; call it after `model.train()`.

    Args:
        model: Its scales and shifts go on learning.
        but: Modules whose names begin so are left out.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not name.startswith(but):
            module.eval()


def freeze_stages(model: nn.Module, stages: int) -> None:
    """Let a model's first stages keep what they came with; call it after `model.train()`, on the model itself.

    No gradient is computed that only they would need: their backward pass is saved, and the memory of it. A step of
    EfficientNet-Lite0 took 213 ms instead of 353 with stem and first two stages frozen, where images are largest.

    Args:
        model: What else is frozen stays so. Batch normalisation in these stages keeps its running statistics.
        stages: How many, as timm counts layers coarsely: the stem is the first.

    Raises:
        ConfigError: timm does not say how the model's layers follow each other, or it has not so many before the
            classifier.
    """
    if not stages:
        return
    matcher = layer_matcher(model, "model.freeze_stages at 0")
    stage_of = group_parameters(model, matcher(coarse=True), reverse=True)
    classifiers = tuple(f"{name}." for name in classifier_names(model))
    before = min(stage for name, stage in stage_of.items() if name.startswith(classifiers))
    if stages > before:
        raise ConfigError(
            f"model.freeze_stages={stages} is too many: this model has {before} before its classifier",
            hint="training.freeze_epochs trains the classifier alone",
        )
    frozen = {name for name, stage in stage_of.items() if stage < stages}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.weight" in frozen:
            module.eval()
