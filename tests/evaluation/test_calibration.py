"""What a probability is worth, and the temperature that goes with the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from trained import MODELS, convert_sketches, make_run, picture, write_sketches

from fastsketch import Classifier
from fastsketch.evaluation import evaluate_run
from fastsketch.evaluation.calibration import BINS, HIGHEST, LOWEST, Calibration, calibration_error, fit_temperature
from fastsketch.evaluation.outputs import Outputs
from fastsketch.training.run.checkpoint import load_model, save_model
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import SavedConfig


def outputs(seed: int, samples: int = 400, classes: int = 7, scale: float = 1.0) -> Outputs:
    """Labels drawn from the very probabilities of the logits, which are then scaled."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return Outputs(logits * scale, labels)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.2, 8))
def test_the_temperature_is_the_best_one(seed: int, scale: float) -> None:
    given = outputs(seed, scale=scale)
    logits, labels = given.logits.double().numpy(), given.labels.numpy()

    def loss(logarithm: float) -> float:
        return -log_softmax(logits / np.exp(logarithm), axis=1)[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-9})
    assert loss(np.log(fit_temperature(given))) <= best.fun + 1e-9
    assert fit_temperature(given) == pytest.approx(np.exp(best.x), rel=1e-3)


def test_of_probabilities_that_are_right_it_is_one() -> None:
    for scale in (0.5, 1, 4):
        assert fit_temperature(outputs(0, 60_000, scale=scale)) == pytest.approx(scale, rel=0.03)


def test_of_a_few_samples_none_is_found() -> None:
    for samples, fitted in ((19, False), (20, True)):
        assert Calibration.of(outputs(0, samples), None).fitted == fitted
    assert Calibration.of(outputs(0, 19), None).temperature == 1


def test_it_stays_in_bounds_where_there_is_no_best_one() -> None:
    logits = torch.eye(5).repeat(4, 1)
    assert fit_temperature(Outputs(logits, torch.arange(5).repeat(4))) == LOWEST
    assert fit_temperature(Outputs(logits, torch.arange(5).roll(1).repeat(4))) == HIGHEST
    assert fit_temperature(Outputs(torch.zeros(4, 5), torch.arange(4))) == 1


def test_the_error_is_how_far_confidence_and_accuracy_lie_apart() -> None:
    given = outputs(3, scale=3)
    for temperature in (0.5, 1.0, 3.0):
        sure, taken = given.probabilities(temperature).max(dim=1)
        right = (taken == given.labels).double()
        places = (sure * BINS).long().clamp_max(BINS - 1)
        each = [(sure[places == place].mean(), right[places == place]) for place in places.unique()]
        expected = sum(float(len(held) / len(right) * (mean - held.mean()).abs()) for mean, held in each)
        assert calibration_error(given, temperature) == pytest.approx(expected, abs=1e-6)


def test_the_temperature_mends_it() -> None:
    found = Calibration.of(outputs(1, 5000, scale=4), None)
    assert found.fitted
    assert found.after < 0.3 * found.before
    kept = Calibration.of(outputs(1, 5000, scale=4), 2.0)
    assert not kept.fitted
    assert kept.temperature == 2.0


# ------------------------------------------------------------------------------------------------------ with a run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    sketches = write_sketches(tmp_path / "sketches")
    return make_run(tmp_path / "run", convert_sketches(sketches, tmp_path / "data"), tmp_path / "data", **MODELS["cnn"])


def test_it_is_saved_with_the_model_and_changes_no_order(run: Run) -> None:
    before = Classifier.load(run).predict(picture(3), topk=6)
    files = {path: path.read_bytes() for path in (run.best / "model.safetensors", run.last / "config.json")}
    evaluation = evaluate_run(run, "val", device="cpu")
    temperature = evaluation.calibration.temperature
    assert evaluation.calibration.fitted
    assert temperature != 1
    assert SavedConfig.read(run.best).temperature == temperature
    assert {path: path.read_bytes() for path in files} == files
    after = Classifier.load(run).predict(picture(3), topk=6)
    assert after.labels == before.labels
    assert after.probabilities != before.probabilities
    written = json.loads((run.evaluation / "best-val.json").read_text())
    assert written["calibration"] == evaluation.calibration._asdict()
    assert evaluation.reliability_plot.read_bytes().startswith(b"\x89PNG")
    assert load_model(run.best), "timm's own keys are untouched"


def test_mistakes_are_as_sure_as_the_classifier_says(run: Run) -> None:
    for split in ("val", "train"):
        evaluation = evaluate_run(run, split, device="cpu")
        assert evaluation.mistakes
        classifier = Classifier.load(run)
        for mistake in evaluation.mistakes:
            said = classifier.predict(run.root.parent / "sketches" / mistake.id, topk=1)
            assert said.labels == (mistake.predicted,)
            assert said.probabilities[0] == pytest.approx(mistake.probability, abs=1e-5)


def test_it_is_found_where_the_model_is_used_as_it_was_validated_alone(run: Run) -> None:
    assert not evaluate_run(run, "train", device="cpu").calibration.fitted
    assert not evaluate_run(run, "val", device="cpu", flip=True).calibration.fitted
    assert not evaluate_run(run, "val", device="cpu", flip=False).calibration.fitted
    assert SavedConfig.read(run.best).temperature == 1
    found = evaluate_run(run, "val", device="cpu").calibration
    other = evaluate_run(run, "train", device="cpu").calibration
    assert (other.fitted, other.temperature) == (False, found.temperature)
    run.config.write_text(run.config.read_text().replace("train_split: train", "train_split: train+val"))
    assert not evaluate_run(run, "val", device="cpu").calibration.fitted


def test_other_weights_have_none(run: Run) -> None:
    evaluate_run(run, "val", device="cpu")
    model, preprocess = load_model(run.best)
    save_model(model, run.best, preprocess, run.dataset().classes)
    assert SavedConfig.read(run.best).temperature == 1
