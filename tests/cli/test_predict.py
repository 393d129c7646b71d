"""`fastsketch predict`, `evaluate` of several runs, and `soup`, as commands."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import forked
import pytest
from fastsketch_cli.app import app
from trained import MODELS, make_run
from typer.testing import CliRunner, Result

from fastsketch import Classifier
from fastsketch.training.run.directory import Run


def call(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture(scope="module")
def other(sketches: Path, run: Run) -> Run:
    return make_run(sketches.parent / "other", run.dataset(), sketches.parent / "data", **MODELS["vit"])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_in_a_pipe_it_is_csv_of_what_the_classifier_says(run: Run, sketches: Path) -> None:
    files = sorted((sketches / "cat").iterdir())
    result = call("predict", run.root, *files)
    assert result.exit_code == 0, result.stderr
    expected = Classifier.load(run).predict(files)
    found = rows(result.stdout)
    assert [row["input"] for row in found] == list(map(str, files))
    assert [row["label"] for row in found] == [each.labels[0] for each in expected]
    assert [float(row["probability_5"]) for row in found] == pytest.approx(
        [p.probabilities[4] for p in expected], abs=1e-5
    )


def test_all_that_can_be_named_is_one_stream(run: Run, other: Run, sketches: Path, tmp_path: Path) -> None:
    files = sorted((sketches / "dog").iterdir())
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(files[2], "inside.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    result = call(
        "predict", run.root, other.root, files[0], tmp_path / "x.tar", f"{sketches}/eel/*", "-", tmp_path / "torn.png",
        "--topk", 1, "--out", tmp_path / "x.csv", "--sheet", tmp_path / "x.png", "--sort-into", tmp_path / "sorted",
        stdin=f"{files[1]}\n",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    eels = sorted((sketches / "eel").iterdir())
    named = [files[0], f"{tmp_path}/x.tar/inside.png", *eels, files[1], tmp_path / "torn.png"]
    found = rows((tmp_path / "x.csv").read_text())
    assert [row["input"] for row in found] == list(map(str, named))
    readable = [files[0], files[2], *eels, files[1]]
    expected = Classifier.load([run, other]).predict(readable, topk=1)
    assert [row["label"] for row in found[:-1]] == [each.labels[0] for each in expected]
    assert found[-1]["error"]
    assert f"{tmp_path}/torn.png: " in result.stderr
    assert f"{len(named)} rows, 1 of them could not be read" in " ".join(result.stdout.split())
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert sum(path.is_file() for path in (tmp_path / "sorted").rglob("*")) == len(readable)


def test_a_data_set_and_its_files_say_the_same(run: Run, sketches: Path) -> None:
    stored = rows(call("predict", run.root, sketches.parent / "data", "--split", "val", "--topk", 1).stdout)
    alone = rows(call("predict", run.root, *(sketches / row["input"] for row in stored), "--topk", 1).stdout)
    assert [row["label"] for row in stored] == [row["label"] for row in alone]
    assert [float(row["probability"]) for row in stored] == pytest.approx([float(row["probability"]) for row in alone])
    assert len(stored) == 24


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere", "x.png"], 2, "nowhere is not a run directory"),
        (["RUN"], 2, "nothing to look at"),
        (["RUN", "nowhere.png"], 2, "nowhere.png: no such file or folder"),
        (["RUN", "EMPTY"], 1, "there is no image in what was named"),
        (["RUN", "TORN"], 1, "not one of the inputs could be read"),
        (["RUN", "SKETCHES", "--topk", 7], 2, "--topk 7: there are 6 classes"),
        (["RUN", "SKETCHES", "--topk", 0], 2, "--topk 0"),
        (["RUN", "SKETCHES", "--out", "RUN"], 2, "no format ''"),
        (["RUN", "SKETCHES", "--out", "x.xml"], 2, "no format 'xml'"),
        (["RUN", "SKETCHES", "--resume"], 2, "--resume goes on with a file"),
        (["RUN", "SKETCHES", "--sheet", "x.gif"], 2, "a picture of this kind cannot be written"),
        (["RUN", "SKETCHES", "--header", "id"], 2, "two names are wanted"),
        (["RUN", "SKETCHES", "--id", "number"], 2, "stem, name or path"),
        (["RUN", "SKETCHES", "--label", "letter"], 2, "name or index"),
        (["RUN", "SKETCHES", "--checkpoint", "first"], 2, "holds no model"),
        (["RUN", "SKETCHES", "--device", "abacus"], 2, "device 'abacus' cannot be used"),
        (["RUN", "DATA", "--split", "dev"], 2, "has no 'dev' split"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    run: Run,
    sketches: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[object],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    meant = {
        "RUN": run.root, "SKETCHES": sketches, "EMPTY": tmp_path / "empty", "TORN": tmp_path / "torn.png",
        "DATA": sketches.parent / "data",
    }  # fmt: skip
    result = call("predict", *(meant.get(str(argument), argument) for argument in arguments))
    assert result.exit_code == code, result.stderr
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_broken_off_goes_on(run: Run, sketches: Path, tmp_path: Path, workers: str) -> None:
    """Ctrl-C while a list of paths is still being written; then the whole list, with --resume."""
    paths = [str(path) for path in sorted(sketches.rglob("*.png"))] * 8
    whole = tmp_path / "whole.csv"
    assert call("predict", run.root, "-", "--out", whole, stdin="\n".join(paths)).exit_code == 0
    out = tmp_path / "x.csv"
    command = ("predict", run.root, "-", "--out", out, "--workers", workers)
    with forked.Forked(*command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("\n".join(paths[:200]) + "\n")
        process.stdin.flush()
        partial = tmp_path / "x.csv.partial"
        while not (partial.exists() and partial.stat().st_size):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:  # a Ctrl-C that comes while C code imports something is lost, as libraries have it
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command with --resume goes on" in errors
    assert "Traceback" not in errors
    assert not out.exists()
    assert "of a prediction broken off" in call("predict", run.root, "-", "--out", out, stdin="\n".join(paths)).stderr
    resumed = call("predict", run.root, "-", "--out", out, "--resume", stdin="\n".join(paths))
    assert resumed.exit_code == 0, resumed.stderr
    assert [row["label"] for row in rows(out.read_text())] == [row["label"] for row in rows(whole.read_text())]
    assert not partial.exists()


def test_no_torch_is_imported_to_find_a_mistake(run: Run, tmp_path: Path) -> None:
    script = f"""
import sys
from typer.testing import CliRunner
from fastsketch_cli.app import app
result = CliRunner().invoke(app, ["predict", {str(run.root)!r}, "nowhere.png"])
assert result.exit_code == 2, result.output
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=tmp_path, env=os.environ)


def test_several_runs_are_evaluated_alone_and_together(run: Run, other: Run) -> None:
    result = call("evaluate", run.root, other.root)
    assert result.exit_code == 0, result.stderr
    assert "all 2 together" in result.stdout
    assert result.stdout.count("%") == 6


def test_a_soup_says_what_it_kept(run: Run, other: Run, tmp_path: Path) -> None:
    result = call("soup", run.root, run.root, "--out", tmp_path / "soup")
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 runs, val top-1" in " ".join(result.stdout.split())
    assert call("evaluate", tmp_path / "soup").exit_code == 0
    assert "has model.name=test_vit" in call("soup", run.root, other.root, "--out", tmp_path / "x").stderr
    assert "two runs at least" in call("soup", run.root, "--out", tmp_path / "x").stderr
