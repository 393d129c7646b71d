"""A training that is killed without warning, in a real process, and continued."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shapes import convert_shapes, write_shapes

from fastsketch.training.resume import previous_resume

TRAIN = (
    *("--model", "test_efficientnet", "--device", "cpu", "--epochs", "4"),
    *("--set", "data.batch_size=16", "--set", "optimizer.name=adamw", "--set", "optimizer.lr=2e-3"),
    *("--set", "training.ema=0.9", "--set", "augment.mixup=1", "--set", "augment.thickness=0.5"),
    *("--set", "training.save_minutes=0"),
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def start(shapes: Path, run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fastsketch", "train", str(shapes), *TRAIN, "--out", str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(shapes: Path, run: Path) -> str:
    with start(shapes, run) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_killed_at_a_random_step_and_called_again_it_ends_in_the_same_bits(shapes: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(shapes, whole)
    chance = random.Random()
    for _ in range(2):
        with start(shapes, broken) as process:
            # Four epochs of twelve steps, each step saved: wherever this falls, it is in the middle of something.
            before = saved_step(broken)
            aim = chance.randint(before + 1, min(before + 20, 46))
            while saved_step(broken) < aim:
                assert process.poll() is None, process.communicate()[0]
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert "continuing in epoch" in finish(shapes, broken)
    for folder in ("last", "best"):
        expected, actual = (load_file(run / folder / "model.safetensors") for run in (whole, broken))
        assert all(torch.equal(expected[key], actual[key]) for key in expected)
    columns = [
        [line.split(",")[:6] for line in (run / "metrics.csv").read_text().splitlines()] for run in (whole, broken)
    ]
    assert columns[0] == columns[1]


def saved_step(run: Path) -> int:
    """Steps that were done when `resume.pt` was written; 0 before the first."""
    for path in (run / "resume.pt", previous_resume(run / "resume.pt")):
        try:
            state = torch.load(path, weights_only=True)
        except FileNotFoundError:
            continue
        return int(state["epoch"] * 12 + state["steps"])
    return 0
