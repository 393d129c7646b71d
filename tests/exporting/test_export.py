"""What is exported says what the run says, to the fifth digit, wherever it runs."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fastsketch_cli.app import app
from trained import CLASSES, MODELS, SIZE, convert_sketches, make_run
from typer.testing import CliRunner

from fastsketch import Classifier
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError
from fastsketch.evaluation import evaluate_run
from fastsketch.evaluation.exported import evaluate_exported
from fastsketch.exporting import export as exporting
from fastsketch.exporting.export import export_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.inference.description import KEY, Description
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import save_temperature

TEMPERATURE = 0.5

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def onnx_file(run: Run) -> Path:
    """Beside it is the same as .pt2; neither has the temperature that tests give the run."""
    export_run(run, "torch", run.root / "module")
    return export_run(run, out=run.root / "module")[0].path


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in ("cnn", "vit") else []) for kind in MODELS]
)
def test_all_ways_agree(sketches: Path, data: DatasetMetadata, tmp_path: Path, kind: str) -> None:
    """Validation, the files through Python, ONNX and .pt2; with mirror images and a temperature.

    A model with ink tokens is a transformer and more, one with a larger head a CNN and more: the plain ones are slow.
    """
    run = make_run(tmp_path / "run", data, sketches.parent / "data", flip=True, **MODELS[kind])
    outputs = evaluate_run(run, "val", device="cpu").outputs
    # Of a model that has learned nothing, evaluation finds a temperature that makes all classes alike.
    save_temperature(run.best, TEMPERATURE)
    expected = outputs.probabilities(TEMPERATURE)
    assert float(expected.max(dim=1).values.mean()) > 0.5, "it is sure of something"
    val = PackSplit(sketches.parent / "data", data, "val")
    files = [sketches / name for name in val.ids()]
    exported = {to: export_run(run, to)[0] for to in ("onnx", "torch")}
    for source in (run.root, exported["onnx"].path, exported["torch"].path):
        found = Classifier.load(source, device="cpu").predict(files, topk=len(CLASSES))
        probabilities = torch.tensor([[p for _, p in sorted(zip(e.ids, e.probabilities, strict=True))] for e in found])
        assert float((probabilities - expected).abs().max()) < 1e-5
        assert torch.equal(probabilities.argmax(dim=1), expected.argmax(dim=1))
    for each in exported.values():
        parity = each.description.parity
        assert parity is not None
        assert (parity.sketches, parity.same_top1) == (24, 1.0)
        assert parity.largest_difference < 1e-5
        assert parity.milliseconds.keys() == {"1", "2", "64"}
        assert each.description.tokens == MODELS[kind].get("tokens")


def test_onnx_alone_will_do(run: Run, onnx_file: Path, data: DatasetMetadata, sketches: Path) -> None:
    """No torch, no fastsketch: pixels in, probabilities out, names in the metadata, any batch size."""
    session = onnxruntime.InferenceSession(str(onnx_file))
    [pixels], [probabilities] = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("images", "tensor(uint8)", [1, SIZE, SIZE])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    described = json.loads(session.get_modelmeta().custom_metadata_map["fastsketch"])
    assert described["classes"] == CLASSES
    assert "paper = 255" in session.get_modelmeta().graph_description
    val = PackSplit(sketches.parent / "data", data, "val")
    for count in (1, 3, 24):
        [found] = session.run(None, {"images": np.asarray(val.images[:count])})
        assert found.shape == (count, len(CLASSES))
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_card_says_what_a_stranger_must_know(run: Run, sketches: Path, tmp_path: Path) -> None:
    evaluate_run(run, "val", device="cpu")
    export_run(run, "torch", tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["pipeline_tag"] == "image-classification"
    for said in (
        "`[batch, 1, 48, 48]`",
        "ant, bee, cat",
        "best-val",
        "36 train, 24 val",
        "name: test_resnet",
        "100.00%",
    ):
        assert said in text
    assert "patches" not in text


def test_int8_says_what_it_costs(run: Run, tmp_path: Path) -> None:
    whole, small = export_run(run, "onnx", tmp_path, int8=True)
    assert small.path.name == "model.int8.onnx"
    assert (small.description.precision, whole.description.top1) == ("int8", None)
    top1 = small.description.top1
    assert top1 is not None
    found = Classifier.load(small.path).predict(list(PackSplit(*_val(run)).images[:, 0]), topk=1)
    assert top1 == np.mean([each.ids[0] for each in found] == PackSplit(*_val(run)).labels)
    onnx = pytest.importorskip("onnx")
    kinds = [node.op_type for node in onnx.load(small.path).graph.node]
    assert "QuantizeLinear" in kinds
    assert "QuantizeLinear" not in [node.op_type for node in onnx.load(whole.path).graph.node]


def _val(run: Run) -> tuple[Path, DatasetMetadata, str]:
    folder = run.recipe().data.path
    assert folder is not None
    return folder, DatasetMetadata.load(folder), "val"


@pytest.mark.parametrize(
    ("paper_token", "said"), [(False, "what it does not know"), (True, "one token for all others")]
)
def test_dense_shows_all_patches_and_the_card_says_whether_it_knows_them(
    paper_token: bool, said: str, sketches: Path, data: DatasetMetadata, tmp_path: Path
) -> None:
    settings = {**MODELS["ink tokens"], "paper_token": paper_token}
    run = make_run(tmp_path / "run", data, sketches.parent / "data", **settings)
    evaluate_run(run, "val", device="cpu")  # on inked patches, which is no score of this file
    expected = evaluate_run(run, "val", device="cpu", tokens="all").outputs.probabilities(1.0)
    [file] = export_run(run, "torch", dense=True)
    card = (run.root / "export" / "README.md").read_text(encoding="utf-8")
    assert said in card
    assert "| best-val-tokens-all |" in card
    assert "| best-val |" not in card
    assert file.description.tokens is None
    found = Classifier.load(file.path).predict(list(PackSplit(*_val(run)).images[:, 0]), topk=1)
    assert [each.ids[0] for each in found] == expected.argmax(dim=1).tolist()


@pytest.mark.parametrize(("off", "said"), [(2e-4, r"2\.\de-04"), (math.nan, "nan")])
def test_a_file_that_says_something_else_is_not_kept(
    off: float, said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = exporting._ask

    def slightly_off(path: Path) -> Any:
        ask = opened(path)
        return lambda images: ask(images) + off

    monkeypatch.setattr(exporting, "_ask", slightly_off)
    with pytest.raises(FastSketchError, match=rf"model\.pt2 is not kept: it differs from the model by {said}"):
        export_run(run, "torch", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md is there already"):
        export_run(run, "torch", tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# mine"
    (tmp_path / "README.md").unlink()
    (tmp_path / "model.pt2").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"model\.pt2 is there already"):
        export_run(run, "torch", tmp_path)
    assert (tmp_path / "model.pt2").read_bytes() == b"mine"
    export_run(run, "torch", tmp_path, overwrite=True)
    assert Classifier.load(tmp_path / "model.pt2").classes == CLASSES
    (tmp_path / "model.pt2").unlink()
    export_run(run, "torch", tmp_path)  # our own card is in nobody's way


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"to": "tflite"}, "no target 'tflite'"),
        ({"to": "torch", "int8": True}, "--int8 is of ONNX"),
        ({"checkpoint": "first"}, "no checkpoint 'first'"),
        ({"data": Path("nowhere")}, "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_exported_is_said_first(run: Run, tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        export_run(run, **{"out": tmp_path / "out", **settings})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_told(
    run: Run, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(BackendMissing, match=f"{missing if missing == 'onnxruntime' else 'onnx'} cannot be imported"):
        export_run(run, "onnx", tmp_path)
    if missing == "onnxruntime":
        with pytest.raises(BackendMissing, match="onnxruntime cannot be imported"):
            Classifier.load(onnx_file)


def test_an_exported_file_is_scored_as_the_run_is(run: Run, onnx_file: Path, sketches: Path, tmp_path: Path) -> None:
    folder, _, _ = _val(run)
    expected = evaluate_run(run, "train", device="cpu", flip=False)
    for file in (onnx_file, onnx_file.with_suffix(".pt2")):
        scores = evaluate_exported(file, folder, "train")
        assert (scores.top1, scores.top5) == (expected.scores.top1, expected.scores.top5)
        assert scores.loss == pytest.approx(expected.scores.loss, abs=1e-4)
    said = CliRunner().invoke(app, ["evaluate", str(onnx_file), "--data", str(folder), "--split", "train"])
    assert f"top-1 {expected.scores.top1:.2%}" in said.stdout
    for data, split, says in (
        (None, "val", "names no data set"),
        (folder, "test", "has no 'test' split"),
        (tmp_path, "val", "is not a converted data set"),
    ):
        with pytest.raises(ConfigError, match=says):
            evaluate_exported(onnx_file, data, split)
    convert_sketches(sketches, tmp_path / "small", 40)
    with pytest.raises(ConfigError, match=r"takes images of 48 px, .* has 40 px"):
        evaluate_exported(onnx_file, tmp_path / "small")


def test_the_command_tells_what_it_found(run: Run, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(run.root), "--to", "torch", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "on 24 sketches top-1 is the same for 100.00%" in said
    assert f"model card: {tmp_path}/README.md" in said
    refused = CliRunner().invoke(app, ["export", str(run.root), "--to", "torch", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "model.pt2 is there already" in refused.stderr


# ---------------------------------------------------------------------------------------------- somebody else's files


def test_a_file_of_somebody_else_is_told_from_ours(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(
        DataError, match=r"other\.onnx was not made by `fastsketch export`: its metadata has no 'fastsk"
    ):
        Classifier.load(tmp_path / "other.onnx")
    onnx.helper.set_model_props(model, {KEY: "{}"})
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(DataError, match=r"odd\.onnx: its metadata 'fastsketch' are damaged \(model: Field required\)"):
        Classifier.load(tmp_path / "odd.onnx")
    for name in ("x.onnx", "x.pt2"):
        (tmp_path / name).write_bytes(b"no model")
        with pytest.raises(DataError, match=r"x\.\w+ is no usable"):
            Classifier.load(tmp_path / name)
        with pytest.raises(ConfigError, match="no such file"):
            Classifier.load(tmp_path / f"nowhere-{name}")
    with pytest.raises(ConfigError, match="has the mirror image inside or not at all"):
        Classifier.load(onnx_file, flip=True)


class Harm:
    """What a hostile file would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["weights", "constants", "sample_inputs"])
