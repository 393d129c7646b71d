"""Which sketches were taken for something else: the same as asking the model for each image by itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from packs import CLASSES, write_pack
from torchmetrics import MetricCollection
from torchmetrics.utilities import dim_zero_sum

from fastsketch.config import ModelConfig
from fastsketch.evaluation import Evaluation, evaluate_run
from fastsketch.evaluation.mistakes import find_mistakes
from fastsketch.evaluation.outputs import OutputsMetric, Predictions
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.run.checkpoint import load_model, save_model
from fastsketch.training.run.directory import Run
from fastsketch.training.validation import accuracy_metrics


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained model, which mistakes much, shown batches of 8."""
    root = tmp_path_factory.mktemp("work")
    metadata = write_pack(root / "data", {"train": 40, "val": 13, "test": 30}, size=32)
    run = Run(root / "run")
    run.create(load_recipe(None, ["data.eval_batch_size=8"], data__path=root / "data"), metadata)
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_resnet", dropout=0), num_classes=len(CLASSES), size=32)
    with torch.no_grad():
        model.get_classifier().weight.mul_(300)  # an untrained network says much the same of every image
    save_model(model, run.best, Preprocess(32, 0.5, 0.3), CLASSES)
    return run


def asked(run: Run, split: str, *, flip: bool = False) -> list[tuple[float, str, str, str, int]]:
    """Every mistake, by asking about one image after the other."""
    model, preprocess = load_model(run.best)
    model.eval()
    data, found = run.recipe().data.path, []
    assert data is not None
    samples = PackSplit(data, DatasetMetadata.load(data), split)
    for index, (image, label, name) in enumerate(zip(samples.images, samples.labels, samples.ids(), strict=True)):
        shown = preprocess(torch.tensor(image[None]))
        with torch.inference_mode():
            probabilities = model(shown).softmax(dim=1)[0]
            if flip:
                probabilities = (probabilities + model(shown.flip(-1)).softmax(dim=1)[0]) / 2
        taken = int(probabilities.argmax())
        if taken != label:
            found.append((float(probabilities[taken]), name, CLASSES[label], CLASSES[taken], index))
    return sorted(found, key=lambda each: -each[0])


def rows(evaluation: Evaluation) -> list[dict[str, str]]:
    with evaluation.mistakes_table.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
def test_mistakes_are_those_of_the_model(run: Run, flip: bool) -> None:
    evaluation = evaluate_run(run, "test", device="cpu", flip=flip)
    expected = asked(run, "test", flip=flip)
    assert 5 < len(expected) < 30
    assert [(each.id, each.true, each.predicted, each.index) for each in evaluation.mistakes] == [
        each[1:] for each in expected
    ]
    confidences = [each.probability for each in evaluation.mistakes]
    assert confidences == pytest.approx([each[0] for each in expected], abs=1e-5)
    assert len(set(np.round(confidences, 3))) > 3, "they differ"
    confusion = evaluation.confusion
    assert len(expected) == confusion.sum() - confusion.trace() == round((1 - evaluation.scores.top1) * 30)


def test_the_table_is_what_was_found(run: Run) -> None:
    evaluation = evaluate_run(run, "test", device="cpu")
    assert evaluation.mistakes_table == run.evaluation / "best-test-mistakes.csv"
    table = rows(evaluation)
    assert list(table[0]) == ["id", "true", "predicted", "probability", "split", "index"]
    assert [(row["id"], float(row["probability"])) for row in table] == [
        (each.id, each.probability) for each in evaluation.mistakes
    ]
    assert {row["split"] for row in table} == {"test"}


def test_of_joined_splits_each_has_its_own_positions(run: Run) -> None:
    joined = evaluate_run(run, "val+test", device="cpu").mistakes
    alone = [evaluate_run(run, split, device="cpu", flip=False).mistakes for split in ("val", "test")]
    found = {(each.split, each.index): (each.id, each.true, each.predicted) for each in joined}
    expected = {(each.split, each.index): each for part in alone for each in part}
    assert found == {place: (each.id, each.true, each.predicted) for place, each in expected.items()}
    for each in joined:
        assert each.probability == pytest.approx(expected[each.split, each.index].probability, abs=1e-5)
    assert [each.probability for each in joined] == sorted((each.probability for each in joined), reverse=True)


