"""One model out of several of the same architecture, by the mean of their weights.

Wortsman et al., *Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time*, 2022: the greedy recipe. The best run is the soup to begin with; each other, from the best to the
worst, stays in it if the soup is no worse for it on the validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from fastsketch import atomic
from fastsketch.errors import ConfigError
from fastsketch.evaluation.subject import Subject
from fastsketch.formats.classes import check_same_classes
from fastsketch.training.run.directory import Run

SPLIT = "val"


class Ingredient(NamedTuple):
    """One run.

    Attributes:
        run: Its folder.
        top1: Of it alone on the validation images, in [0, 1].
        with_it: Of the soup with it.
        kept: Whether it is in the soup that is saved.
    """

    run: str
    top1: float
    with_it: float
    kept: bool


class Soup(NamedTuple):
    """What `make_soup` made.

    Attributes:
        run: Its run directory.
        top1: On the validation images, in [0, 1].
        ingredients: All runs, from the best to the worst.
    """

    run: Run
    top1: float
    ingredients: list[Ingredient]


def make_soup(
    runs: Sequence[Run | str | Path],
    out: str | Path,
    *,
    checkpoint: str = "best",
    device: str = "auto",
    on_tried: Callable[[Ingredient], object] | None = None,
) -> Soup:
    """Average weights of runs greedily, and save the model as a run that can be evaluated and asked as any other.

    Statistics of batch normalisation are averaged as the weights are.

    Args:
        runs: Of the same model, classes and size of images; two at least.
        out: The new run directory.
        checkpoint: `best` or `last` of each.
        device: Where to compute.
        on_tried: Told of each run as soon as it is tried.

    Raises:
        ConfigError: They cannot be averaged, their data sets are not there, or `out` is no place for a run.
        DataError: A model or the data set is damaged.
    """
    if len(runs) < 2:
        raise ConfigError("a soup is made of two runs at least")
    subjects = [Subject.of(Run.of(run), SPLIT, checkpoint, None, None, None) for run in runs]
    for other in subjects[1:]:
        _check_alike(subjects[0], other)
    place = Run(out)
    with place.held():
        return _cook(subjects, place, device, on_tried or (lambda _: None))


def _check_alike(first: Subject, other: Subject) -> None:
    """Make sure that the weights of two runs mean the same, and that both are measured by the same images.

    Raises:
        ConfigError: They do not.
    """
    message = f"{other.run.root} was trained on other classes than {first.run.root}"
    check_same_classes(first.dataset.classes, other.dataset.classes, message)
    if other.dataset.checksum() != first.dataset.checksum():
        raise ConfigError(f"{other.run.root} was trained on another data set than {first.run.root}")
    for key in ("name", "head_hidden", "tokens", "eval_tokens", "paper_token"):
        own, others = getattr(first.recipe.model, key), getattr(other.recipe.model, key)
        if own != others:
            raise ConfigError(
                f"{other.run.root} has model.{key}={others}, {first.run.root} has {own}", hint="they cannot be averaged"
            )


def _cook(subjects: list[Subject], place: Run, device: str, on_tried: Callable[[Ingredient], object]) -> Soup:
    from fastsketch.evaluation.averaging import Average  # here torch begins
    from fastsketch.evaluation.measure import measure, measure_model
    from fastsketch.training.run.checkpoint import load_model, save_trained

    alone = {subject.run.root: measure(subject, device, verify=False).scores.top1 for subject in subjects}
    best, *others = sorted(subjects, key=lambda subject: -alone[subject.run.root])
    model, preprocess = load_model(best.run.root / best.checkpoint)
    average, top1 = Average.of(model), alone[best.run.root]
    found = [Ingredient(str(best.run.root), top1, top1, True)]
    on_tried(found[0])
    for subject in others:
        tried = average.plus(load_model(subject.run.root / subject.checkpoint)[0])
        tried.fill(model)
        with_it = measure_model(model, preprocess, subject, device, verify=False).scores.top1
        if kept := with_it >= top1:
            average, top1 = tried, with_it
        found.append(Ingredient(str(subject.run.root), alone[subject.run.root], with_it, kept))
        on_tried(found[-1])
    average.fill(model)
    for checkpoint in (place.best, place.last):
        save_trained(model, checkpoint, preprocess, best.dataset)
    atomic.write_json(place.root / "soup.json", {"top1": top1, "runs": [each._asdict() for each in found]})
    place.create(best.recipe, best.run.dataset())
    return Soup(place, top1, found)
