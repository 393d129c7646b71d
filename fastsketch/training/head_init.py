"""`model.head_init=ridge`: one pass over the training images, and the classifier is solved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor, nn

from fastsketch.errors import ConfigError
from fastsketch.models.head import linear_classifiers
from fastsketch.models.ridge import RidgeRegression, fill
from fastsketch.training.data import open_in_order
from fastsketch.training.logits import predict_logits
from fastsketch.training.trainer import Trainer

log = logging.getLogger(__name__)

Classifiers = dict[str, nn.Linear | nn.Conv2d]
"""By their names."""


@torch.no_grad()
def solve_head(trainer: Trainer) -> None:
    """Solve the classifier of a model that is about to be trained; several processes share out the pass.

    Features are those of evaluation, at the size that is trained at first: no augmentation, batch normalisation by its
    running statistics.

    Args:
        trainer: Before its first step. Where it averages weights, the average begins with the classifier, too.

    Raises:
        ConfigError: The classifier is not linear.
        DataError: A file is damaged.
        FastSketchError: Features are not finite.
    """
    started, world, model = perf_counter(), trainer.world, trainer.model.eval()
    classifiers = linear_classifiers(model)
    for name, regression in _regressions(trainer, classifiers).items():
        for part in regression.sums:
            world.sum(part)
        solution = regression.solve()
        fill(classifiers[name], solution)
        known = "as it is" if solution.top1 is None else f"{solution.top1:.1%} of held-out training images"
        log.info("%s solved by ridge regression in %.0f s: %s", name, perf_counter() - started, known)
    if trainer.state.ema is not None:
        trainer.state.ema.set(model)


def _regressions(trainer: Trainer, classifiers: Classifiers) -> dict[str, RidgeRegression]:
    """One for each classifier, of this process's images.

    Raises:
        ConfigError: A classifier is shown something else than one vector an image.
    """
    # A GPU of Apple's has no float64.
    device = torch.device("cpu") if trainer.device.type == "mps" else trainer.device
    images = trainer.dataset.split(trainer.recipe.data.train_split).samples
    classes, dropout = len(trainer.dataset.classes), trainer.recipe.model.dropout
    regressions = {
        name: RidgeRegression(classifier.weight.shape[1], classes, images, device, dropout)
        for name, classifier in classifiers.items()
    }
    shown = replace(trainer.preprocess, size=trainer.phase_to_come.size)  # at another size they are other features
    with _features(classifiers) as features:
        for batch in open_in_order(trainer.recipe, trainer.dataset, trainer.device, trainer.world).epoch():
            predict_logits(trainer.model, shown, batch.images, flip=False, precision=trainer.precision)
            labels, indices = batch.labels.to(device), batch.indices.to(device)
            for name, classifier in classifiers.items():
                found = features.pop(name, None)
                if found is None or found.shape[1] != classifier.weight.shape[1]:
                    raise ConfigError(
                        f"model.head_init=ridge does not fit this model: its {name} classifies no image by one vector",
                        hint="leave model.head_init at random, or choose another model",
                    )
                regressions[name].add(found.to(device), labels, indices)
    return regressions


@contextmanager
def _features(classifiers: Classifiers) -> Iterator[dict[str, Tensor]]:
    """What each classifier is shown, float [B, F], by its name; the last of it."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0].flatten(1).detach()

        return hook

    handles = [module.register_forward_pre_hook(note(name)) for name, module in classifiers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
