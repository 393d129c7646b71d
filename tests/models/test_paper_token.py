from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from fastsketch.errors import ConfigError
from fastsketch.models.ink_tokens import has_paper_token, keep_inked
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model
from tests.models.test_ink_tokens import (
    FAMILIES,
    GRID,
    PATCHES,
    PLAIN,
    SIZE,
    STATISTICS,
    make_model,
    normalised,
    paper_with_ink,
)

ROTARY = ("eva02_tiny_patch14_224", "vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224")
ABSOLUTE = [family for family in FAMILIES if family[0] not in ROTARY]
INKED = [[0, 5, 15], [3], [1, 2, 3, 7, 11], []]


def without_positions(model: nn.Module) -> nn.Module:
    """A model to which all empty patches are the same."""
    with torch.no_grad():
        model.pos_embed[:, -PATCHES:] = 0
    return model


def sketches(side: int = 16) -> Tensor:
    """Each with ink in its patches of `INKED`, of patches of any side."""
    return nn.functional.interpolate(paper_with_ink(INKED), size=(GRID * side, GRID * side), mode="nearest")


# ------------------------------------------------------------------------------- what it replaces, exactly


@pytest.mark.parametrize("tokens", range(5, PATCHES))
@pytest.mark.parametrize(("mean", "std"), STATISTICS)
def test_empty_patches_that_differ_in_nothing_are_replaced_exactly(mean: float, std: float, tokens: int) -> None:
    model = without_positions(make_model())
    images = normalised(sketches(), mean, std)
    with torch.inference_mode():
        dense = model(images)
        assert dense.std() > 1e-3
        keep_inked(model, tokens, Preprocess(SIZE, mean, std), eval_tokens=tokens)
        torch.testing.assert_close(model(images), dense, rtol=1e-4, atol=1e-5)
        keep_inked(model, tokens, Preprocess(SIZE, mean, std), eval_tokens=tokens, paper_token=False)
        assert tokens > 12 or (model(images) - dense).abs().max() > 1e-4  # without it, much less paper is seen


@pytest.mark.parametrize(("name", "side", "arguments"), ABSOLUTE, ids=[name for name, *_ in ABSOLUTE])
def test_every_family_and_way_of_pooling_sees_it_as_that_many(name: str, side: int, arguments: dict[str, int]) -> None:
    model = without_positions(make_model(name, GRID * side, **arguments))
    images = sketches(side)
    with torch.inference_mode():
        dense = model(images)
        assert dense.std() > 1e-3
        keep_inked(model, 6, Preprocess(GRID * side), eval_tokens=6)
        torch.testing.assert_close(model(images), dense, rtol=1e-4, atol=1e-5)
        assert model.forward_features(images).shape == (4, model.num_prefix_tokens + PATCHES, model.embed_dim)


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_vit4"])
def test_gradients_are_those_of_all_patches(name: str) -> None:
    dense, ours = without_positions(make_model(name)), without_positions(make_model(name))
    keep_inked(ours, 6, PLAIN)
    for model in (dense, ours):
        model.train()
        model(sketches()).square().sum().backward()
    for (key, expected), parameter in zip(dense.named_parameters(), ours.parameters(), strict=True):
        if key == "pos_embed":  # each its own, there; the same in sum
            continue
        scale = expected.grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-4 * scale, msg=key)


# ------------------------------------------------------------------------------------------ where it is


def inputs_of_first_block(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Any]]:
    found: list[tuple[Tensor, dict[str, Any]]] = []
    hook = model.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: found.append((args[0], kwargs)), with_kwargs=True
    )
    with torch.inference_mode():
        model(images)
    hook.remove()
    return found[0]


def left_out(model: nn.Module, images: Tensor, tokens: int) -> list[list[int]]:
    kept = model.patch_embed.choose(model.patch_embed.cut(images), tokens).kept
    return [sorted(set(range(PATCHES)) - set(row)) for row in kept.tolist()]


