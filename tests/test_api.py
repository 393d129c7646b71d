"""The verbs in Python: what they share with the commands, and what they say."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fastsketch
from fastsketch.api import _in_python
from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.run.metrics import read_records

TINY = {"model": "test_resnet", "batch_size": 4, "device": "cpu", "epochs": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, draw_shapes: Callable[..., Path]) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("api") / "images")


@pytest.fixture(scope="module")
def data(images: Path) -> Path:
    return fastsketch.convert(images, images.parent / "data", 32, split="4/1/1", workers=1, progress=False)


def test_public_names_are_listed_and_cost_nothing() -> None:
    assert dir(fastsketch) == sorted(fastsketch.__all__)
    assert {"convert", "train", "evaluate"} <= set(dir(fastsketch))
    script = "import sys, fastsketch; fastsketch.train; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# ------------------------------------------------------------------------------------------------------- convert


def test_converting_again_returns_what_is_there(images: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}
    caplog.set_level(logging.INFO)
    assert fastsketch.convert(str(images), str(data), 32, split="4/1/1", progress=False) == data
    assert "is there already" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in data.iterdir()} == before


@pytest.mark.parametrize(
    "settings",
    [{"size": 48}, {"seed": 1}, {"split": "3/2/1"}, {"resize": "box"}, {"classes": 2}],
    ids=lambda settings: next(iter(settings)),
)
def test_other_settings_are_another_data_set(images: Path, data: Path, settings: dict[str, object]) -> None:
    wanted = {"size": 32, "split": "4/1/1", **settings}
    with pytest.raises(ConfigError, match="data exists") as caught:
        fastsketch.convert(images, data, progress=False, **wanted)
    assert caught.value.hint == "choose another folder, or replace it with overwrite=True"


def test_other_sketches_are_another_data_set(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    images = draw_shapes(tmp_path / "images", per_class=4)
    data = fastsketch.convert(images, tmp_path / "data", 32, split="0.5/0.25/0.25", workers=1, progress=False)
    (images / "circle/000.png").rename(images / "circle/new.png")
    with pytest.raises(ConfigError, match="exists"):
        fastsketch.convert(images, data, 32, split="0.5/0.25/0.25", workers=1, progress=False)
    fastsketch.convert(images, data, 32, split="0.5/0.25/0.25", workers=1, overwrite=True, progress=False)
    (images / "square/000.png").unlink()
    with pytest.raises(ConfigError, match="exists"):
        fastsketch.convert(images, data, 32, split="0.5/0.25/0.25", workers=1, progress=False)


def test_a_damaged_data_set_is_not_taken_for_finished(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    images = draw_shapes(tmp_path / "images", per_class=4)
    data = fastsketch.convert(images, tmp_path / "data", 32, split="2/1/1", workers=1, progress=False)
    (data / "val.labels.i64").write_bytes(b"")
    with pytest.raises(ConfigError, match="exists"):
        fastsketch.convert(images, data, 32, split="2/1/1", workers=1, progress=False)


def test_skipped_sketches_are_known_to_be_unreadable(damaged: Path, tmp_path: Path) -> None:
    for _ in range(2):
        data = fastsketch.convert(damaged, tmp_path / "data", 32, workers=1, progress=False)
    assert len(DatasetMetadata.load(data).skipped) == 3
    with pytest.raises(ConfigError, match="exists"):
        fastsketch.convert(damaged, data, 32, workers=1, strict=True, progress=False)


def test_a_wrong_setting_of_convert_is_told_with_the_right_one(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_size: unknown key \(did you mean size\?\)"):
        fastsketch.convert(images, tmp_path / "data", image_size=96)


# --------------------------------------------------------------------------------------------------------- train


def test_training_again_returns_the_finished_run_and_more_epochs_continue_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    run = fastsketch.train(str(data), out=out, progress=False, augment__thickness=0.5, **TINY)
    assert (run.plots / "curves.png").is_file()
    assert repr(run) == f"Run({out!r})"
    assert run._repr_png_() == (run.plots / "curves.png").read_bytes()
    assert run.recipe().augment.thickness == 0.5
    written = run.resume_path.stat().st_mtime_ns
    assert fastsketch.train(data, out=out, progress=False, settings={"augment.thickness": 0.5}, **TINY).root == run.root
    assert run.resume_path.stat().st_mtime_ns == written
    assert capsys.readouterr() == ("", "")
    fastsketch.train(out=out, resume=True, epochs=2)
    assert [record.epoch for record in read_records(run.metrics)] == [1, 2]
    said = capsys.readouterr().out
    assert said.startswith(f"run directory: {out}\n")
    assert "continuing in epoch 2" in said
    assert "\x1b" not in said
    with pytest.raises(ConfigError, match="holds a run already"):
        fastsketch.train(data, out=out, resume=False, **TINY)
    assert fastsketch.evaluate(out, "test", device="cpu", progress=False).subject.split == "test"


def test_a_run_that_is_not_there_is_not_continued(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run directory"):
        fastsketch.train(data, out=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="which run is to be continued"):
        fastsketch.train(data, resume=True)


def test_a_run_whose_data_set_has_moved_asks_where_it_is(data: Path, tmp_path: Path) -> None:
    run = fastsketch.train(data, out=tmp_path / "run", progress=False, **TINY)
    moved = data.rename(tmp_path / "moved")
    try:
        with pytest.raises(ConfigError, match=r"the data set of .*, is not there") as raised:
            fastsketch.train(out=run.root, resume=True)
        assert raised.value.hint == f"say where it is: fastsketch train DATA --resume {run.root}"
        assert fastsketch.train(moved, out=run.root, resume=True, progress=False).root == run.root
    finally:
        moved.rename(data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1}, r"learning_rate: unknown key \(did you mean optimizer\.lr\?\)"),
        ({"settings": {"augment.thicknes": 1}}, r"did you mean augment\.thickness\?"),
        ({"workers": 4}, "training has no workers"),
        ({"image_size": 64, "batch_size": 4}, "the images of the data set have 32 px"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"out": " "}, "out is empty"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        fastsketch.train(data, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("convert the originals with --size 64", "convert the originals with size=64"),
        ("convert it again with --split 0.9/0.1, which", "convert it again with split=0.9/0.1, which"),
        ("choose another --out", "choose another out"),
        ("replace it with --overwrite", "replace it with overwrite=True"),
        ("fastsketch train --resume runs/x", "fastsketch train --resume runs/x"),
    ],
)
def test_hints_are_in_words_of_python(said: str, meant: str) -> None:
    assert _in_python(said) == meant


# ----------------------------------------------------------------------------------------------- str where a Path is


def test_strings_are_paths_everywhere(
    images: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = fastsketch.open_source(str(images))
    config = fastsketch.ConvertConfig(size=32, split="4/1/1", workers=1)
    fastsketch.convert_dataset(source, str(tmp_path / "data"), config)
    recipe = fastsketch.load_recipe(data=str(data), **TINY)
    assert len(fastsketch.fit(recipe, str(tmp_path / "run"))) == 1
    assert fastsketch.Run(str(tmp_path / "run")).best == tmp_path / "run/best"
    other = fastsketch.evaluate_run(str(tmp_path / "run"), data=str(tmp_path / "data"), device="cpu")
    assert other.subject.own

    weights = str(tmp_path / "run/best/model.safetensors")
    caplog.set_level(logging.INFO)
    fastsketch.train(data, out=tmp_path / "next", weights=weights, progress=False, **TINY)
    assert f"test_resnet starts from the weights in {weights}" in caplog.text
