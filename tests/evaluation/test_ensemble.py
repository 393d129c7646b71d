"""Several runs together, and the one model that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from trained import CLASSES, MODELS, convert_sketches, make_run, write_sketches

from fastsketch import Classifier
from fastsketch.errors import ConfigError
from fastsketch.evaluation import evaluate_run
from fastsketch.evaluation.averaging import Average
from fastsketch.evaluation.ensemble import evaluate_ensemble
from fastsketch.evaluation.soup import make_soup
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.training.run.checkpoint import load_model, save_model
from fastsketch.training.run.directory import Run


def test_the_mean_of_the_probabilities_is_scored(sketches: Path, data: DatasetMetadata, tmp_path: Path) -> None:
    """Of other architectures and sizes; to the digit what the classifier says of the same files."""
    small = convert_sketches(sketches, tmp_path / "small", 40)
    runs = [
        make_run(tmp_path / "cnn", data, sketches.parent / "data", **MODELS["cnn"]),
        make_run(tmp_path / "vit", data, sketches.parent / "data", flip=True, **MODELS["vit"]),
        make_run(tmp_path / "small one", small, tmp_path / "small", **MODELS["larger head"]),
    ]
    members, scores = evaluate_ensemble(runs, "val", device="cpu")
    val = PackSplit(sketches.parent / "data", data, "val")
    together = Classifier.load(runs).predict([sketches / name for name in val.ids()], topk=len(CLASSES))
    probabilities = np.array([[dict(zip(p.ids, p.probabilities, strict=True))[k] for k in range(6)] for p in together])
    assert scores.top1 == pytest.approx(top_k_accuracy_score(val.labels, probabilities, k=1, labels=range(6)))
    assert scores.top5 == pytest.approx(top_k_accuracy_score(val.labels, probabilities, k=5, labels=range(6)))
    assert scores.loss == pytest.approx(log_loss(val.labels, probabilities, labels=range(6)), abs=1e-4)
    assert [member.scores for member in members] == [evaluate_run(run, "val", device="cpu").scores for run in runs]
    assert len({scores.top1, *(member.scores.top1 for member in members)}) > 1, "or it would be no test"


def test_of_other_sketches_or_classes_there_is_no_mean(sketches: Path, data: DatasetMetadata, tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", data, sketches.parent / "data", **MODELS["cnn"])
    fewer = convert_sketches(write_sketches(tmp_path / "fewer", 48), tmp_path / "data")
    other = make_run(tmp_path / "b", fewer, tmp_path / "data", **MODELS["cnn"])
    with pytest.raises(ConfigError, match="holds other sketches than"):
        evaluate_ensemble([first, other], "val", device="cpu")
    data.model_copy(update={"classes": [*CLASSES[:5], "gnu"]}).save(other.root)
    with pytest.raises(ConfigError, match="other classes than") as caught:
        evaluate_ensemble([first, other], "val", device="cpu")
    assert caught.value.hint == "it lacks 'fox' and has besides 'gnu'"


# -------------------------------------------------------------------------------------------------------------- soup


def changed(run: Run, seed: int, size: float) -> None:
    """Other weights, near to what they were."""
    model, preprocess = load_model(run.best)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    save_model(model, run.best, preprocess, CLASSES)


@pytest.fixture
def runs(sketches: Path, data: DatasetMetadata, tmp_path: Path) -> list[Run]:
    found = [make_run(tmp_path / str(seed), data, sketches.parent / "data", **MODELS["cnn"]) for seed in range(4)]
    for seed, run in enumerate(found):
        changed(run, seed, 0.05)
    return found


def test_the_mean_is_that_of_the_weights(runs: list[Run]) -> None:
    models = [load_model(run.best)[0] for run in runs]
    average = Average.of(models[0]).plus(models[1]).plus(models[2])
    average.fill(models[3])
    for name, tensor in models[3].state_dict().items():
        expected = torch.stack([model.state_dict()[name].double() for model in models[:3]]).mean(dim=0)
        assert torch.equal(tensor, expected.to(tensor.dtype)), name


@pytest.mark.parametrize("better", range(8), ids=lambda pattern: f"{pattern:03b}")
def test_each_stays_that_does_not_hurt(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: int
) -> None:
    """All patterns of three runs that help the soup or do not, with the accuracy made up."""
    from fastsketch.evaluation import measure as measuring
    from fastsketch.training.validation import Scores

    alone = {run.root: top1 for run, top1 in zip(runs, (0.5, 0.8, 0.6, 0.7), strict=True)}
    order, tried, top1 = [1, 3, 2, 0], [], [0.8]

    def answer(value: float) -> Any:
        return measuring.Measured(Scores(0.0, value, 1.0), None, None)  # type: ignore[arg-type]

    def measured(model: torch.nn.Module, *_: object, **__: object) -> Any:
        helps = better >> len(tried) & 1
        tried.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        value = top1[0] + 0.01 * (len(tried) % 2) if helps else top1[0] - 0.01  # no worse is good enough
        top1[0] = max(top1[0], value)
        return answer(value)

    monkeypatch.setattr(measuring, "measure", lambda subject, *_, **__: answer(alone[subject.run.root]))
    monkeypatch.setattr(measuring, "measure_model", measured)
    made = make_soup(runs, tmp_path / "soup", device="cpu")
    kept = [1] + [run for place, run in enumerate(order[1:]) if better >> place & 1]
    assert [Path(each.run).name for each in made.ingredients] == [str(number) for number in order]
    assert [int(Path(each.run).name) for each in made.ingredients if each.kept] == kept
    expected = Average.of(load_model(runs[kept[0]].best)[0])
    for number in kept[1:]:
        expected = expected.plus(load_model(runs[number].best)[0])
    model = load_model(made.run.best)[0]
    other = load_model(runs[0].best)[0]
    expected.fill(other)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert made.top1 == top1[0]


def test_a_soup_is_a_run(runs: list[Run], sketches: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    made = make_soup(runs, tmp_path / "soup", device="cpu", on_tried=told.append)
    assert told == made.ingredients
    best = max(evaluate_run(run, "val", device="cpu").scores.top1 for run in runs)
    assert made.ingredients[0].top1 == pytest.approx(best)
    assert made.top1 >= made.ingredients[0].top1
    assert evaluate_run(made.run, "val", device="cpu").scores.top1 == pytest.approx(made.top1)
    assert Classifier.load(made.run).predict(sketches / "cat" / "2.png").labels[0] in CLASSES
    written = json.loads((made.run.root / "soup.json").read_text())
    assert written == {"top1": made.top1, "runs": [each._asdict() for each in made.ingredients]}


def test_of_a_model_with_itself_nothing_is_made(runs: list[Run], tmp_path: Path) -> None:
    made = make_soup([runs[0], runs[0].root], tmp_path / "soup", device="cpu")
    assert [each.kept for each in made.ingredients] == [True, True]
    before, after = (load_model(run.best)[0].state_dict() for run in (runs[0], made.run))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_what_cannot_be_averaged_is_said(
    runs: list[Run], sketches: Path, data: DatasetMetadata, tmp_path: Path
) -> None:
    vit = make_run(tmp_path / "vit", data, sketches.parent / "data", **MODELS["vit"])
    inked = make_run(tmp_path / "inked", data, sketches.parent / "data", **MODELS["ink tokens"])
    alone = {**MODELS["ink tokens"], "paper_token": False}
    no_paper = make_run(tmp_path / "no-paper", data, sketches.parent / "data", **alone)
    small = convert_sketches(sketches, tmp_path / "small", 40)
    other = make_run(tmp_path / "other", small, tmp_path / "small", **MODELS["cnn"])
    for members, says in (
        (runs[:1], "two runs at least"),
        ([runs[0], vit], "has model.name=test_vit"),
        ([inked, no_paper], "has model.paper_token=False"),
        ([runs[0], other], "was trained on another data set"),
    ):
        with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
            make_soup(members, tmp_path / "soup", device="cpu")
        assert not (tmp_path / "soup").exists()
    with pytest.raises(ConfigError, match="holds a run already"):
        make_soup(runs, runs[1].root, device="cpu")
