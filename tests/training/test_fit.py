from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from shapes import CLASSES, convert_shapes, write_shapes

import fastsketch
from fastsketch.config import ConvertConfig, Recipe
from fastsketch.conversion import convert_dataset
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.recipes import load_recipe
from fastsketch.sources import open_source
from fastsketch.training.fit import fit
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import EpochRecord


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def recipe(data: Path, epochs: int, *overrides: str) -> Recipe:
    return load_recipe(
        None,
        [
            "model.name=test_resnet",
            "model.dropout=0.1",
            "data.batch_size=16",
            "optimizer.name=adamw",
            "optimizer.lr=5e-3",
            "training.device=cpu",
            *overrides,
        ],
        data__path=str(data),
        training__epochs=epochs,
    )


@pytest.fixture(scope="module")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[EpochRecord]]:
    run = Run(tmp_path_factory.mktemp("runs") / "finished")
    return run, fit(recipe(shapes, 8), run)


def test_it_learns(finished: tuple[Run, list[EpochRecord]]) -> None:
    _, records = finished
    assert max(record.val_top1 for record in records) >= 0.9
    assert records[-1].train_loss < records[0].train_loss / 2


def test_the_run_directory_holds_what_the_design_says(finished: tuple[Run, list[EpochRecord]], shapes: Path) -> None:
    run, records = finished
    assert run.recipe() == recipe(shapes, 8)
    assert run.dataset() == DatasetMetadata.load(shapes)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [EpochRecord(**line) for line in lines] == records
    with run.metrics.with_suffix(".csv").open(newline="") as table:
        assert [float(row["val_top1"]) for row in csv.DictReader(table)] == [record.val_top1 for record in records]
    for folder in (run.best, run.last):
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    torch.load(run.resume_path, weights_only=True)


def test_evaluate_says_what_training_said(finished: tuple[Run, list[EpochRecord]]) -> None:
    run, records = finished
    best = max(records, key=lambda record: record.val_top1)
    for checkpoint, record in (("best", best), ("last", records[-1])):
        scores = evaluate_run(run, "val", checkpoint=checkpoint, device="cpu").scores
        assert (scores.loss, scores.top1, scores.top5) == (record.val_loss, record.val_top1, record.val_top5)


def test_best_opens_in_plain_timm_with_the_same_logits(finished: tuple[Run, list[EpochRecord]], shapes: Path) -> None:
    run, _ = finished
    split = PackSplit(shapes, DatasetMetadata.load(shapes), "test")
    gray = torch.tensor(split.images)
    ours, preprocess = load_model(run.best)
    local = timm.create_model(f"local-dir:{run.best}", pretrained=True)
    by_path = timm.create_model(
        "test_resnet", in_chans=1, num_classes=3, checkpoint_path=run.best / "model.safetensors"
    )
    config = timm.data.resolve_model_data_config(local)
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    plain_input = (gray.float() / 255 - mean) / std
    with torch.inference_mode():
        logits = ours.eval()(preprocess(gray))
        for other in (local, by_path):
            torch.testing.assert_close(other.eval()(plain_input), logits, rtol=0, atol=1e-5)
    assert config["input_size"] == (1, 32, 32)
    assert tuple(local.pretrained_cfg["label_names"]) == CLASSES


