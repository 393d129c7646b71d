"""Rows of any number of inputs: what a classifier says of each, and never lost."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained import CLASSES

from fastsketch import Classifier
from fastsketch.conversion.decode import Reading
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError
from fastsketch.inference import predict as predicting
from fastsketch.inference import writing
from fastsketch.inference.inputs import Input, StoredSample, UnreadSample, find_inputs
from fastsketch.inference.least_certain import LeastCertain
from fastsketch.inference.row_journal import RowJournal
from fastsketch.inference.rows import Row
from fastsketch.inference.saved import SavedModel
from fastsketch.inference.tables import FORMATS, Submission, Table
from fastsketch.inference.writing import partial_path, predict_into
from fastsketch.training.run.directory import Run


@pytest.fixture(scope="module")
def models(run: Run) -> list[SavedModel]:
    return [SavedModel.find(run)]


def inputs(sketches: Path) -> Iterator[Input]:
    return find_inputs([str(sketches)], ())


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_what_the_classifier_says(
    models: list[SavedModel], run: Run, sketches: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "CHUNK", 7)
    answered = [each for rows in predicting.predict(models, inputs(sketches), workers=workers, topk=3) for each in rows]
    paths = [str(path) for path in sketches.rglob("*.*")]
    expected = dict(zip(paths, Classifier.load(run).predict(paths, topk=3), strict=True))
    assert {row.input for _, row in answered} == set(paths)
    assert [sample.id for sample, _ in answered] == [row.input for _, row in answered]
    for _, row in answered:
        assert row.labels == expected[row.input].labels
        assert row.probabilities == pytest.approx(expected[row.input].probabilities, abs=1e-5)


def test_what_cannot_be_read_keeps_its_place(
    models: list[SavedModel], sketches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First, last, alone in its chunk: the rows of the others stay theirs."""
    monkeypatch.setattr(predicting, "CHUNK", 3)
    good = list(islice(inputs(sketches), 6))
    expected = {sample.id: row for rows in predicting.predict(models, good, workers=1) for sample, row in rows}
    bad = UnreadSample("bad", "because")
    for pattern in range(1 << 6):
        mixed: list[Input] = [bad if pattern >> place & 1 else sample for place, sample in enumerate(good)]
        rows = [row for each in predicting.predict(models, mixed, workers=1) for _, row in each]
        assert [row.input for row in rows] == [sample.id for sample in mixed]
        for row in rows:
            if row.input == "bad":
                assert row == Row("bad", error="because")
            else:
                assert row.labels == expected[row.input].labels


def test_no_input_needs_no_model(models: list[SavedModel]) -> None:
    assert list(predicting.predict(models, [])) == []


def test_a_killed_worker_is_told(models: list[SavedModel], sketches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures.process import BrokenProcessPool

    def broken(*_: Any) -> Generator[Any, None, None]:
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(predicting, "map_ahead", broken)
    with pytest.raises(FastSketchError, match="a decoding process was killed"):
        list(predicting.predict(models, inputs(sketches)))


# ------------------------------------------------------------------------------------------------------- into a file

ROWS = [
    Row("a.png", ("cat", "dog"), (0.75, 0.25), (2, 3)),
    Row('b,"é".png', ("dog", "cat"), (0.5, 0.125), (3, 2)),
    Row("torn.png", error="cut off"),
    Row("c/a.png", ("ant", "eel"), (0.625, 0.375), (0, 4)),
]
SAMPLES = [UnreadSample(row.input, "") for row in ROWS]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of a model: `ROWS` by their inputs; what was asked is remembered."""
    asked: list[str] = []
    rows = {row.input: row for row in ROWS}

    def predict(_: object, samples: Sequence[Input], **options: Any) -> Iterator[list[tuple[Input, Row]]]:
        for sample in samples:
            asked.append(sample.id)
            yield [(sample, rows[sample.id])]

    monkeypatch.setattr(writing, "predict", predict)
    return asked


def table(format: str) -> Table:
    return Table.checked(Path(f"x.{format}"), format, 2, 0.0, Submission())


def read_table(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_hold_the_rows(models: list[SavedModel], said: list[str], tmp_path: Path) -> None:
    for format in FORMATS if find_spec("pyarrow") else set(FORMATS) - {"parquet"}:
        assert predict_into(tmp_path / f"x.{format}", table(format), models, SAMPLES) == len(ROWS)
    assert not list(tmp_path.glob("*.partial"))
    rows = read_table(tmp_path / "x.csv")
    assert list(rows[0]) == ["input", "label", "probability", "label_2", "probability_2", "error"]
    assert rows[1] == {
        "input": "b,\"é\".png", "label": "dog", "probability": "0.5", "label_2": "cat", "probability_2": "0.125",
        "error": "",
    }  # fmt: skip
    assert rows[2] == {**dict.fromkeys(rows[0], ""), "input": "torn.png", "error": "cut off"}
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [row.as_dict() for row in ROWS]
    assert (tmp_path / "x.submission").read_text(encoding="utf-8").splitlines() == [
        "id,label", "a,cat", '"b,""é""",dog', "torn,", "a,ant",
    ]  # fmt: skip
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "x.parquet").to_pylist()
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in parquet] == rows


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (Submission(header=None, id="name"), ["a.png,cat", '"b,""é"".png",dog', "torn.png,", "a.png,ant"]),
        (Submission(("image", "class"), "path", "index"),
         ["image,class", "a.png,2", '"b,""é"".png",3', "torn.png,", "c/a.png,0"]),
    ],
)  # fmt: skip
def test_a_submission_has_the_form_that_is_wanted(
    models: list[SavedModel], said: list[str], tmp_path: Path, form: Submission, lines: list[str]
) -> None:
    out = tmp_path / "x.csv"
    predict_into(out, Table.checked(out, "submission", 2, 0.0, form), models, SAMPLES)
    assert out.read_text(encoding="utf-8").splitlines() == lines


