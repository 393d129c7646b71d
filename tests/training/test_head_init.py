from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
import timm
import torch
from flips import flipped
from packs import write_pack
from safetensors.torch import load_file
from shapes import convert_shapes, write_shapes
from torch import Tensor, nn

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models.head import linear_classifiers
from fastsketch.models.ridge import RidgeRegression
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training import head_init
from fastsketch.training.fit import fit
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.run.directory import Run

SIZE = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset", size=SIZE)


def recipe(data: Path, *overrides: str, name: str = "test_resnet", epochs: int = 0) -> Recipe:
    settings = [f"model.name={name}", "model.head_init=ridge", "data.batch_size=16", "training.device=cpu"]
    settings += ["optimizer.lr=1e-5", *overrides]  # random weights and frozen statistics stand no more
    return load_recipe(None, settings, data__path=str(data), training__epochs=epochs)


def expected_heads(run: Run, data: Path, names: list[str]) -> dict[str, torch.Tensor]:
    """The regression on features that are computed at once, without a loader."""
    model, preprocess = load_model(run.last)
    metadata, parts = DatasetMetadata.load(data), run.recipe().data.train_split.split("+")
    splits = [PackSplit(data, metadata, part) for part in parts]
    images = torch.cat([torch.tensor(split.images[:]) for split in splits])
    labels = torch.cat([torch.tensor(split.labels, dtype=torch.int64) for split in splits])
    found = {}
    for name in names:
        seen: list[torch.Tensor] = []
        hook = model.get_submodule(name).register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        with torch.inference_mode():
            model.eval()(preprocess(images))
        hook.remove()
        [features] = seen
        features = features.flatten(1)
        device, dropout = torch.device("cpu"), run.recipe().model.dropout
        whole = RidgeRegression(features.shape[1], len(metadata.classes), len(labels), device, dropout)
        whole.add(features, labels, torch.arange(len(labels)))
        found[f"{name}.weight"] = whole.solve().weight
    return found


@pytest.mark.parametrize(
    ("name", "heads", "overrides"),
    [
        ("test_resnet", ["fc"], ["model.dropout=0"]),
        ("test_resnet", ["fc"], ["data.train_split=train+val"]),
        ("test_efficientnet", ["classifier"], []),
        ("test_vit", ["head"], ["model.dropout=0.5"]),
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"], []),
        ("resnetv2_50x1_bit", ["head.fc"], []),
    ],
)
def test_without_an_epoch_the_model_is_the_regression(
    name: str, heads: list[str], overrides: list[str], data: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    assert fit(recipe(data, "data.eval_batch_size=7", *overrides, name=name), run) == []
    weights = load_file(run.last / "model.safetensors")
    for key, expected in expected_heads(run, data, heads).items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(weights[key].double().view_as(expected), expected, rtol=1e-2, atol=1e-3 * scale)
    assert (run.best / "model.safetensors").read_bytes() == (run.last / "model.safetensors").read_bytes()


def test_it_is_better_than_chance_and_says_so(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path / "run")
    with caplog.at_level(logging.INFO, logger="fastsketch"):
        fit(recipe(data), run)
    [line] = [each.getMessage() for each in caplog.records if "solved by" in each.getMessage()]
    assert line.startswith("fc solved by ridge regression in ")
    assert line.endswith("% of held-out training images")
    scores = evaluate_run(run, "val").scores
    assert scores.top1 > 0.6  # of three classes, with random features
    assert scores.loss < 1.05


def test_more_epochs_go_on_from_it_as_if_there_had_been_no_stop(data: Path, tmp_path: Path) -> None:
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    fit(recipe(data, epochs=2), whole)
    fit(recipe(data), parts)
    solved = load_file(parts.last / "model.safetensors")
    assert fit(recipe(data), parts, resume=True) == []  # it is finished
    assert len(fit(recipe(data, epochs=2), parts, resume=True)) == 2
    ours, expected = (load_file(run.last / "model.safetensors") for run in (parts, whole))
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=0, msg=key)
    assert not torch.equal(ours["fc.weight"], solved["fc.weight"])


def test_the_command_says_where_the_model_is(data: Path, tmp_path: Path) -> None:
    options = ["--model", "test_resnet", "--device", "cpu", "--epochs", "0", "--set", "model.head_init=ridge"]
    done = forked.run("train", str(data), *options, "--batch-size", "16", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'run'}: no epochs; model in {tmp_path / 'run' / 'best'}"
    assert "of little use there: what is solved is a classifier of random features" in " ".join(done.stderr.split())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_computed_in_the_precision_of_the_training(
    precision: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    add = RidgeRegression.add
    monkeypatch.setattr(
        RidgeRegression, "add", lambda self, found, *rest: (seen.add(found.dtype), add(self, found, *rest))
    )
    fit(recipe(data, f"training.precision={precision}"), Run(tmp_path / "run"))
    assert seen == {getattr(torch, precision)}


@pytest.mark.parametrize("loader", ["pack", "resident"])
def test_damaged_data_is_not_learned_by_it_either(loader: str, tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 40, "val": 8}, size=SIZE)
    for bit in (3, 8 * 20_000, 8 * 40_000):
        run = tmp_path / f"run-{bit}"
        with flipped(tmp_path / "data" / "train.images.u8", bit), pytest.raises(DataError, match=r"train\.images\.u8"):
            fit(recipe(tmp_path / "data", f"data.loader={loader}"), run)
        assert not list(run.rglob("model.safetensors"))


def test_a_resumed_training_solves_nothing_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(data, epochs=1), run)
    monkeypatch.setattr("fastsketch.training.fit.solve_head", None)
    assert len(fit(recipe(data, epochs=2), run, resume=True)) == 2


