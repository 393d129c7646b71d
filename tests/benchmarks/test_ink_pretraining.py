from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
import torch.nn.functional as F
from fastsketch_benchmarks import ink_pretraining
from fastsketch_benchmarks.ink_pretraining import Known, Teacher, Weights, distilling, pretrained
from fastsketch_benchmarks.ink_study import Pretraining
from torch import nn

from fastsketch.augment import Targets
from fastsketch.preprocess import Preprocess

HOW = Pretraining(size=56, width=48, depth=1, classes=3, drawings=20, drawing_size=32, epochs=1, sketch_epochs=1)


def linear(outputs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))


def test_the_teacher_sees_its_own_normalisation_and_learns_nothing() -> None:
    gray = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    ours, its = Preprocess(4, 0.9, 0.2), Preprocess(4, 0.5, 0.5)
    inside = linear(3, 0)
    logits = Teacher(inside, its, 3)((gray - ours.mean) / ours.std, ours)
    torch.testing.assert_close(logits, inside((gray - its.mean) / its.std), rtol=1e-4, atol=1e-4)
    assert not logits.requires_grad


def test_the_last_logits_follow_the_teacher_and_the_others_labels() -> None:
    plain = Preprocess(4)
    student, teacher = linear(5, 1), Teacher(linear(3, 2), plain, 3)
    images, labels = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 1, 0, 1, 0])
    loss = distilling(student, teacher, 2, plain, torch.float32)(images, Targets(labels, labels, torch.ones(6)))
    logits, wanted = student(images), teacher(images, plain).softmax(dim=1)
    labelled = F.cross_entropy(logits[:, :2], labels, label_smoothing=0.1)
    taught = -(wanted * logits[:, 2:].log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, labelled + taught)


def test_each_stage_is_made_once_for_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    def drawings(how: Pretraining, *_: object) -> tuple[Weights, Known]:
        made.append(("drawings", how.epochs))
        return {"weight": torch.full((2,), float(how.epochs))}, {"top1": 0.5}

    def sketches(how: Pretraining, classes: int, folder: Path, teacher: object, *before: Any) -> tuple[Weights, Known]:
        made.append(("sketches", classes))
        weights, known = before
        return {"weight": weights["weight"] + 1}, {**known, "more": 0.6}

    (tmp_path / "quickdraw-strokes").mkdir()
    (tmp_path / "tuberlin224").mkdir()
    monkeypatch.setattr(
        ink_pretraining, "imagenet_weights", lambda _: Path(__file__)
    )  # any file: there is a teacher to be had
    monkeypatch.setattr(ink_pretraining, "SHARED", tmp_path)
    monkeypatch.setattr(ink_pretraining, "_learn_drawings", drawings)
    monkeypatch.setattr(ink_pretraining, "_learn_sketches", sketches)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    for classes, epochs in ((3, 1), (3, 1), (4, 1), (4, 9)):
        weights, known = pretrained(replace(HOW, epochs=epochs), classes, tmp_path)
        assert weights["weight"].tolist() == [epochs + 1] * 2
        assert known == {"top1": 0.5, "more": 0.6}
    assert made == [("drawings", 1), ("sketches", 3), ("sketches", 4), ("drawings", 9), ("sketches", 4)]
    assert pretrained(HOW, None, tmp_path)[1] == {"top1": 0.5}  # no class is left to be learned before the study
    monkeypatch.setattr(ink_pretraining, "imagenet_weights", lambda _: None)
    made.clear()
    assert pretrained(HOW, 3, tmp_path)[1] == {"top1": 0.5}
    assert made == [("drawings", 1)]  # others than with a teacher


def test_without_drawings_there_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ink_pretraining, "SHARED", tmp_path)
    assert pretrained(HOW, 3, tmp_path) == ({}, {})
