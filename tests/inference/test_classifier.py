"""What a model says of files is what it says of the data set that was made of them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained import CLASSES, MODELS, SIZE, convert_sketches, make_run, picture

from fastsketch import Classifier, ConvertConfig, convert_dataset, open_source
from fastsketch.config import ModelConfig
from fastsketch.conversion.reading import Reading
from fastsketch.errors import ConfigError, DataError
from fastsketch.evaluation.measure import measure
from fastsketch.evaluation.subject import Subject
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.inference.classifier import Prediction
from fastsketch.inference.sketch import read_sketch
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import save_model
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import save_temperature


def assert_same(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    """To the last digits: how many sketches make a batch decides in which order a matrix product sums."""
    assert [each.labels for each in found] == [each.labels for each in expected]
    assert [each.ids for each in found] == [each.ids for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_files_are_seen_as_validation_sees_them(
    sketches: Path, data: DatasetMetadata, tmp_path: Path, kind: str, flip: bool
) -> None:
    run = make_run(tmp_path / "run", data, sketches.parent / "data", flip=flip, **MODELS[kind])
    expected = measure(Subject.of(run, "val", "best", None, None, None), "cpu", verify=True).outputs.predictions(1.0)
    ids = PackSplit(sketches.parent / "data", data, "val").ids()
    found = Classifier.load(run, device="cpu").predict([sketches / name for name in ids], topk=1)
    assert [prediction.ids[0] for prediction in found] == expected.labels.tolist()
    torch.testing.assert_close(
        torch.tensor([prediction.probabilities[0] for prediction in found]), expected.probabilities, atol=1e-5, rtol=0
    )
    assert len(set(expected.labels.tolist())) > 1, "or it would be no test"


@pytest.fixture(scope="module")
def classifier(run: Run) -> Classifier:
    return Classifier.load(run.root)


def test_a_file_a_picture_and_its_pixels_are_the_same(classifier: Classifier, tmp_path: Path) -> None:
    for seed in range(6):
        image = picture(seed)
        path = tmp_path / f"{seed}.png"
        image.save(path)
        predictions = [classifier.predict(each) for each in (path, str(path), image, np.asarray(image))]
        assert predictions == [predictions[0]] * 4
        assert_same(classifier.predict(iter([path, str(path), image, np.asarray(image)])), predictions)


def test_strokes_are_what_convert_makes_of_them(classifier: Classifier, tmp_path: Path) -> None:
    drawings = [{"drawing": [[[0, 100, 200], [0, 50, seed]], [[10, 20], [30, 40]]]} for seed in range(12)]
    (tmp_path / "raw").mkdir()
    for name in ("cat", "dog"):
        with gzip.open(tmp_path / "raw" / f"{name}.ndjson.gz", "wt") as file:
            file.writelines(f"{json.dumps({'word': name, **drawing})}\n" for drawing in drawings)
    made = convert_dataset(open_source(tmp_path / "raw"), tmp_path / "data", ConvertConfig(size=SIZE, split="12/0/0"))
    stored = PackSplit(tmp_path / "data", made, "train").images[: len(drawings)]
    read = np.stack([read_sketch(drawing, Reading(SIZE))[None] for drawing in drawings])
    assert sorted(image.tobytes() for image in read) == sorted(image.tobytes() for image in stored)
    arrays = {"drawing": [[np.array(xs), np.array(ys)] for xs, ys in drawings[3]["drawing"]]}
    assert classifier.predict(arrays) == classifier.predict(drawings[3])


def test_probabilities_are_of_all_classes_the_likeliest_first(classifier: Classifier) -> None:
    prediction = classifier.predict(picture(0), topk=100)
    assert sorted(prediction.ids) == list(range(len(CLASSES)))
    assert prediction.labels == tuple(CLASSES[place] for place in prediction.ids)
    assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
    assert sum(prediction.probabilities) == pytest.approx(1)
    assert classifier.predict(picture(0), topk=2).labels == prediction.labels[:2]


def test_more_than_a_batch_comes_back_in_order(classifier: Classifier) -> None:
    pictures = [picture(seed) for seed in range(70)]
    assert_same(classifier.predict(pictures), [classifier.predict(each) for each in pictures])
    assert classifier.predict([]) == []


def test_a_models_folder_alone_will_do(classifier: Classifier, sketches: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sketches.parent / "run" / "best", tmp_path / "model")
    alone = Classifier.load(folder)
    assert alone.classes == CLASSES
    assert alone.readings == classifier.readings == [Reading(SIZE, "box")]
    assert alone.predict(picture(0)) == classifier.predict(picture(0))


@pytest.mark.parametrize(
    ("sketch", "error", "says"),
    [
        (np.zeros((4, 4), np.float32), ConfigError, "pixels are float32 [4, 4], not uint8"),
        (np.zeros((4, 4, 2), np.uint8), ConfigError, "pixels are uint8 [4, 4, 2], not"),
        (np.zeros((0, 4), np.uint8), DataError, "it has no pixels"),
        ({"drawing": []}, DataError, "a drawing without strokes"),
        ({"strokes": [[[1], [2]]]}, DataError, "not a Quick, Draw! record"),
        ({"drawing": [[{1}, [2]]]}, DataError, "set is neither a number nor a list"),
        ("nowhere.png", DataError, "nowhere.png: No such file"),
        ([3], ConfigError, "int is no sketch"),
    ],
)
def test_what_is_no_sketch_is_said_in_a_line(
    classifier: Classifier, sketch: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        classifier.predict(sketch)
    assert says in str(caught.value)
    assert str(caught.value).count("\n") == (caught.value.hint is not None)


def test_damaged_files_are_named(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    with pytest.raises(DataError, match=r"torn\.png"):
        classifier.predict([picture(0), tmp_path / "torn.png"])


def test_no_model_and_no_class_to_ask_for(classifier: Classifier, sketches: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run directory"):
        Classifier.load(tmp_path)
    with pytest.raises(ConfigError, match="holds no model"):
        Classifier.load(sketches.parent / "run", checkpoint="first")
    with pytest.raises(ConfigError, match="topk is 0"):
        classifier.predict(picture(0), topk=0)


def test_names_of_a_models_folder_are_checked(classifier: Classifier, sketches: Path, tmp_path: Path) -> None:
    model = create_model(ModelConfig(name="test_vit"), num_classes=2, size=32)
    save_model(model, tmp_path / "model", Preprocess(32), ["one"])
    with pytest.raises(DataError, match="does not name the model's classes"):
        Classifier.load(tmp_path / "model")


def test_several_models_are_asked_together(data: DatasetMetadata, sketches: Path, tmp_path: Path) -> None:
    """Of other architectures and sizes: the mean of what each says alone."""
    small = convert_sketches(sketches, tmp_path / "small", 40)
    runs = [
        make_run(tmp_path / "cnn", data, sketches.parent / "data", **MODELS["cnn"]),
        make_run(tmp_path / "vit", data, sketches.parent / "data", flip=True, **MODELS["vit"]),
        make_run(tmp_path / "other size", small, tmp_path / "small", **MODELS["larger head"]),
    ]
    alone = [Classifier.load(run) for run in runs]
    together = Classifier.load([runs[0], runs[1].root, str(runs[2].root)])
    assert together.readings == [Reading(SIZE, "box"), Reading(40, "box")]
    for seed in range(12):
        each = [dict(zip(*found.predict(picture(seed), topk=99)[:2], strict=True)) for found in alone]
        mean = {name: np.mean([said[name] for said in each]) for name in CLASSES}
        found = together.predict(picture(seed), topk=99)
        assert found.labels == tuple(sorted(mean, key=lambda name: -mean[name]))
        assert found.probabilities == pytest.approx(sorted(mean.values(), reverse=True), abs=1e-6)


def test_models_of_other_classes_are_not_asked_together(
    classifier: Classifier, data: DatasetMetadata, sketches: Path, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "other", data, sketches.parent / "data", **MODELS["cnn"])
    data.model_copy(update={"classes": [*CLASSES[:5], "gnu"]}).save(other.root)
    with pytest.raises(ConfigError, match="other classes than") as caught:
        Classifier.load([sketches.parent / "run", other])
    assert caught.value.hint == "it lacks 'fox' and has besides 'gnu'"
    with pytest.raises(ConfigError, match="no model is named"):
        Classifier.load([])


def test_the_temperature_is_the_models(classifier: Classifier, sketches: Path, tmp_path: Path) -> None:
    run = shutil.copytree(sketches.parent / "run", tmp_path / "run")
    save_temperature(run / "best", 3.0)
    warm = Classifier.load(run)
    for seed in range(6):
        before, after = classifier.predict(picture(seed), topk=99), warm.predict(picture(seed), topk=99)
        assert after.labels == before.labels
        expected = (torch.tensor(before.probabilities).log() / 3).softmax(dim=0)
        torch.testing.assert_close(torch.tensor(after.probabilities), expected, atol=1e-5, rtol=0)