def test_nothing_in_a_pt2_is_run(run: Run, tmp_path: Path, place: str) -> None:
    """A pickle wherever torch would look for one: it is refused, and not run."""
    [file] = export_run(run, "torch", tmp_path)
    harm = pickle.dumps(Harm(tmp_path / "harm"))
    saved = io.BytesIO()
    torch.save(Harm(tmp_path / "harm"), saved)
    with zipfile.ZipFile(file.path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    config = next(name for name in content if name.endswith(f"model_{place}_config.json")) if place[0] != "s" else ""
    if place == "sample_inputs":
        content[next(name for name in content if "/sample_inputs/" in name)] = saved.getvalue()
    else:
        described = json.loads(content[config])
        entry = {"path_name": "weight_x", "is_param": True, "use_pickle": True, "tensor_meta": None}
        described["config"]["x"] = entry
        content[config] = json.dumps(described).encode()
        content[str(Path(config).parent / "weight_x")] = harm
    with zipfile.ZipFile(tmp_path / "hostile.pt2", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match=r"hostile\.pt2 holds more than numbers, and is not opened"):
        Classifier.load(tmp_path / "hostile.pt2")
    assert not (tmp_path / "harm").exists()


def test_a_description_survives_its_text() -> None:
    described = Description(model="x", classes=["a"], reading={"size": 8})  # type: ignore[arg-type]
    assert Description.parse(described.model_dump_json(), "x") == described
