"""The classifier of a timm model, and hidden layers in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from torch import nn

from fastsketch.errors import ConfigError


class MLPClassifier(nn.Sequential):
    """Linear, GELU and dropout for each hidden size, then linear: features [B, F] → logits [B, C].

    Args:
        classifier: The linear layer that it takes the place of. Some CNNs classify by a 1 × 1 convolution of the
            pooled map [B, F, 1, 1]: there every layer is one.
        hidden: Sizes of the hidden layers, the first of them next to the backbone.
        dropout: Probability after each of them; the one in front of the first is the model's own.
    """

    def __init__(self, classifier: nn.Linear | nn.Conv2d, hidden: Sequence[int], dropout: float) -> None:
        layer: Callable[[int, int], nn.Module]
        if isinstance(classifier, nn.Conv2d):
            width, classes, layer = classifier.in_channels, classifier.out_channels, partial(nn.Conv2d, kernel_size=1)
        else:
            width, classes, layer = classifier.in_features, classifier.out_features, nn.Linear
        layers: list[nn.Module] = []
        for before, size in zip((width, *hidden), hidden, strict=False):
            layers += [layer(before, size), nn.GELU(), nn.Dropout(dropout)]
        super().__init__(*layers, layer(hidden[-1], classes))
        self.hidden = tuple(hidden)


def add_hidden_layers(model: nn.Module, hidden: Sequence[int], dropout: float = 0.0) -> None:
    """Put hidden layers in front of each classifier of a timm model, with new weights; arguments as `MLPClassifier`'s.

    timm itself knows no such head: for `load_model` the sizes are saved in `config.json`. Plain timm opens the backbone
    of such a model (`num_classes=0`, or another number of classes), and refuses the whole with the names of the
    missing tensors.

    Raises:
        ConfigError: timm does not say where the model's classifier is, or it is not a linear layer.
    """
    for name in classifier_names(model):
        classifier = model.get_submodule(name)
        if not isinstance(classifier, nn.Linear | nn.Conv2d):
            raise ConfigError(
                f"the classifier of this model is a {type(classifier).__name__}: no hidden layers can be put before it",
                hint="leave model.head_hidden empty, or choose another model",
            )
        model.set_submodule(name, MLPClassifier(classifier, hidden, dropout))


def linear_classifiers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The classifiers of a model by their names, each of which is one linear layer, or one 1 × 1 convolution.

    Raises:
        ConfigError: One is something else, or timm does not say where it is.
    """
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    for name in classifier_names(model):
        classifier = model.get_submodule(name)
        if not isinstance(classifier, nn.Linear) and not (
            isinstance(classifier, nn.Conv2d) and classifier.kernel_size == (1, 1) and classifier.groups == 1
        ):
            raise ConfigError(
                f"the classifier of this model is no linear layer but a {type(classifier).__name__}",
                hint="leave model.head_init at random, or choose another model",
            )
        found[name] = classifier
    return found


def zero_classifiers(model: nn.Module) -> None:
    """Let every class be as likely as any other at first.

    Raises:
        ConfigError: A classifier is not linear.
    """
    for classifier in linear_classifiers(model).values():
        nn.init.zeros_(classifier.weight)
        if classifier.bias is not None:
            nn.init.zeros_(classifier.bias)


def hidden_sizes(model: nn.Module) -> tuple[int, ...]:
    """The sizes that `add_hidden_layers` was given; empty for timm's own head."""
    heads = [module for module in model.modules() if isinstance(module, MLPClassifier)]
    return heads[0].hidden if heads else ()


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the classifier's modules: one, or several in models that are distilled or have auxiliary heads.

    Raises:
        ConfigError: timm does not say.
    """
    classifier = cast(dict[str, Any], model.pretrained_cfg).get("classifier")
    if not classifier:
        raise ConfigError("timm does not say where the classifier of this model is", hint="choose another model")
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)
