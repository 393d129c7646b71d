"""Which data set, which model, under which name: what `evaluate` decides before and after it computes."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from fastsketch_cli.evaluate import evaluate_and_report
from packs import CLASSES, write_pack

from fastsketch import atomic
from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.evaluation import evaluate_run
from fastsketch.evaluation.subject import Subject
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.run.checkpoint import save_model
from fastsketch.training.run.directory import Run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and `runs/one` trained on it by a command that named it so."""
    root = tmp_path_factory.mktemp("work")
    metadata = write_pack(root / "data", {"train": 40, "val": 10, "test": 20}, size=32)
    run = Run(root / "runs" / "one")
    for folder in (run.best, run.last, run.plots):
        folder.mkdir(parents=True)
    metadata.save(run.root)
    load_recipe(None, ["model.name=test_vit"], data__path="data").save(run.config)
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_vit"), num_classes=len(CLASSES), size=32)
    for folder in (run.best, run.last):
        save_model(model, folder, Preprocess(32, 0, 1), CLASSES)
    return root


@pytest.fixture
def run(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of both, from whose folder commands are given."""
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Run(Path("runs/one"))


def subject(run: Run, split: str = "test", **changes: object) -> Subject:
    arguments: dict[str, object] = {"checkpoint": "best", "data": None, "flip": None, "tokens": None, **changes}
    return Subject.of(run, split, **arguments)  # type: ignore[arg-type]


def other_data(folder: Path, **changes: object) -> Path:
    """A data set with other images."""
    metadata = write_pack(folder, {"train": 30, "test": 15}, size=32)
    metadata.model_copy(update=changes).save(folder)
    return folder


# ------------------------------------------------------------------------------------------------------ where it is


def test_a_run_finds_its_data_from_anywhere(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding 10: from another directory `evaluate` said `tub128: no such folder`."""
    assert subject(run).folder == Path("data")
    shutil.copytree("runs/one", tmp_path / "elsewhere" / "data")  # a run, which has a dataset.json as well
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = subject(Run(Path("../runs/one")))
    assert found.folder == tmp_path / "data"
    assert found.own
    assert evaluate_run(Run(Path("../runs/one")), "test", device="cpu").subject.folder == tmp_path / "data"


def test_of_several_places_the_one_with_the_same_data_is_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "runs" / "data")
    other_data(tmp_path / "data")
    found = subject(run)
    assert found.folder == tmp_path / "runs" / "data"
    assert found.own


def test_data_that_are_nowhere_are_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"^data, the data set of runs/one, is not there") as caught:
        subject(run)
    assert "--data" in str(caught.value.hint)
    assert subject(run, data=tmp_path / "moved").own


# ------------------------------------------------------------------------------------------------- other data, names


def test_other_data_take_the_place_of_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finding 10: `evaluate --data OTHER` overwrote `best-test.json` as if it were the run's own test split."""
    evaluate_and_report(run.root, "test", device="cpu")
    own = {path.name: path.read_bytes() for path in [*run.evaluation.iterdir(), *run.plots.iterdir()]}
    tables = {"best-test.json", "best-test-classes.csv", "best-test-mistakes.csv"}
    pictures = {"confusion-best-test.png", "mistakes-best-test.png", "reliability-best-test.png"}
    assert own.keys() == tables | pictures
    assert "another data set" not in capsys.readouterr().out
    result = evaluate_and_report(run.root, "test", data=other_data(tmp_path / "other one"), device="cpu")
    assert "another data set than the run was trained on:" in capsys.readouterr().out
    assert result.subject.name.startswith("best-test-other_one-")
    assert {path.name: path.read_bytes() for path in run.evaluation.iterdir() if path.name in own} == {
        name: content for name, content in own.items() if name in tables
    }
    written = json.loads((run.evaluation / f"{result.subject.name}.json").read_text())
    assert written == {**result.scores._asdict(), "calibration": result.calibration._asdict()}
    assert len(list(run.evaluation.iterdir())) == 2 * len(tables)
    assert len(list(run.plots.iterdir())) == 2 * len(pictures)


