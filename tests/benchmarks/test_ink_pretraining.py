from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import timm
import torch
import torch.nn.functional as F
from fastsketch_benchmarks import ink_pretraining
from fastsketch_benchmarks.ink_pretraining import Known, Teacher, Weights, distilling, pretrained
from fastsketch_benchmarks.ink_study import Pretraining, create
from torch import Tensor, nn

from fastsketch.augment import Targets
from fastsketch.preprocess import Preprocess

HOW = Pretraining(size=56, width=48, depth=4, classes=3, drawings=20, drawing_size=32, epochs=1, sketch_epochs=1)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model("test_efficientnet", in_chans=1, num_classes=3)
    return model.eval()


def test_the_teacher_sees_its_own_normalisation_and_learns_nothing() -> None:
    gray = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, its = Preprocess(32, 0.9, 0.2), Preprocess(32, 0.5, 0.5)
    inside = network(0)
    logits, maps = Teacher(inside, its, 3)((gray - ours.mean) / ours.std, ours)
    torch.testing.assert_close(logits, inside((gray - its.mean) / its.std), rtol=1e-4, atol=1e-4)
    assert not logits.requires_grad
    for each in maps:
        assert each.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert not each.requires_grad


def test_labels_the_teacher_s_logits_and_its_maps_are_learned() -> None:
    plain = Preprocess(56)
    inside = network(2)
    teacher = Teacher(inside, plain, 3)
    torch.manual_seed(1)
    student = create(HOW, 5)
    student.hints = nn.ModuleList(nn.Conv2d(HOW.width, channels, 1) for channels in teacher.channels)
    images, labels = torch.rand(6, 1, 56, 56), torch.tensor([0, 1, 1, 0, 1, 0])
    loss = distilling(student, teacher, 2, plain, torch.float32)(images, Targets(labels, labels, torch.ones(6)))

    seen: list[Tensor] = []
    stages = [inside.get_submodule(stage["module"]) for stage in inside.feature_info[-3:]]  # type: ignore[index]
    for module in (*(student.blocks[number] for number in (0, 1, 3)), *stages):  # type: ignore[index]
        module.register_forward_hook(lambda _, __, output: seen.append(output))
    logits, wanted = student(images), inside(images).softmax(dim=1)
    labelled = F.cross_entropy(logits[:, :2], labels, label_smoothing=0.1)
    taught = -(wanted * logits[:, 2:].log_softmax(dim=1)).sum(dim=1).mean()
    hints = []
    for hint, tokens, feature in zip(student.hints, seen[:3], seen[3:], strict=True):
        own = hint(tokens[:, 1:].transpose(1, 2).reshape(6, HOW.width, 14, 14))
        own = F.adaptive_avg_pool2d(own, feature.shape[-2:])
        spread = feature.var(dim=(0, 2, 3), keepdim=True, correction=0)
        hints.append((own - (feature - feature.mean((0, 2, 3), keepdim=True)) / (spread + 1e-5).sqrt()).square().mean())
    torch.testing.assert_close(loss, labelled + taught + sum(hints), rtol=1e-4, atol=1e-4)


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
