"""What changes between epochs: what is frozen, and the size of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shapes import convert_shapes, write_shapes
from torch import Tensor, nn

from fastsketch.augment import Targets
from fastsketch.errors import ConfigError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.recipes import load_recipe
from fastsketch.training import trainer
from fastsketch.training.execution.step import TrainStep
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run
from fastsketch.training.trainer import Trainer

SMALL = ("model.name=test_resnet", "data.batch_size=16", "optimizer.lr=5e-2", "training.device=cpu")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def test_a_frozen_backbone_stays_as_it_was_and_thaws(shapes: Path, tmp_path: Path) -> None:
    runs = {epochs: Run(tmp_path / str(epochs)) for epochs in (1, 2, 3)}
    for epochs, run in runs.items():
        overrides = [*SMALL, "training.freeze_epochs=2", f"training.epochs={epochs}", "schedule.name=constant"]
        fit(load_recipe(None, overrides, data__path=str(shapes)), run)
    first, second, third = (load_file(run.last / "model.safetensors") for run in runs.values())
    backbone = [key for key in first if not key.startswith("fc.") and "num_batches" not in key]
    assert all(torch.equal(first[key], second[key]) for key in backbone)
    assert not torch.equal(first["fc.weight"], second["fc.weight"])
    assert not any(torch.equal(second[key], third[key]) for key in backbone if key.endswith("conv1.weight"))


def test_frozen_stages_stay_as_they_were_and_thaw_in_no_epoch(shapes: Path, tmp_path: Path) -> None:
    runs = {epochs: Run(tmp_path / str(epochs)) for epochs in (1, 4)}
    for epochs, run in runs.items():
        overrides = [*SMALL, "model.freeze_stages=2", "training.freeze_epochs=1", f"training.epochs={epochs}"]
        fit(load_recipe(None, overrides, data__path=str(shapes)), run)
    first, last = (load_file(run.last / "model.safetensors") for run in runs.values())
    kept = {key for key in first if torch.equal(first[key], last[key])}
    assert kept == {key for key in first if key.startswith(("conv1.", "bn1.", "layer1."))}


def test_images_grow_and_the_last_size_is_the_model_s(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    loss_of = TrainStep._loss_of

    def looked_at(step: TrainStep, images: Tensor, targets: Targets) -> Tensor:
        seen.append(images.shape[-1])
        return loss_of(step, images, targets)

    monkeypatch.setattr(TrainStep, "_loss_of", looked_at)
    run = Run(tmp_path / "run")
    overrides = [*SMALL, "training.image_sizes=[16,24]", "training.epochs=3", "evaluation.flip=true"]
    records = fit(load_recipe(None, overrides, data__path=str(shapes)), run)
    assert seen == [16] * 12 + [24] * 24  # what equal parts leave over goes to the later sizes
    scores = evaluate_run(run, "val", checkpoint="last", device="cpu").scores
    assert (scores.loss, scores.top1) == (records[-1].val_loss, records[-1].val_top1)
    too_large = load_recipe(None, [*SMALL, "training.image_sizes=[64]"], data__path=str(shapes))
    with pytest.raises(ConfigError, match="64 px, but the images of the data set have 32 px"):
        fit(too_large, Run(tmp_path / "large"))


def test_train_and_val_together_leave_nothing_to_validate(shapes: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    overrides = [*SMALL, "data.train_split=train+val", "training.epochs=2"]
    records = fit(load_recipe(None, overrides, data__path=str(shapes)), run)
    assert [record.val_top1 for record in records] == [None, None]
    assert records[0].step == (192 + 30) // 16
    last, best = (load_file(folder / "model.safetensors") for folder in (run.last, run.best))
    assert all(torch.equal(last[key], best[key]) for key in last)
    assert evaluate_run(run, "test", device="cpu").scores.loss > 0


def test_each_phase_is_brought_into_shape_once(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []
    monkeypatch.setattr(
        trainer,
        "compile_step",
        lambda step, augment, batch, params, mode, world, **_: tried.append((mode, augment.preprocess.size)),
    )
    overrides = [*SMALL, "training.image_sizes=[16,32]", "training.epochs=4", "training.compile=default"]
    fit(load_recipe(None, overrides, data__path=str(shapes)), Run(tmp_path / "run"))
    assert tried == [("default", 16), ("default", 32)]


def test_every_phase_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo compiles so many forms of a function at most, and leaves the others as they are without a word."""
    sizes = [32, 48, 64, 80, 96]
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)  # torch's own
    compiled: list[int] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled.append(max(each.shape[-1] for each in inputs if isinstance(each, Tensor) and each.ndim == 4))
        return graph.forward

    def compile_loss(function: Any, mode: str) -> Any:
        return function if isinstance(function, nn.Module) else torch.compile(function, dynamic=False, backend=counting)

    monkeypatch.setattr(trainer, "compiled", compile_loss)
    data = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "data", size=sizes[-1])
    overrides = ["model.name=test_vit", "model.tokens=3", "data.batch_size=4"]
    settings = [f"training.image_sizes={sizes}", f"training.epochs={len(sizes)}", "training.compile=default"]
    recipe = load_recipe(None, [*overrides, *settings, "training.device=cpu"], data__path=str(data))
    made = Trainer(recipe, DatasetMetadata.load(data), torch.device("cpu"))
    for epoch, size in enumerate(sizes):
        made.state.epoch = epoch
        made.enter_phase(checked=False)
        batch, _ = made.trial()
        compiled.clear()
        for _ in range(2):
            made.train_step(batch)
        assert compiled == [size]
    torch.compiler.reset()
