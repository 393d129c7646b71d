from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fastsketch_benchmarks import costs
from torch.utils.flop_counter import flop_registry

COUNTS_ATTENTION = pytest.mark.skipif(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu not in flop_registry,
    reason="this torch does not count the operations of a CPU's attention",
)


@pytest.fixture(scope="module")
def vit_small() -> costs.Cost:
    return costs.cost("vit_small")


@COUNTS_ATTENTION
def test_a_vits_operations_are_those_of_the_formula(vit_small: costs.Cost) -> None:
    width, depth, tokens = 384, 12, 197
    # Query, key, value and output are 4 products of width², the MLP 8; attention has two of tokens² × width.
    blocks = depth * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    assert vit_small.forward_macs == pytest.approx(196 * 16**2 * width + blocks + 250 * width, rel=1e-3)


@COUNTS_ATTENTION
def test_training_is_three_forward_passes_and_attention_once_more(vit_small: costs.Cost) -> None:
    attention = 2 * 12 * 197**2 * 384  # one of its two products is recomputed in the backward pass
    recomputed = attention / 2
    assert vit_small.training_flops == pytest.approx(2 * (3 * vit_small.forward_macs + recomputed), rel=5e-3)


def test_grouped_convolutions_count_by_their_groups() -> None:
    resnext = costs.cost("resnext50_32x4d")
    assert resnext.training_flops == pytest.approx(6 * resnext.forward_macs, rel=0.02)


def test_the_roofline_is_below_both_ceilings(vit_small: costs.Cost) -> None:
    assert vit_small.t4_roofline < vit_small.t4_compute == pytest.approx(costs.T4_FLOPS / vit_small.training_flops)
    assert vit_small.t4_roofline < costs.T4_BANDWIDTH / vit_small.training_bytes


def test_the_record_says_that_nothing_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = costs.run(tmp_path / "results", quick=True)
    assert "not measured" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert "not measured" in record["computed"]
    assert [model["model"] for model in record["models"]] == ["vit_small"]
