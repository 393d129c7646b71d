"""Real commands in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from fastsketch_cli import train
from fastsketch_cli.app import app
from shapes import convert_shapes, write_shapes
from typer.testing import CliRunner

import fastsketch
from fastsketch.config import Recipe
from fastsketch.config.reference import key_reference
from fastsketch.recipes import load_recipe

TINY = ["--model", "test_resnet", "--set", "data.batch_size=16", "--set", "optimizer.name=adamw", "--device", "cpu"]


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return forked.run(*arguments, cwd=cwd, env={**os.environ, "COLUMNS": "200"})


def refused(code: int, *arguments: object) -> str:
    """Call a command that must fail with `code` and a clear line; return its error."""
    result = call(*arguments)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def test_help_imports_no_torch() -> None:
    script = """
import sys
from typer.testing import CliRunner
from fastsketch_cli.app import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0 and "convert" in result.output, result.output
heavy = {"torch", "timm", "kornia", "numpy", "matplotlib", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, fastsketch; fastsketch.open_source; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("name", fastsketch.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fastsketch, name)


def test_version() -> None:
    assert call("--version").stdout.strip() == fastsketch.__version__


def test_recipes_are_listed_a_line_each() -> None:
    lines = call("recipes").stdout.splitlines()
    assert any(line.startswith("report-1-affine ") and "79.5" in line for line in lines)


def test_keys_are_listed_with_what_they_mean() -> None:
    said = call("recipes", "--keys", "optimizer").stdout
    assert "optimizer.lr = 0.005  number > 0\n    Peak learning rate.\n" in said
    assert "training.epochs" not in said
    whole = call("recipes", "--keys").stdout
    assert all(f"\n{key.name} = " in f"\n{whole}" for key in key_reference())
    assert "did you mean optimizer?" in refused(2, "recipes", "--keys", "optimiser")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("train", "data", "--img-size", "96"), "train has no option --img-size (did you mean --image-size?)"),
        (("train", "data", "--learning-rate", "1"), "(did you mean --lr?)"),
        (("train", "data", "--batch", "8"), "(did you mean --batch-size?)"),
        (("train", "data", "--weight-decay", "1"), "(did you mean --set optimizer.weight_decay=...?)"),
        (("train", "data", "--workers", "4"), "training has no workers"),
        (("train", "data", "--zzz"), "train has no option --zzz\n"),
        (("convert", "images", "data", "--image-size", "96"), "(did you mean --size?)"),
        (("evaluate", "run", "--chekpoint", "last"), "(did you mean --checkpoint?)"),
    ],
    ids=lambda value: value[-2] if isinstance(value, tuple) else "",
)
def test_an_option_that_is_none_is_told_with_what_was_meant(arguments: tuple[str, ...], meant: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert meant in result.output
    assert len(result.output.splitlines()) == 2


def test_common_options_are_keys_of_the_recipe(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Recipe] = []
    monkeypatch.setattr(train, "train_and_report", lambda recipe, run, resume: trained.append(recipe))
    options = ("--lr", "0.25", "--batch-size", "7", "--image-size", "24", "--epochs", "3", "--set", "augment.flip=0")
    result = CliRunner().invoke(app, ["train", str(shapes), "--out", str(tmp_path / "run"), *options])
    assert result.exit_code == 0, result.output
    assert trained == [
        load_recipe(
            None,
            ["optimizer.lr=0.25", "data.batch_size=7", "training.image_sizes=[24]", "training.epochs=3"],
            data__path=shapes,
            augment__flip=0,
        )
    ]


def test_a_printed_recipe_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(call("recipes", "quick").stdout)
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("quick")
    assert "did you mean 'quick'?" in refused(2, "recipes", "quik")


def test_from_images_to_accuracy(tmp_path: Path) -> None:
    images = write_shapes(tmp_path / "my shapes")
    (images / "train" / "square" / "broken.png").write_bytes(b"\x89PNG not really")
    converted = call("convert", images, "data", "--size", 32, cwd=tmp_path)
    assert converted.returncode == 0, converted.stderr
    assert "240 images of 3 classes at 32 px (192 train, 30 val, 18 test)" in converted.stdout
    assert "skipped train/square/broken.png" in converted.stdout

    trained = call("train", "data", *TINY, "--epochs", 8, "--set", "optimizer.lr=5e-3", "--out", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    summary = trained.stdout.splitlines()[-1]
    top1 = summary.partition("top-1 ")[2].split()[0]
    assert float(top1.rstrip("%")) >= 80
    assert trained.stdout.splitlines()[0] == "run directory: run"
    assert "\x1b" not in trained.stdout + trained.stderr
    assert (tmp_path / "run/plots/curves.png").read_bytes().startswith(b"\x89PNG")

    evaluated = call("evaluate", "run", "--split", "test", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "%, without a temperature\n" in evaluated.stdout
    evaluated = call("evaluate", "run", "--split", "val", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"top-1 {top1}," in evaluated.stdout
    assert "saved with the model" in evaluated.stdout
    assert (tmp_path / "run/plots/confusion-best-val.png").is_file()
    table = (tmp_path / "run/evaluation/best-val-classes.csv").read_text().splitlines()
    assert len(table) == 4


def test_ctrl_c_leaves_a_usable_model_and_resume_goes_on(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", shapes, *TINY, "--epochs", "500", "--out", run)
    with forked.Forked(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not process.stdout.readline().lstrip().startswith("2 "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert call("evaluate", run, "--checkpoint", "last").returncode == 0
    resumed = call("train", "--resume", run, "--epochs", 4)
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing in epoch" in resumed.stderr


def test_usage_and_configuration_errors_exit_with_2(shapes: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in refused(2, "convert", tmp_path / "none", tmp_path / "out")
    assert "exists" in refused(2, "convert", shapes.parent / "images", shapes)
    images = shapes.parent / "images"
    assert "already has train/val/test" in refused(2, "convert", images, tmp_path / "out", "--split", "6/2/2")
    assert "not a split" in refused(2, "convert", images / "train", tmp_path / "out", "--split", "a/b")
    assert "did you mean optimizer.lr?" in refused(2, "train", shapes, "--set", "optimizer.lrr=1")
    assert "not a converted data set" in refused(2, "train", tmp_path)
    assert "did you mean" in refused(2, "train", shapes, "--model", "resnet5O")
    assert "not a run directory" in refused(2, "evaluate", tmp_path)
    assert "not a run directory" in refused(2, "train", "--resume", tmp_path)
    assert "no data set given" in refused(2, "train")
    assert "leave out --recipe" in refused(2, "train", "--resume", tmp_path, "--recipe", "quick")


def test_damaged_data_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refused(1, "convert", tmp_path / "empty", tmp_path / "out")
    images = write_shapes(tmp_path / "images")
    (images / "val" / "square" / "0.png").write_bytes(b"")
    assert "val/square/0.png" in refused(1, "convert", images, tmp_path / "out", "--strict")
    data = convert_shapes(images, tmp_path / "data")
    (data / "train.images.u8").write_bytes(b"short")
    assert "instead of" in refused(1, "train", data, *TINY, "--out", tmp_path / "run")
