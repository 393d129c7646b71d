from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from shapes import CLASSES, convert_shapes, write_shapes

from fastsketch.config import EvaluationConfig, ModelConfig, Recipe
from fastsketch.errors import ConfigError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.models import create_model
from fastsketch.models.zoo import to_device
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.logits import mean_probabilities
from fastsketch.training.run.checkpoint import save_model
from fastsketch.training.run.directory import Run
from fastsketch.training.validation import accuracy_metrics, validate


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_resnet", dropout=0), num_classes=3, size=32)
    with torch.no_grad():
        model.get_classifier().weight.mul_(100)  # an untrained network says much the same of every image
    return to_device(model, torch.device("cpu")).eval()


def loader(shapes: Path) -> Loader:
    """Of 30 images, in batches of which the last is ragged."""
    return open_loader(shapes, DatasetMetadata.load(shapes), "val", Sampling(8), torch.device("cpu"))


def images_and_labels(shapes: Path) -> tuple[torch.Tensor, torch.Tensor]:
    split = PackSplit(shapes, DatasetMetadata.load(shapes), "val")
    return torch.tensor(split.images), torch.tensor(split.labels)


def finished(root: Path, recipe: Recipe, shapes: Path, model: torch.nn.Module, size: int) -> Run:
    """A run as training leaves it, without the training."""
    run = Run(root)
    run.create(recipe, DatasetMetadata.load(shapes))
    save_model(model, run.best, Preprocess(size, 0, 1), list(CLASSES))
    return run


def test_the_mean_of_two_probabilities_is_that() -> None:
    first, second = 5 * torch.randn(2, 7, 4)
    mean = (first.softmax(dim=1) + second.softmax(dim=1)) / 2
    torch.testing.assert_close(mean_probabilities(first, second).exp(), mean)
    torch.testing.assert_close(mean_probabilities(first, first), first.log_softmax(dim=1))


def test_logits_too_far_apart_for_probabilities_stay_finite() -> None:
    first, second = torch.tensor([[0.0, 400.0]]), torch.tensor([[0.0, 300.0]])
    assert mean_probabilities(first, second).tolist() == [[pytest.approx(-300 - 0.6931472), 0]]


def test_flipping_averages_the_probabilities_of_both_images(shapes: Path, model: torch.nn.Module) -> None:
    gray, labels = images_and_labels(shapes)
    with torch.inference_mode():
        plain, mirrored = (model(images / 255).softmax(dim=1) for images in (gray, gray.flip(-1)))
    mean = (plain + mirrored) / 2
    scores = validate(model, Preprocess(32), loader(shapes), accuracy_metrics(3), flip=True)
    assert scores.loss == pytest.approx(F.nll_loss(mean.log(), labels).item(), rel=1e-4)
    assert scores.top1 == pytest.approx((mean.argmax(dim=1) == labels).float().mean().item())
    without = validate(model, Preprocess(32), loader(shapes), accuracy_metrics(3))
    assert without.loss == pytest.approx(F.nll_loss(plain.log(), labels).item(), rel=1e-4)
    assert abs(scores.loss - without.loss) > 1e-3


def test_evaluate_says_what_validation_says_with_a_flip(shapes: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    recipe = load_recipe(None, ["evaluation.flip=true", "data.eval_batch_size=8"], data__path=str(shapes))
    assert recipe.evaluation == EvaluationConfig(flip=True)
    run = finished(tmp_path / "run", recipe, shapes, model, 32)
    scores = validate(model, Preprocess(32), loader(shapes), accuracy_metrics(3), flip=True)
    evaluation = evaluate_run(run, "val", device="cpu")
    assert evaluation.scores == scores
    assert evaluation.confusion.trace() == round(scores.top1 * 30)
    without = evaluate_run(run, "val", device="cpu", flip=False)
    assert without.scores == validate(model, Preprocess(32), loader(shapes), accuracy_metrics(3))
    assert {path.name for path in run.evaluation.glob("*.json")} == {"best-val.json", "best-val-flip.json"}


def test_a_run_that_ended_at_a_smaller_size_is_evaluated_at_it(
    shapes: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    recipe = load_recipe(None, ["training.image_sizes=[16, 24]", "data.eval_batch_size=8"], data__path=str(shapes))
    run = finished(tmp_path / "run", recipe, shapes, model, 24)
    scores = validate(model, Preprocess(24), loader(shapes), accuracy_metrics(3))
    assert evaluate_run(run, "val", device="cpu").scores == scores
    assert scores != validate(model, Preprocess(32), loader(shapes), accuracy_metrics(3))


def test_a_data_set_of_another_size_than_the_runs_is_refused(
    shapes: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    run = finished(tmp_path / "run", load_recipe(data__path=str(shapes)), shapes, model, 32)
    other = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "other", size=40)
    with pytest.raises(ConfigError, match="was trained on 32 px images"):
        evaluate_run(run, "val", data=other)