def test_the_same_seed_gives_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in "ab"]
    for run in runs:
        fit(recipe(shapes, 2), run)
    first, second = (load_file(run.last / "model.safetensors") for run in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stop", [(2, 1), (2, 12), (3, 5)], ids=["first step", "last step", "middle"])
def test_an_interrupted_run_resumes_bit_for_bit(shapes: Path, tmp_path: Path, stop: tuple[int, int]) -> None:
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    undisturbed = fit(recipe(shapes, 4), whole)

    def interrupt(epoch: int, step: int, steps: int) -> None:
        assert steps == 12
        if (epoch, step) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe(shapes, 4), broken, on_step=interrupt)
    load_model(broken.last)  # what Ctrl-C left can be used
    resumed = fit(broken.recipe(), broken, resume=True)
    assert [(r.epoch, r.train_loss, r.val_loss) for r in resumed] == [
        (r.epoch, r.train_loss, r.val_loss) for r in undisturbed
    ]
    expected, actual = (load_file(run.last / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
def test_validation_every_other_epoch_survives_an_interruption(shapes: Path, tmp_path: Path, stopped: int) -> None:
    every, rare = (recipe(shapes, 5, f"training.validate_every={n}") for n in (1, 2))
    expected = fit(every, tmp_path / "every")
    run = Run(tmp_path / "run")

    def interrupt(record: EpochRecord) -> None:
        if record.epoch == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(rare, run, on_epoch=interrupt)
    load_model(run.best)
    records = fit(run.recipe(), run, resume=True)
    assert [record.val_loss for record in records] == [
        record.val_loss if record.epoch in (2, 4, 5) else None for record in expected
    ]
    best = max((record for record in records if record.val_top1 is not None), key=lambda record: record.val_top1)
    assert evaluate_run(run, checkpoint="best", device="cpu").scores.top1 == best.val_top1


def test_a_run_interrupted_in_its_first_epoch_starts_over(shapes: Path, tmp_path: Path) -> None:
    def interrupt(epoch: int, step: int, steps: int) -> None:
        raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(shapes, 1), run, on_step=interrupt)
    assert len(fit(run.recipe(), run, resume=True)) == 1


def test_a_run_is_never_written_over(finished: tuple[Run, list[EpochRecord]], shapes: Path) -> None:
    with pytest.raises(ConfigError, match="holds a run already"):
        fit(recipe(shapes, 1), finished[0])


def test_resuming_with_other_classes_is_refused(
    finished: tuple[Run, list[EpochRecord]], shapes: Path, tmp_path: Path
) -> None:
    images = write_shapes(tmp_path / "images")
    for split in images.iterdir():
        (split / "square").rename(split / "squares")
    other = convert_shapes(images, tmp_path / "other")
    with pytest.raises(ConfigError, match="other classes"):
        fit(recipe(other, 9), finished[0], resume=True)
    with pytest.raises(ConfigError, match="other classes"):
        evaluate_run(finished[0], "val", data=other)


def test_a_diverging_run_stops_and_keeps_the_epoch_before(shapes: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(FastSketchError, match="training loss became"):
        fit(recipe(shapes, 4, "optimizer.name=momentum", "optimizer.lr=1e30"), run)


def test_a_data_set_without_validation_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    images = write_shapes(tmp_path / "images")
    shutil.rmtree(images / "val")
    config = recipe(convert_shapes(images, tmp_path / "dataset"), 1, f"model.weights={tmp_path / 'none.safetensors'}")
    with pytest.raises(ConfigError, match="no 'val' split") as caught:
        fit(config, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert "val" in converted_as_told(caught.value, images, tmp_path / "dataset").splits


def test_classes_too_small_for_validation_are_told_of_a_split_that_gives_them_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_shapes(tmp_path / "images") / "train"
    for path in images.rglob("*.png"):
        if int(path.stem) > 2:
            path.unlink()
    fastsketch.convert(images, tmp_path / "dataset", size=32, workers=1)
    said = "no class is large enough for val and test by 0.8/0.1/0.1: with --split 0.5/0.5 half of each is for val"
    assert said in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no 'val' split") as caught:
        fit(recipe(tmp_path / "dataset", 1, "data.batch_size=2"), Run(tmp_path / "run"))
    assert "val" in converted_as_told(caught.value, images, tmp_path / "dataset").splits


def converted_as_told(error: FastSketchError, source: Path, destination: Path) -> DatasetMetadata:
    """Converted again, with the options that the hint names."""
    found = re.search(r"--overwrite --split ([\d./]+)", str(error.hint))
    assert found is not None
    return convert_dataset(
        open_source(source), destination, ConvertConfig(size=32, workers=1, overwrite=True, split=found[1])
    )


def test_a_batch_larger_than_the_split_is_refused(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a batch of 193 is more than the 192 training images"):
        fit(recipe(shapes, 1, "data.batch_size=193"), Run(tmp_path / "run"))


def test_a_split_that_is_not_there_is_told_with_those_that_are(finished: tuple[Run, list[EpochRecord]]) -> None:
    with pytest.raises(ConfigError, match="no 'dev' split") as caught:
        evaluate_run(finished[0], "dev")
    assert caught.value.hint is not None
    assert "train, val, test" in caught.value.hint


def test_a_device_that_is_not_there_is_told(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        fit(recipe(shapes, 1, "training.device=cuda:99"), Run(tmp_path / "run"))


def test_a_damaged_model_is_told(shapes: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(shapes, 1), run)
    weights = run.best / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match="no usable model"):
        evaluate_run(run, "val")


@pytest.mark.parametrize("normalize", ["unit", "standard", "pretrained"])
def test_normalisation_is_saved_with_the_model(shapes: Path, tmp_path: Path, normalize: str) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(shapes, 1, f"augment.normalize={normalize}"), run)
    _, spec = load_model(run.best)
    pixels = PackSplit(shapes, DatasetMetadata.load(shapes), "train").images / 255
    expected = {"unit": (0, 1), "standard": (pixels.mean(), pixels.std()), "pretrained": (0.5, 0.5)}[normalize]
    assert math.isclose(spec.mean, expected[0], abs_tol=1e-3)
    assert math.isclose(spec.std, expected[1], abs_tol=1e-3)


def test_a_model_that_saw_inked_patches_only_is_evaluated_so_and_opens_in_plain_timm(tmp_path: Path) -> None:
    data = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "data", size=64)
    run = Run(tmp_path / "run")
    overrides = ["model.name=test_vit", "model.tokens=auto", "augment.translation=0", "augment.scale=[0.4,0.4]"]
    records = fit(recipe(data, 2, *overrides), run)
    assert run.recipe().model.tokens == 6  # of 4 × 4 patches of 16 px; eight with class token and paper token
    evaluation = evaluate_run(run, "val", checkpoint="last", device="cpu")
    assert (evaluation.scores.loss, evaluation.scores.top1) == (records[-1].val_loss, records[-1].val_top1)
    assert evaluate_run(run, "val", checkpoint="last", device="cpu", tokens="all").scores.loss != records[-1].val_loss
    dense = timm.create_model(f"local-dir:{run.last}", pretrained=True)
    assert dense(torch.ones(1, 1, 64, 64)).shape == (1, 3)
    assert len(fit(recipe(data, 3, *overrides), run, resume=True)) == 3
    assert run.recipe().model.tokens == 6
