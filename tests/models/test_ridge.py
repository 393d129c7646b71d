from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from fastsketch.errors import FastSketchError
from fastsketch.models import ridge
from fastsketch.models.ridge import RidgeRegression, Solution, fill
from fastsketch.models.temperature import best_scale

CPU = torch.device("cpu")


def problem(images: int, features: int = 6, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes that lie apart, of features of very different size, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    places = torch.randn(classes, features, generator=generator)
    rows = places[labels] + 0.7 * torch.randn(images, features, generator=generator)
    rows = rows * torch.logspace(-1, 2, features) + 30
    rows[:, 2] = 7.3
    return rows, labels


def regression(rows: Tensor, labels: Tensor, classes: int = 4, batch: int = 7) -> RidgeRegression:
    made = RidgeRegression(rows.shape[1], classes, len(rows), CPU)
    for chosen in torch.arange(len(rows)).split(batch):
        made.add(rows[chosen], labels[chosen], chosen)
    return made


def scikit_learns(rows: Tensor, labels: Tensor, penalty: float, classes: int = 4) -> tuple[Tensor, Tensor]:
    scaler = StandardScaler().fit(rows.double().numpy())
    targets = np.eye(classes)[labels.numpy()]
    found = Ridge(penalty, solver="cholesky").fit(scaler.transform(rows.double().numpy()), targets)
    weight = found.coef_ / scaler.scale_
    return torch.tensor(weight), torch.tensor(found.intercept_ - weight @ scaler.mean_)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(images=st.integers(12, 80), penalty=st.sampled_from(ridge.PENALTIES), seed=st.integers(0, 99))
def test_it_is_scikit_learns(images: int, penalty: float, seed: int) -> None:
    rows, labels = problem(images, seed=seed)
    products, totals = torch.zeros(7, 7, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64)
    ridge._add(products, totals, rows, labels)
    found = ridge._solve(products, totals, penalty, 0.0)
    weight, bias = scikit_learns(rows, labels, penalty)
    assert found.weight[:, 2].eq(0).all()  # what is constant says nothing
    expected = rows.double() @ weight.T + bias
    torch.testing.assert_close(found.logits(rows), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_it_expects_the_dropout_of_the_training(dropout: float) -> None:
    """Least squares in the raw features, in which penalties are rows more: dropout's, and the ridge's."""
    rows, labels = problem(60)
    rows[:, 2] = torch.linspace(-1, 1, 60)
    products, totals = torch.zeros(7, 7, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64)
    ridge._add(products, totals, rows, labels)
    found = ridge._solve(products, totals, 10.0, dropout)
    raw = rows.double()
    centred, targets = raw - raw.mean(0), torch.eye(4, dtype=torch.float64)[labels]
    noise = (dropout / (1 - dropout) * raw.square().sum(0)).sqrt().diag()
    shrinking = math.sqrt(10.0) * raw.std(0, correction=0).diag()
    wanted = torch.cat([targets - targets.mean(0), torch.zeros(12, 4, dtype=torch.float64)])
    weight = torch.linalg.lstsq(torch.cat([centred, noise, shrinking]), wanted).solution.T
    torch.testing.assert_close(found.weight, weight, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.bias, targets.mean(0) - weight @ raw.mean(0), rtol=1e-6, atol=1e-9)


def test_where_held_out_images_like_chance_better_the_usual_penalty_stands() -> None:
    """One image of each class, class by class: what is held out was never seen."""
    rows, _ = problem(20, classes=20)
    labels = torch.arange(20)
    found = regression(rows, labels, classes=20).solve()
    products, totals = torch.zeros(7, 7, dtype=torch.float64), torch.zeros(20, 7, dtype=torch.float64)
    ridge._add(products, totals, rows, labels)
    expected = ridge._solve(products, totals, 100.0, 0.0)
    torch.testing.assert_close(found.weight, expected.weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.bias, expected.bias, rtol=0, atol=1e-12)
    assert found.top1 is None


def test_penalty_and_scale_are_those_that_the_held_out_images_like_best() -> None:
    rows, labels = problem(200)
    held = torch.arange(200) % 5 == 4
    losses = {}
    for penalty in ridge.PENALTIES:
        weight, bias = scikit_learns(rows[~held], labels[~held], penalty)
        logits = rows[held].double() @ weight.T + bias
        scale = best_scale(logits, labels[held])
        loss = nn.functional.cross_entropy(logits * scale, labels[held]).item()
        losses[loss] = penalty, scale, (logits.argmax(1) == labels[held]).double().mean().item()
    penalty, scale, top1 = losses[min(losses)]
    weight, bias = scikit_learns(rows, labels, penalty)
    found = regression(rows, labels).solve()
    torch.testing.assert_close(found.logits(rows), scale * (rows.double() @ weight.T + bias), rtol=1e-4, atol=1e-5)
    assert found.top1 == top1 > 0.7


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_that_share_the_images_sum_up_to_one(processes: int) -> None:
    rows, labels = problem(101)
    parts = [RidgeRegression(6, 4, 101, CPU) for _ in range(processes)]
    for rank, part in enumerate(parts):
        mine = torch.arange(101)[rank::processes]
        part.add(rows[mine], labels[mine], mine)
    for own, *others in zip(*(part.sums for part in parts), strict=True):
        for other in others:
            own += other
    whole, shared = regression(rows, labels).solve(), parts[0].solve()
    torch.testing.assert_close(shared.weight, whole.weight)
    torch.testing.assert_close(shared.bias, whole.bias)
    assert shared.top1 == whole.top1


@pytest.mark.parametrize("batch", [1, 3, 50, 101])
def test_batches_do_not_matter(batch: int) -> None:
    rows, labels = problem(101)
    torch.testing.assert_close(
        regression(rows, labels, batch=batch).solve().weight, regression(rows, labels).solve().weight
    )


def test_memory_does_not_grow_with_the_images() -> None:
    sizes = [sum(part.numel() for part in RidgeRegression(6, 4, images, CPU).sums) for images in (10**6, 10**8)]
    assert sizes[1] <= sizes[0] * 1.01
    assert RidgeRegression(6, 4, 10**9, CPU)._held.shape[0] <= ridge.HELD_OUT


@pytest.mark.parametrize("images", [4, 5, 9])
def test_few_images_will_do(images: int) -> None:
    rows, labels = problem(images)
    found = regression(rows, labels).solve()
    assert found.weight.isfinite().all()
    assert found.weight.abs().max() > 0
    assert found.top1 is None or images >= 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    rows, labels = problem(40)
    rows[17, 3] = value
    with pytest.raises(FastSketchError, match="not finite"):
        regression(rows, labels).solve()


@pytest.mark.parametrize("classifier", [nn.Linear(6, 4), nn.Conv2d(6, 4, 1), nn.Linear(6, 4, bias=False)])
def test_a_classifier_says_what_the_solution_does(classifier: nn.Linear | nn.Conv2d) -> None:
    rows = problem(20)[0]
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    solution = Solution(weight, torch.arange(4.0).double() * (classifier.bias is not None))
    fill(classifier, solution)
    shown = rows if isinstance(classifier, nn.Linear) else rows[:, :, None, None]
    torch.testing.assert_close(classifier(shown).flatten(1).double(), solution.logits(rows), rtol=1e-4, atol=1e-3)
