"""Two processes that share each batch do what one does alone."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from packs import write_pack
from safetensors.torch import load_file
from shapes import convert_shapes, write_shapes

from fastsketch.augment import SketchAugment
from fastsketch.config import AugmentConfig
from fastsketch.errors import ConfigError
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.distributed import PATIENCE, World
from fastsketch.training.prepare import prepare

# No batch norm, whose statistics are each process's own, and no dropout or mixing, whose randomness is.
TRAIN = (
    *("--model", "test_vit", "--device", "cpu", "--epochs", "2", "--set", "model.dropout=0"),
    *("--set", "data.batch_size=16", "--set", "augment.thickness=0.5", "--set", "training.clip_grad_norm=1"),
)


# As many patches as have ink at most: else each process leaves out others.
INK_TOKENS = ("model.tokens=30",)


def train(data: Path, run: Path, overrides: tuple[str, ...], *launcher: str) -> None:
    command = ["train", str(data), *TRAIN, *(f"--set={each}" for each in overrides), "--out", str(run)]
    if launcher:
        whole = [sys.executable, *launcher, "-m", "fastsketch", *command]
        result = subprocess.run(whole, capture_output=True, text=True, timeout=200)
    else:
        result = forked.run(*command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("best val top-1") == 1


@pytest.mark.parametrize("overrides", [(), INK_TOKENS], ids=["all patches", "ink tokens"])
def test_two_processes_equal_one_with_the_same_batch(overrides: tuple[str, ...], tmp_path: Path) -> None:
    data = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "data", size=96 if overrides else 32)
    one, two = tmp_path / "one", tmp_path / "two"
    train(data, one, overrides)
    train(data, two, overrides, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    expected, actual = (load_file(run / "last" / "model.safetensors") for run in (one, two))
    for key, tensor in expected.items():
        torch.testing.assert_close(actual[key], tensor, rtol=0, atol=1e-5)
    rows = [list(csv.DictReader((run / "metrics.csv").open(newline=""))) for run in (one, two)]
    for row, other in zip(*rows, strict=True):
        assert float(other["train_loss"]) == pytest.approx(float(row["train_loss"]), abs=1e-5)
        assert float(other["val_loss"]) == pytest.approx(float(row["val_loss"]), abs=1e-5)
        assert other["val_top1"] == row["val_top1"]  # 30 images, each of them counted once


def test_a_batch_is_shared_out_by_samples() -> None:
    augment = SketchAugment(AugmentConfig(mixup=1, thickness=0.5), Preprocess(16))
    params = augment.sample_params(6, torch.Generator())
    first, second = (World(rank, rank, 2).rows(params) for rank in range(2))
    assert torch.equal(torch.stack([first.sources, second.sources], dim=1).flatten(0, 1), params.sources)
    assert first.mix is not None
    assert len(first.mix.lam) == 3
    assert first.displacements is None
    assert World(1, 1, 2).share(6) == 3
    with pytest.raises(ConfigError, match="cannot be shared among 4 processes"):
        World(0, 0, 4).share(6)


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert World(3, 1, 4).device_name("auto") == "cuda:1"
    assert World(3, 1, 4).device_name("cuda") == "cuda:1"
    assert World(3, 1, 4).device_name("cpu") == "cpu"
    assert World().device_name("auto") == "auto"


def test_who_lets_torchrun_begin_anew_waits_for_the_directory_and_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_pack(tmp_path / "data", {"train": 40, "val": 20})
    assert World(1, 0, 2).patience == 0
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert World(1, 0, 2).patience == 0
    prepare(data=tmp_path / "data", batch_size=16)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert World(1, 0, 2).patience == PATIENCE
    assert World().patience == 0
    with pytest.raises(ConfigError, match="torchrun --max-restarts needs --out"):
        prepare(data=tmp_path / "data", batch_size=16)
    assert prepare(data=tmp_path / "data", batch_size=16, out=tmp_path / "run").run.root == tmp_path / "run"
