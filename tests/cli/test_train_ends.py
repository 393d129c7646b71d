"""`fastsketch train` is refused early, names its directory, and says how to go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from ends import write_data
from typer.testing import CliRunner, Result

from fastsketch.training import fit
from fastsketch.training.run.directory import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "set")


def call(*arguments: object) -> Result:
    from fastsketch_cli.app import app

    small = ("--model", "test_resnet", "--device", "cpu", "--epochs", 1, "--set", "data.batch_size=16")
    return CliRunner().invoke(app, ["train", *map(str, arguments), *map(str, small)])


def test_it_names_its_directory_first_and_a_finished_run_says_so(data: Path, tmp_path: Path) -> None:
    first, again = (call(data, "--out", tmp_path / "run") for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert first.output.splitlines()[0] == f"run directory: {tmp_path / 'run'}"
    assert "is finished, 1 epochs; more --epochs continue it" in again.output
    assert again.output.count("best val top-1") == 1
    shutil.rmtree(tmp_path / "run" / "plots")
    assert call("--resume", tmp_path / "run").exit_code == 0
    assert (tmp_path / "run/plots/curves.png").is_file()


@pytest.mark.parametrize("out", ["", " ", "file", "file/run"])
def test_an_out_that_cannot_be_is_refused_in_a_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit, "fit", None)
    (tmp_path / "file").write_text("somebody's")
    result = call(data, "--out", out)
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 2, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_h5_a_second_training_is_refused_before_it_begins(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "fit", None)
    with Run(tmp_path / "run").held():
        result = call(data, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "another process is writing" in result.output


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow)],
)
def test_a_signal_brings_the_command_that_continues(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    root = tmp_path / "the run"
    command = ("train", data, "--model", "test_resnet", "--device", "cpu")
    command += ("--epochs", "100000", "--set", "data.batch_size=16", "--out", root)
    with forked.Forked(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not (root / "metrics.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"continue with: fastsketch train --resume '{root}'" in output
    assert "Traceback" not in output


def test_data_that_cannot_be_trained_on_are_refused_without_torch(tmp_path: Path) -> None:
    data = write_data(tmp_path / "set")
    path = data / "dataset.json"
    script = (
        "import sys\n"
        "from fastsketch_cli.app import main\n"
        f"sys.argv = ['fastsketch', 'train', {str(data)!r}, '--set', 'data.batch_size=1000']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    assert path.is_file()
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["2", "False"], result
    assert "a batch of 1000 is more than the 40 training images" in result.stderr