def test_an_average_of_weights_begins_with_it(data: Path, tmp_path: Path) -> None:
    plain, averaged = Run(tmp_path / "plain"), Run(tmp_path / "averaged")
    fit(recipe(data), plain)
    fit(recipe(data, "training.ema=0.999"), averaged)
    ours, expected = (load_file(run.last / "model.safetensors") for run in (averaged, plain))
    torch.testing.assert_close(ours["fc.weight"], expected["fc.weight"], rtol=0, atol=0)


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    data = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "data", size=SIZE)
    options = ["--model", "test_resnet", "--device", "cpu", "--epochs", "0", "--set", "model.head_init=ridge"]
    command = ["train", str(data), *options, "--set", "data.batch_size=16", "--out"]
    assert forked.run(*command, str(tmp_path / "one")).returncode == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fastsketch"]
    two = subprocess.run(
        [sys.executable, *launcher, *command, str(tmp_path / "two")], capture_output=True, text=True, timeout=200
    )
    assert two.returncode == 0, two.stderr
    ours, expected = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("two", "one"))
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize(("epochs", "size"), [(0, SIZE), (1, SIZE), (2, 16), (3, 16)])
def test_features_are_those_of_the_size_that_comes_first(
    epochs: int, size: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: set[int] = set()
    predict_logits = head_init.predict_logits

    def noted(model: nn.Module, preprocess: Preprocess, images: Tensor, **arguments: Any) -> Tensor:
        sizes.add(preprocess.size)
        return predict_logits(model, preprocess, images, **arguments)

    monkeypatch.setattr(head_init, "predict_logits", noted)
    fit(recipe(data, f"training.image_sizes=[16,{SIZE}]", epochs=epochs), tmp_path / "run")
    assert sizes == {size}


def test_zero_makes_all_classes_alike(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    records = fit(recipe(data, "model.head_init=zero", "optimizer.lr=1e-9", epochs=1), run)
    assert records[0].train_loss == pytest.approx(torch.tensor(3.0).log().item(), abs=1e-4)


@pytest.mark.parametrize(("head", "auto"), [("ridge", True), ("random", False), ("zero", False)])
def test_statistics_are_frozen_by_themselves_where_the_head_is_solved(head: str, auto: bool, data: Path) -> None:
    for setting, expected in (("auto", auto), ("true", True), ("false", False)):
        config = recipe(data, f"model.head_init={head}", f"model.freeze_norm={setting}", epochs=1).model
        assert config.keeps_statistics == expected


@pytest.mark.parametrize("ema", [0, 0.5])
@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_statistics_stay_what_they_were(freeze: bool, ema: float, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    with torch.no_grad():
        for name, buffer in before.named_buffers():
            if buffer.is_floating_point():
                buffer += 0.1 * torch.rand(buffer.shape, generator=torch.Generator().manual_seed(len(name)))
    torch.save(before.state_dict(), tmp_path / "weights.pth")
    run = Run(tmp_path / "run")
    settings = [
        f"model.weights={tmp_path / 'weights.pth'}",
        f"model.freeze_norm={freeze}",
        "training.freeze_epochs=1",
        "optimizer.lr=5e-3",
    ]
    settings.append(f"training.ema={ema}")
    fit(recipe(data, *settings, epochs=2), run)
    after, norms = load_file(run.last / "model.safetensors"), list(dict(before.named_buffers()))
    same = [torch.equal(after[name], before.state_dict()[name]) for name in norms]
    assert all(same) if freeze else not any(same)
    assert not torch.equal(after["bn1.weight"], before.state_dict()["bn1.weight"])  # scales learn all the same


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.head_hidden=[8]"], "model.head_init=ridge is of a linear head"),
        (["model.head_init=zero", "model.head_hidden=[8]"], "model.head_init=zero is of a linear head"),
        (["model.head_init=random"], "training.epochs=0 trains nothing"),
    ],
)
def test_settings_that_exclude_each_other(overrides: list[str], message: str, data: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(data, *overrides)


def test_fewer_images_than_classes(tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 2, "val": 2}, size=SIZE)
    with pytest.raises(ConfigError, match="needs more than 2 training images of 5 classes"):
        fit(recipe(tmp_path / "data", "data.batch_size=2"), tmp_path / "run")
    assert not (tmp_path / "run" / "last").exists()


@pytest.mark.parametrize("classifier", [nn.Sequential(nn.Linear(3, 5)), nn.Conv2d(3, 5, 3)])
def test_a_classifier_that_is_not_linear(classifier: nn.Module) -> None:
    model = timm.create_model("test_resnet", in_chans=1)
    model.fc = classifier
    with pytest.raises(ConfigError, match=f"is no linear layer but a {type(classifier).__name__}"):
        linear_classifiers(model)


def test_a_classifier_of_tokens(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not fit this model: its aux_head classifies no image by one vector"):
        fit(recipe(data, name="volo_d1_224"), tmp_path / "run")


def test_a_sweep_needs_epochs(data: Path, tmp_path: Path) -> None:
    settings = ["--set", "model.head_init=ridge", "--set", "training.epochs=0"]
    done = forked.run("sweep", str(data), *settings, "--out", str(tmp_path / "sweep"))
    assert done.returncode == 2
    assert "training.epochs=0 leaves nothing to compare trials by" in done.stderr


def test_features_that_are_not_finite(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = head_init.predict_logits

    def broken(model: nn.Module, *args: object, **kwargs: object) -> object:
        with torch.no_grad():
            model.get_submodule("bn1").weight.fill_(float("inf"))
        return predict(model, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(head_init, "predict_logits", broken)
    with pytest.raises(FastSketchError, match="features are not finite") as refusal:
        fit(recipe(data), tmp_path / "run")
    assert refusal.value.exit_code == 1
