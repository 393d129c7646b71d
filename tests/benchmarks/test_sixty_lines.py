from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch
from fastsketch_benchmarks import sixty_lines


def test_they_are_sixty_without_imports_and_docstrings() -> None:
    tree = ast.parse(inspect.getsource(sixty_lines))
    ignored = (ast.Import, ast.ImportFrom)
    told = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    left_out = {
        line
        for node in (*told, *(each for each in tree.body if isinstance(each, ignored)))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    code = [
        line
        for number, line in enumerate(inspect.getsource(sixty_lines).splitlines(), 1)
        if line.strip() and number not in left_out
    ]
    assert len(code) <= 60


@pytest.fixture
def rival(shapes: Path) -> sixty_lines.SixtyLines:
    device = torch.device("cpu")
    return sixty_lines.SixtyLines(shapes, "test_efficientnet", 32, 8, 1e-2, device, torch.float32)


def test_an_epoch_trains_on_whole_batches(rival: sixty_lines.SixtyLines) -> None:
    before = [parameter.clone() for parameter in rival.model.parameters()]
    images, loss = rival.epoch()
    assert images == 56  # of 60 sketches
    assert 0 < loss < 5
    assert any(not torch.equal(*pair) for pair in zip(before, rival.model.parameters(), strict=True))


def test_it_shows_the_model_sketches_with_their_labels(rival: sixty_lines.SixtyLines) -> None:
    assert rival.images.shape == (60, 1, 32, 32)
    assert rival.images.float().mean() < 64, "ink, not paper"
    for _ in range(8):  # MixUp, CutMix, and neither
        ink, own, other, lam = rival.augment(torch.arange(60))
        assert ink.shape == (60, 1, 32, 32)
        assert torch.equal(own, rival.labels)
        assert set(other.tolist()) <= {0, 1, 2}
        assert 0 <= lam.min() <= lam.max() <= 1