def test_classes_that_are_not_likely_enough_are_not_named(
    models: list[SavedModel], said: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    predict_into(out, Table.checked(out, None, 2, 0.6, Submission()), models, SAMPLES)
    assert [(row["label"], row["label_2"]) for row in read_table(out)] == [("cat", ""), ("", ""), ("", ""), ("ant", "")]


def test_broken_off_after_any_row_it_goes_on(models: list[SavedModel], said: list[str], tmp_path: Path) -> None:
    expected = tmp_path / "whole.csv"
    predict_into(expected, table("csv"), models, SAMPLES)
    for stop in range(len(ROWS) + 1):
        out, told = tmp_path / f"{stop}.csv", []

        def on_rows(answered: list[tuple[Input, Row]], stop: int = stop, told: list[str] = told) -> None:
            told.extend(row.input for _, row in answered)
            if len(told) == stop:
                raise KeyboardInterrupt

        if stop:
            with pytest.raises(KeyboardInterrupt):
                predict_into(out, table("csv"), models, SAMPLES, on_rows=on_rows)
            assert not out.exists()
        said.clear()
        again: list[str] = []

        def remember(answered: list[tuple[Input, Row]], again: list[str] = again) -> None:
            again.extend(row.input for _, row in answered)

        predict_into(out, table("csv"), models, SAMPLES, resume=bool(stop), on_rows=remember)
        assert said == [row.input for row in ROWS[stop:]], "nothing is asked twice"
        assert again == [row.input for row in ROWS], "all are told"
        assert out.read_bytes() == expected.read_bytes()
        assert not partial_path(out).exists()


def test_cut_off_at_any_byte_it_goes_on(models: list[SavedModel], said: list[str], tmp_path: Path) -> None:
    expected, out = tmp_path / "whole.csv", tmp_path / "x.csv"
    predict_into(expected, table("csv"), models, SAMPLES)

    def stop(answered: list[tuple[Input, Row]]) -> None:
        if answered[0][0] is SAMPLES[-1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_into(out, table("csv"), models, SAMPLES, on_rows=stop)
    content = partial_path(out).read_bytes()
    first = content.index(b"\n") + 1
    for length in range(len(content) + 1):
        partial_path(out).write_bytes(content[:length])
        if length < first:
            with pytest.raises(ConfigError, match="holds nothing to go on with"):
                predict_into(out, table("csv"), models, SAMPLES, resume=True)
            continue
        said.clear()
        predict_into(out, table("csv"), models, SAMPLES, resume=True)
        assert said == [row.input for row in ROWS[content[first:length].count(b"\n") :]]
        assert out.read_bytes() == expected.read_bytes()
        out.unlink()


def test_a_full_disk_loses_nothing(
    models: list[SavedModel], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write of the journal, and of the table."""
    expected, out = tmp_path / "whole.csv", tmp_path / "x.csv"
    predict_into(expected, table("csv"), models, SAMPLES)
    write, failed = RowJournal._write, 0
    for fails_at in range(1, len(ROWS) + 1):
        left = [fails_at]

        def full(journal: RowJournal, values: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                with journal._told():
                    raise OSError(28, "No space left on device")
            write(journal, values)

        monkeypatch.setattr(RowJournal, "_write", full)
        with pytest.raises(FastSketchError, match=r"x\.csv\.partial cannot be written: No space left"):
            predict_into(out, table("csv"), models, SAMPLES)
        failed += 1
        monkeypatch.setattr(RowJournal, "_write", write)
        predict_into(out, table("csv"), models, SAMPLES, resume=True)
        assert out.read_bytes() == expected.read_bytes()
        out.unlink()
    assert failed == len(ROWS)

    def no_table(*_: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    with monkeypatch.context() as patch:
        patch.setattr(Table, "write", no_table)
        with pytest.raises(FastSketchError, match="No space left") as caught:
            predict_into(out, table("csv"), models, SAMPLES)
        assert "--resume" in (caught.value.hint or "")
    said.clear()
    predict_into(out, table("csv"), models, SAMPLES, resume=True)
    assert said == []
    assert out.read_bytes() == expected.read_bytes()


def test_what_is_there_is_not_written_over(models: list[SavedModel], said: list[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "x.csv"
    predict_into(out, table("csv"), models, SAMPLES)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=r"x\.csv is there already"):
        predict_into(out, table("csv"), models, SAMPLES[:1])
    assert out.read_bytes() == before
    predict_into(out, table("csv"), models, SAMPLES[:1], overwrite=True)
    assert len(read_table(out)) == 1
    with pytest.raises(ConfigError, match="is there already"):
        predict_into(out.parent, table("csv"), models, SAMPLES, overwrite=True)
    with pytest.raises(ConfigError, match="is no folder and cannot be made one"):
        predict_into(out / "x.csv", table("csv"), models, SAMPLES)
    with pytest.raises(ConfigError, match="is not there to go on with"):
        predict_into(tmp_path / "new.csv", table("csv"), models, SAMPLES, resume=True)


def test_one_goes_on_with_the_same_alone(models: list[SavedModel], run: Run, said: list[str], tmp_path: Path) -> None:
    out = tmp_path / "x.csv"

    def stop(answered: list[tuple[Input, Row]]) -> None:
        if answered[0][0] is SAMPLES[1]:
            raise KeyboardInterrupt

    def again(**changed: Any) -> None:
        predict_into(**{"out": out, "table": table("csv"), "models": models, "inputs": SAMPLES, **changed})

    with pytest.raises(KeyboardInterrupt):
        again(on_rows=stop)
    content = partial_path(out).read_bytes()
    warmer = [replace(models[0], temperature=2.0)]
    for changed, says in (
        ({}, "is there, of a prediction broken off"),
        ({"resume": True, "inputs": SAMPLES[1:]}, r"number 1 was a\.png, now it is b"),
        ({"resume": True, "inputs": SAMPLES[:1]}, r"number 2 was b.*, now there are no more"),
        ({"resume": True, "flip": True}, "begun with other flip"),
        ({"resume": True, "table": Table("csv", 1)}, "begun with other topk"),
        ({"resume": True, "models": warmer}, "begun with other temperatures"),
    ):
        with pytest.raises(ConfigError, match=says):
            again(**changed)
        assert partial_path(out).read_bytes() == content
    with (
        RowJournal(partial_path(out), writing._question(models, 2, None), resume=True),
        pytest.raises(FastSketchError, match="another process is writing"),
    ):
        again(resume=True)
    partial_path(out).write_text("[1]\n")
    with pytest.raises(ConfigError, match="is not what a prediction left"):
        again(resume=True)
    partial_path(out).write_bytes(content.replace(b'"labels"', b'"lapels"'))
    with pytest.raises(DataError, match="is damaged"):
        again(resume=True)


def test_tables_are_checked_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(out: str | None, format: str | None = None, confidence: float = 0.0) -> Table:
        return Table.checked(out and Path(out), format, 5, confidence, Submission())

    assert [check(out).format for out in (None, "x.csv", "x.jsonl")] == ["csv", "csv", "jsonl"]
    for arguments, says in (
        (("x.txt",), "no format 'txt'"),
        (("x.csv", "xml"), "no format 'xml'"),
        (("x.csv", None, 1.5), "a confidence of 1.5"),
        (("x.csv", None, float("nan")), "a confidence of nan"),
        (("x.csv", "submission", 0.5), "a submission names a class of each input"),
        ((None, "parquet"), "Parquet goes into a file"),
    ):
        with pytest.raises(ConfigError, match=says):
            check(*arguments)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BackendMissing, match="pyarrow cannot be imported"):
        check("x.parquet")


# ------------------------------------------------------------------------------------------------------------- saved


def test_a_model_is_found_by_its_run_its_folder_and_its_checkpoint(run: Run, tmp_path: Path) -> None:
    by_run = SavedModel.find(run)
    assert by_run == SavedModel.find(run.root) == SavedModel.find(str(run.root)) == SavedModel.find(run.best)
    assert by_run.reading == Reading(48, "box")
    assert SavedModel.find(run.last).folder == run.last
    alone = SavedModel.find(shutil.copytree(run.best, tmp_path / "model"))
    assert alone.classes == CLASSES
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds no usable model: config\.json, architecture"):
        SavedModel.find(tmp_path / "model")


# ------------------------------------------------------------------------------------------------------ least certain


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9]), max_size=30), st.integers(1, 8))
def test_the_least_certain_are_kept(certainties: list[float], most: int) -> None:

    least = LeastCertain(most, Reading(2))
    for number, certainty in enumerate(certainties):
        sample = StoredSample(str(number), np.full((2, 2), number, np.uint8))
        least.offer(sample, Row(str(number), ("x",), (certainty,), (0,)))
    least.offer(UnreadSample("bad", ""), Row("bad", error=""))
    assert least.offered == len(certainties)
    order = sorted(range(len(certainties)), key=lambda number: (certainties[number], number))
    assert [int(image[0, 0]) for image, _ in least.read()] == order[:most]


def test_what_is_gone_by_the_end_is_left_out(tmp_path: Path) -> None:
    least = LeastCertain(3, Reading(2))
    least.offer(UnreadSample("gone", "not there"), Row("gone", ("x",), (0.5,), (0,)))
    assert least.read() == []
