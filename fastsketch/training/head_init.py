"""`model.head_init=ridge`: one pass over the training images, and the classifier is solved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch import Tensor, nn

from fastsketch.errors import ConfigError
from fastsketch.loaders import Loader
from fastsketch.models.head import linear_classifiers
from fastsketch.models.ridge import RidgeRegression, fill
from fastsketch.training.logits import predict_logits
from fastsketch.training.trainer import Trainer

log = logging.getLogger(__name__)


@torch.no_grad()
def solve_head(trainer: Trainer, loader: Loader) -> None:
    """Solve the classifier of a model that is about to be trained; several processes share out the pass.

    Features are those of evaluation: no augmentation, batch normalisation by its running statistics.

    Args:
        trainer: Before its first step. Where it averages weights, the average begins with the classifier, too.
        loader: Every training image once.

    Raises:
        ConfigError: The classifier is not linear.
        FastSketchError: Features are not finite.
    """
    started, world, model = perf_counter(), trainer.world, trainer.model.eval()
    classifiers = linear_classifiers(model)
    images = trainer.dataset.split(trainer.recipe.data.train_split).samples
    # A GPU of Apple's has no float64.
    device = torch.device("cpu") if trainer.device.type == "mps" else trainer.device
    regressions: dict[str, RidgeRegression] = {}
    with _features(classifiers) as features:
        for batch in loader.epoch():
            predict_logits(model, trainer.preprocess, batch.images, flip=False, precision=trainer.precision)
            for name in classifiers:
                if name not in features:
                    raise ConfigError("model.head_init=ridge does not fit this model: it does not use its classifier")
                found = features.pop(name).to(device)
                if found.shape[1:].numel() != classifiers[name].weight.shape[1]:
                    raise ConfigError(
                        f"model.head_init=ridge does not fit this model: its {name} classifies tokens, not images",
                        hint="leave model.head_init at random, or choose another model",
                    )
                if name not in regressions:
                    classes, dropout = len(trainer.dataset.classes), trainer.recipe.model.dropout
                    regressions[name] = RidgeRegression(found.shape[1], classes, images, device, dropout)
                regressions[name].add(found, batch.labels.to(device), batch.indices.to(device))
    for name, regression in regressions.items():
        for part in regression.sums:
            world.sum(part)
        solution = regression.solve()
        fill(classifiers[name], solution)
        known = "no" if solution.top1 is None else f"{solution.top1:.1%} of"
        log.info(
            "%s solved by ridge regression in %.0f s: %s held-out training images",
            name,
            perf_counter() - started,
            known,
        )
    if trainer.state.ema is not None:
        trainer.state.ema.set(model)


@contextmanager
def _features(classifiers: dict[str, nn.Linear | nn.Conv2d]) -> Iterator[dict[str, Tensor]]:
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