def test_the_picture_shows_the_most_confident(run: Run, monkeypatch: pytest.MonkeyPatch, drawn: list[Figure]) -> None:
    monkeypatch.setattr("fastsketch.figures.mistakes.MOST", 3)  # its own, and what `evaluate` takes from there
    evaluation = evaluate_run(run, "test", device="cpu")
    assert evaluation.mistakes_plot == run.plots / "mistakes-best-test.png"
    assert evaluation.mistakes_plot.read_bytes().startswith(b"\x89PNG")
    sheet = drawn[-1]
    assert sheet.texts[0].get_text() == f"run, test: {len(evaluation.mistakes)} of 30 mistaken, the 3 most confident"
    assert [[text.get_text() for text in axes.texts] for axes in sheet.axes] == [
        [each.true, f"{each.probability:.0%} {each.predicted}"] for each in evaluation.mistakes[:3]
    ]
    path = run.recipe().data.path
    assert path is not None
    samples = PackSplit(path, DatasetMetadata.load(path), "test")
    for axes, mistake in zip(sheet.axes, evaluation.mistakes, strict=False):
        assert np.array_equal(axes.images[0].get_array(), samples.images[mistake.index, 0])


def test_a_model_without_mistakes_has_an_empty_table(run: Run) -> None:
    path = run.recipe().data.path
    assert path is not None
    metadata = DatasetMetadata.load(path)
    labels = torch.tensor(PackSplit(path, metadata, "val").labels)
    assert find_mistakes(Predictions(labels, torch.ones(13)), path, metadata, "val") == []


def test_a_split_of_one_sample(tmp_path: Path) -> None:
    """torchmetrics makes a number of what has one element."""
    metadata = write_pack(tmp_path / "data", {"train": 10, "val": 1}, size=32)
    run = Run(tmp_path / "run")
    run.create(load_recipe(None, data__path=tmp_path / "data"), metadata)
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_resnet"), num_classes=len(CLASSES), size=32)
    with torch.no_grad():
        model.get_classifier().bias.copy_(torch.tensor([0.0, 0, 0, 0, 100]))
    save_model(model, run.best, Preprocess(32), CLASSES)
    evaluation = evaluate_run(run, "val", device="cpu")
    [mistake] = evaluation.mistakes
    assert (mistake.true, mistake.predicted, mistake.probability, mistake.index) == ("ant", "eel", 1.0, 0)
    with evaluation.table.open(encoding="utf-8", newline="") as table:
        classes = [(row["name"], row["images"], row["accuracy"]) for row in csv.DictReader(table)]
    empty = [(name, "0", "") for name in CLASSES[1:]]
    assert classes == [("ant", "1", "0.0"), *empty], "classes without images come last, and are not at 0 %"


def test_processes_that_share_a_split_fill_in_each_others_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(10, 5, generator=generator), torch.arange(10) % 5
    whole, *parts = (MetricCollection({"seen": OutputsMetric(10, 5)}) for _ in range(3))
    whole.update(logits, labels, indices=torch.arange(10))
    for rank, part in enumerate(parts):
        indices = torch.arange(rank, 10, 2)
        part.update(logits[indices], labels[indices], indices=indices)
    for name in ("logits", "labels"):
        together = sum(getattr(part["seen"], name) for part in parts)
        assert torch.equal(together, getattr(whole["seen"], name))
    assert set(OutputsMetric(10, 5)._reductions.values()) == {dim_zero_sum}


def test_training_collects_nothing() -> None:
    """The samples' positions are offered to every metric, and those of accuracy leave them."""
    metrics = accuracy_metrics(5)
    metrics.update(torch.eye(5), torch.arange(5), indices=torch.arange(5))
    assert {name: float(value) for name, value in metrics.compute().items()} == {"top1": 1, "top5": 1}