def test_moved_data_are_the_runs_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    assert subject(run, data=tmp_path / "moved").name == "best-test"


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["ant", "bee", "cat", "dog", "fox"], "it lacks 'eel' and has besides 'fox'"),
        (["a", "b", "c", "d", "e"], "it lacks 'ant', 'bee', 'cat' and 2 more and has besides 'a', 'b', 'c' and 2 more"),
        (["ant", "bee", "cat", "dog", "eel", "x\n"], "it has besides 'x\\n'"),
        (["bee", "ant", "cat", "dog", "eel"], "they are in another order: where the run has 'ant', it has 'bee'"),
    ],
    ids=["one", "all", "more", "order"],
)
def test_other_classes_are_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: list[str], told: str
) -> None:
    """Finding 10: "other classes" named none of them."""
    metadata = DatasetMetadata.load(tmp_path / "data")
    real = DatasetMetadata.load
    monkeypatch.setattr(
        DatasetMetadata,
        "load",
        lambda folder: metadata.model_copy(update={"classes": classes}) if folder.name == "other" else real(folder),
    )
    with pytest.raises(ConfigError, match="has other classes than the data set that runs/one was trained on") as caught:
        subject(run, data=tmp_path / "other")
    assert caught.value.hint == told


@pytest.mark.parametrize(
    ("split", "changes", "name"),
    [
        ("val", {}, "best-val"),
        ("val+test", {"checkpoint": "last"}, "last-val+test"),
        ("test", {"flip": True, "tokens": "0x3"}, "best-test-flip-tokens-3"),
        ("test", {"tokens": "all"}, "best-test-tokens-all"),
        ("test", {"tokens": 4}, "best-test-tokens-4"),
    ],
)
def test_names_of_the_files(run: Run, split: str, changes: dict[str, object], name: str) -> None:
    assert subject(run, split, **changes).name == name


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("split", "changes", "told"),
    [
        ("train+train", {}, "'train+train' counts a split more than once"),
        ("val+test+val", {}, "counts a split more than once"),
        ("dev", {}, "no 'dev' split"),
        ("", {}, "no '' split"),
        ("../../x", {}, "no '../../x' split"),
        ("test", {"checkpoint": "../../x"}, "no checkpoint '../../x'"),
        ("test", {"checkpoint": ""}, "no checkpoint ''"),
        ("test", {"tokens": "x\n../.."}, "model.eval_tokens: must be"),
        ("test", {"tokens": "!!timestamp x"}, "the value is not YAML"),
        ("test", {"data": Path("none")}, "none: no such folder"),
        ("test", {"data": Path("runs")}, "not a converted data set"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(
    run: Run, split: str, changes: dict[str, object], told: str
) -> None:
    """Low: `evaluate --split train+train`; finding 15."""
    with pytest.raises(ConfigError) as caught:
        subject(run, split, **changes)
    assert told in caught.value.message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_run_without_a_model_is_told(run: Run, name: str) -> None:
    (run.best / name).unlink()
    with pytest.raises(ConfigError, match=f"holds no model: {name} is missing"):
        subject(run)


def test_a_device_that_computes_nothing_is_told(run: Run) -> None:
    with pytest.raises(ConfigError, match="device 'meta' cannot be used"):
        evaluate_run(run, "test", device="meta")
    assert not run.evaluation.exists()


def test_a_full_disk_leaves_what_was_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_run(run, "test", device="cpu")
    files = [*run.evaluation.iterdir(), *run.plots.iterdir()]
    before = {path: path.read_bytes() for path in files}

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "sync", full)
    with pytest.raises((OSError, FastSketchError)):
        evaluate_run(run, "test", device="cpu")
    assert {path: path.read_bytes() for path in [*run.evaluation.iterdir(), *run.plots.iterdir()]} == before


@pytest.mark.parametrize("change", [{"num_classes": 9}, {"label_names": ["x", *CLASSES[1:]]}], ids=["count", "names"])
def test_a_model_of_other_classes_is_told_in_a_line(run: Run, change: dict[str, object]) -> None:
    path = run.best / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"best/config\.json is of a model with other classes") as caught:
        subject(run)
    assert "\n" not in caught.value.message
    assert subject(run, checkpoint="last").checkpoint == "last"
