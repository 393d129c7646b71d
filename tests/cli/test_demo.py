"""`fastsketch demo` called where there is something already: a demo's, or somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastsketch_cli import demo
from fastsketch_cli.commands import app
from typer.testing import CliRunner, Result

from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.locks import exclusive
from fastsketch.training.run.directory import Run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_a_demo_replaces_only_demos(tmp_path: Path) -> None:
    (tmp_path / "mine" / "run").mkdir(parents=True)
    (tmp_path / "mine" / "run" / "config.yaml").write_text("description: precious\n")
    result = call("demo", tmp_path / "mine")
    assert result.exit_code == 2
    assert "is there already, and not from a demo" in result.stderr
    assert (tmp_path / "mine" / "run" / "config.yaml").read_text() == "description: precious\n"
    assert call("demo", tmp_path / "mine" / "run" / "config.yaml").exit_code == 2


def test_a_demo_deletes_only_what_a_run_wrote(tmp_path: Path) -> None:
    """Called again it deleted the folder `run` with all in it, also while another process trained there."""
    run = Run(tmp_path / "demo" / "run")
    ours = [run.config, run.record, run.metrics, run.metrics.with_suffix(".csv"), run.root / "dataset.json"]
    ours += [run.resume_path, run.previous_resume_path, run.last / "config.json", run.best / "model.safetensors"]
    ours += [run.plots / "curves.png", run.evaluation / "test-classes.csv"]
    theirs = [run.root / "notes.txt", run.plots / "thesis.tex", run.last / "backup" / "model.safetensors"]
    for path in (*ours, *theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("written")
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "cat.png").write_text("precious")
    (run.best / "linked").symlink_to(tmp_path / "album")
    other = Run(tmp_path / "other")
    other.root.symlink_to(run.root)

    demo._discard(other)
    assert all(path.is_file() for path in ours)
    with exclusive(run.root), pytest.raises(FastSketchError, match="another process is writing"):
        demo._discard(run)
    assert all(path.is_file() for path in ours)
    demo._discard(run)
    assert not any(path.exists() for path in ours)
    assert [path.read_text() for path in theirs] == ["written"] * len(theirs)
    assert (tmp_path / "album" / "cat.png").read_text() == "precious"

    run.plots.rename(tmp_path / "album" / "plots")
    run.plots.symlink_to(tmp_path / "album" / "plots")
    (run.plots / "cat.png").write_text("precious")
    demo._discard(run)
    assert (run.plots / "cat.png").read_text() == "precious"
    with pytest.raises(ConfigError, match=r"backup is in the way of a new run"), run.held():
        pass


def test_a_demo_can_be_called_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of the last one: here a run that had only just begun."""
    begun: list[bool] = []

    def draw(sketches: Path) -> float:
        run = Run(tmp_path / "demo" / "run")
        with run.held():
            run.config.write_text("a run")
        begun.append(True)
        raise FastSketchError("enough")

    monkeypatch.setattr(demo, "_draw", draw)
    for _ in range(2):
        assert call("demo", tmp_path / "demo").stderr == "error: enough\n"
    assert begun == [True, True]