def test_it_is_an_empty_patch_at_their_mean_position() -> None:
    model = keep_inked(make_model(norm_layer=nn.Identity), 6, PLAIN, eval_tokens=6)
    images = paper_with_ink([[0, 5, 15], list(range(9))])  # more ink than there is room for, in the second
    tokens, kwargs = inputs_of_first_block(model, images)
    assert tokens.shape[1] == 1 + 6 + 1
    torch.testing.assert_close(kwargs["attn_mask"].flatten().exp(), torch.tensor([1.0] * 7 + [PATCHES - 6]))
    empty = model.patch_embed.proj(torch.ones(1, 1, SIZE, SIZE))[0, :, 0, 0]
    for found, others in zip(tokens[:, -1], left_out(model, images, 6), strict=True):
        expected = empty + model.pos_embed[0, 1:][others].mean(dim=0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ROTARY)
def test_its_rotation_is_the_mean_of_theirs(name: str) -> None:
    [(_, side, arguments)] = [family for family in FAMILIES if family[0] == name]
    model, images = make_model(name, GRID * side, **arguments), sketches(side)
    _, dense = inputs_of_first_block(model, images)
    keep_inked(model, 6, Preprocess(GRID * side), eval_tokens=6)
    _, ours = inputs_of_first_block(model, images)
    grid = dense["rope"].expand(1, 1, *dense["rope"].shape[-2:]) if dense["rope"].ndim == 2 else dense["rope"]
    grid = grid.reshape(-1, *grid.shape[-2:])  # [heads or 1, N, dim]
    for row, others in enumerate(left_out(model, images, 6)):
        torch.testing.assert_close(ours["rope"][row, :, -1], grid[:, others].mean(dim=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ROTARY)
def test_with_even_attention_rotations_do_not_matter_and_it_counts_as_all(name: str) -> None:
    [(_, side, arguments)] = [family for family in FAMILIES if family[0] == name]
    model, images = make_model(name, GRID * side, **arguments), sketches(side)
    if model.pos_embed is not None:
        without_positions(model)
    with torch.inference_mode():
        for key, parameter in model.named_parameters():  # every query is 0
            if "qkv" in key or "q_proj" in key or "q_bias" in key:
                parameter[: model.embed_dim] = 0
        dense = model(images)
        keep_inked(model, 6, Preprocess(GRID * side), eval_tokens=6)
        torch.testing.assert_close(model(images), dense, rtol=1e-4, atol=1e-5)


def test_there_is_none_where_nothing_is_left_out() -> None:
    model = keep_inked(make_model(), PATCHES, PLAIN, eval_tokens=PATCHES)
    tokens, kwargs = inputs_of_first_block(model, sketches())
    assert tokens.shape[1] == 1 + PATCHES
    assert kwargs.get("attn_mask") is None


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_says_the_same(precision: torch.dtype) -> None:
    model, images = keep_inked(make_model(), 6, PLAIN, eval_tokens=6), sketches()
    with torch.inference_mode():
        expected = model(images)
        with torch.autocast("cpu", precision):
            mixed = model(images)
        half = model.to(precision)(images.to(precision))
    for found in (mixed, half):
        assert found.dtype == precision
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 * float(expected.std()))


# ------------------------------------------------------------------------------------------ saved, and refused


@pytest.mark.parametrize("paper_token", [True, False])
def test_a_saved_model_keeps_it(paper_token: bool, tmp_path: Path) -> None:
    model = keep_inked(make_model(), 5, PLAIN, eval_tokens=6, paper_token=paper_token)
    assert has_paper_token(model) == paper_token
    save_model(model, tmp_path, PLAIN, list("abcde"))
    again, preprocess = load_model(tmp_path)
    assert (has_paper_token(again), preprocess) == (paper_token, PLAIN)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(sketches()), model(sketches()), rtol=0, atol=0)
    assert ("paper_token" in json.loads((tmp_path / "config.json").read_bytes())) == paper_token


def test_it_goes_with_no_mask() -> None:
    model = keep_inked(make_model(), 5, PLAIN, eval_tokens=6)
    for arguments in ({"attn_mask": torch.zeros(1, 1, 1, 8)}, {"is_causal": True}):
        with pytest.raises(ValueError, match="takes no attention mask"):
            model(sketches(), **arguments)


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
def test_a_model_that_drops_patches_by_chance_is_refused(name: str) -> None:
    model = timm.create_model(name, in_chans=1, img_size=4 * 16 if name == "test_vit" else 4 * 14, patch_drop_rate=0.5)
    with pytest.raises(ConfigError, match="patch_drop_rate"):
        keep_inked(model, 5, PLAIN)
    keep_inked(model, None, PLAIN, eval_tokens=5)  # in evaluation it drops none
