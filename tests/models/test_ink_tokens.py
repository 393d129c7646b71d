from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fastsketch.errors import ConfigError
from fastsketch.ink import LEAST_INK
from fastsketch.models.ink_tokens import EARLIER, auto_tokens, ink_patches, keep_inked, select
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model

SIZE, SIDE, GRID = 64, 16, 4
PATCHES = GRID * GRID
PLAIN = Preprocess(SIZE)
STATISTICS = [(0.0, 1.0), (0.98, 0.12), (0.485, 0.225)]


def make_model(name: str = "test_vit", size: int = SIZE, **arguments: object) -> nn.Module:
    """With weights that make every token count: timm's own start with blocks and positions that hardly do."""
    model: nn.Module = timm.create_model(name, in_chans=1, num_classes=5, img_size=size, **arguments)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval()


def paper_with_ink(positions: list[list[int]], ink: list[list[float]] | None = None, size: int = SIZE) -> Tensor:
    """Paper [B, 1, size, size] in which each patch of `positions` has a stroke of the given darkness."""
    images = torch.ones(len(positions), 1, size, size)
    columns = size // SIDE
    for row, chosen in enumerate(positions):
        for index, position in enumerate(chosen):
            top, left = position // columns * SIDE, position % columns * SIDE
            images[row, 0, top + 3 : top + 9, left + 5 : left + 7] = 1 - (ink[row][index] if ink else 1.0)
    return images


def normalised(images: Tensor, mean: float, std: float) -> Tensor:
    return (images - mean) / std


def kept(model: nn.Module, images: Tensor, tokens: int) -> list[set[int]]:
    patches = model.patch_embed
    return [set(row.tolist()) for row in patches.choose(patches.cut(images), tokens).kept]


@pytest.fixture(scope="module")
def sketches() -> Tensor:
    torch.manual_seed(0)
    return paper_with_ink([[0, 1, 5], [2, 6, 10, 14], list(range(16))]) - 0.4 * torch.rand(3, 1, SIZE, SIZE).round()


# ------------------------------------------------------------------------------------------------ the same as dense

FAMILIES = [
    ("test_vit", 16, {}),
    ("test_vit3", 16, {}),  # attention pooling, layer scale
    ("test_vit4", 16, {}),  # average pooling, registers
    ("vit_small_patch14_reg4_dinov2", 14, {"depth": 2}),
    ("deit3_small_patch16_224", 16, {"depth": 2}),
    ("deit_tiny_distilled_patch16_224", 16, {"depth": 2}),
    ("eva02_tiny_patch14_224", 14, {"depth": 2}),
    ("vit_small_patch16_dinov3", 16, {"depth": 2}),
    ("vit_small_patch16_rope_mixed_224", 16, {"depth": 2}),
]


@pytest.mark.parametrize(("name", "side", "arguments"), FAMILIES, ids=[name for name, *_ in FAMILIES])
def test_with_all_patches_the_logits_are_timms(name: str, side: int, arguments: dict[str, int]) -> None:
    model = make_model(name, 4 * side, **arguments)
    images = torch.rand(3, 1, 4 * side, 4 * side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        dense = model(images)
        assert dense.std() > 1e-3  # or equality would show nothing
        keep_inked(model, PATCHES, PLAIN, eval_tokens=PATCHES)
        torch.testing.assert_close(model(images), dense, rtol=1e-5, atol=1e-5)
        keep_inked(model, 5, PLAIN, eval_tokens=5)
        assert (model(images) - dense).abs().max() > 1e-4  # fewer patches are seen, indeed
        keep_inked(model, None, PLAIN, eval_tokens=None)
        torch.testing.assert_close(model(images), dense, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["test_vit", "test_vit4"])
def test_gradients_are_timms_with_all_patches(name: str, sketches: Tensor) -> None:
    dense, ours = make_model(name), keep_inked(make_model(name), PATCHES, PLAIN)
    for model in (dense, ours):
        model.train()
        model(sketches).square().sum().backward()
    for (key, expected), parameter in zip(dense.named_parameters(), ours.parameters(), strict=True):
        scale = expected.grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-5 * scale, msg=key)


def test_kept_patches_have_their_own_positions() -> None:
    # The dense model, its attention confined to the kept patches, is what dropping the others has to give.
    model = make_model(pos_drop_rate=0.0)
    images = paper_with_ink([[0, 1, 5, 11]])
    positions = torch.tensor([0, 1, 2, 6, 12])  # the class token, then the patches
    with torch.inference_mode():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))[:, positions]
        expected = model.forward_head(model.norm(model.blocks(tokens)))
        keep_inked(model, 4, PLAIN, eval_tokens=4, paper_token=False)
        torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(("mean", "std"), STATISTICS)
@pytest.mark.parametrize("training", [True, False])
def test_every_inked_patch_is_kept_if_there_is_room(mean: float, std: float, training: bool) -> None:
    model = keep_inked(make_model(), 6, Preprocess(SIZE, mean, std), eval_tokens=6).train(training)
    inked = [[0, 5, 15], [3], [1, 2, 3, 7, 11, 15], []]
    images = normalised(paper_with_ink(inked), mean, std)
    for positions, chosen in zip(inked, kept(model, images, 6), strict=True):
        assert set(positions) <= chosen
        assert len(chosen) == 6


def test_gray_of_248_and_more_is_paper_as_in_a_data_sets_counts() -> None:
    for mean, std in STATISTICS:
        patches = ink_patches(make_model(), Preprocess(SIZE, mean, std))
        for gray, expected in ((0, 1), (247, 1), (248, 0), (254, 0), (255, 0)):
            image = torch.ones(1, 1, SIZE, SIZE)
            image[..., 20, 20] = gray / 255
            assert int(patches.inked(patches.cut(normalised(image, mean, std))).sum()) == expected, gray


def test_in_evaluation_the_patches_with_the_most_ink_stay() -> None:
    model = keep_inked(make_model(), 2, PLAIN, eval_tokens=2)
    images = paper_with_ink([[0, 1, 2, 3, 4], [9, 6, 3]], [[0.2, 0.9, 0.5, 1.0, 0.4], [0.3, 0.2, 0.1]])
    assert kept(model, images, 2) == [{1, 3}, {9, 6}]


def test_in_training_the_choice_among_inked_patches_is_random_and_even() -> None:
    model = keep_inked(make_model(), 2, PLAIN).train()
    inked = [1, 4, 9, 14]
    torch.manual_seed(0)
    images = paper_with_ink([inked] * 2000, [[0.1, 0.3, 0.6, 1.0]] * 2000)
    counts = np.bincount([position for row in kept(model, images, 2) for position in row], minlength=PATCHES)
    assert set(np.flatnonzero(counts)) == set(inked)
    assert np.all(np.abs(counts[inked] - 1000) < 5 * math.sqrt(2000 * 0.25))


def test_the_choice_follows_torchs_seed() -> None:
    model = keep_inked(make_model(), 3, PLAIN).train()
    images = paper_with_ink([list(range(16))] * 8)
    choices = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        choices.append(kept(model, images, 3))
    assert choices[0] == choices[1] != choices[2]


def test_room_that_is_left_goes_to_paper_with_the_most_ink_around_it() -> None:
    model = keep_inked(make_model(), 5, PLAIN, eval_tokens=5)
    assert kept(model, paper_with_ink([[5]]), 5) == [{5, 1, 4, 6, 9}]  # the four beside it, not those across corners
    ring = [0, 1, 2, 4, 6, 8, 9, 10]
    assert kept(model, paper_with_ink([ring]), 9) == [{*ring, 5}]  # the hole


maps = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 6).flatmap(
        lambda columns: st.lists(
            st.lists(st.floats(0, 1, width=32), min_size=rows * columns, max_size=rows * columns),
            min_size=1,
            max_size=3,
        ).map(lambda values: torch.tensor(values).view(-1, rows, columns))
    )
)


@settings(max_examples=200, deadline=None)
@given(rank=maps, share=st.floats(0, 1), data=st.data())
def test_a_selection_is_k_positions_inked_first_and_by_rank(rank: Tensor, share: float, data: st.DataObject) -> None:
    inked = rank > share
    tokens = data.draw(st.integers(1, rank[0].numel()))
    chosen = select(inked, rank, tokens)
    assert chosen.shape == (len(rank), tokens)
    assert chosen.dtype == torch.int64
    for row, where, marked, ranks in zip(range(len(rank)), chosen, inked.flatten(1), rank.flatten(1), strict=True):
        positions = where.tolist()
        assert len(set(positions)) == tokens, row
        assert all(0 <= position < marked.numel() for position in positions)
        assert int(marked[where].sum()) == min(tokens, int(marked.sum()))
        dropped = [p for p in range(marked.numel()) if marked[p] and p not in positions]
        if dropped:
            # Of ranks that differ by no more than this the earlier counts.
            assert ranks[where].min() >= ranks[dropped].max() - EARLIER * marked.numel()


# -------------------------------------------------------------------------------------------- what is not looked at


def test_blank_patches_that_are_not_kept_do_not_matter(sketches: Tensor) -> None:
    model = keep_inked(make_model(), 7, PLAIN, eval_tokens=7)
    images = paper_with_ink([[0, 1, 5], [2, 3, 6, 7]])
    patches = model.patch_embed
    chosen = patches.choose(patches.cut(images), 7)
    faint = images.clone()
    for row in range(2):
        for position in set(range(PATCHES)) - set(chosen.kept[row].tolist()):
            top, left = position // GRID * SIDE, position % GRID * SIDE
            faint[row, 0, top : top + SIDE, left : left + SIDE] -= LEAST_INK * torch.rand(SIDE, SIDE)
    with torch.inference_mode():
        torch.testing.assert_close(model(faint), model(images), rtol=0, atol=0)


def test_permuting_blank_patches_changes_nothing() -> None:
    model = keep_inked(make_model(), 3, PLAIN, eval_tokens=3)
    images = paper_with_ink([[0, 1, 5]])
    patches = model.patch_embed
    faint = LEAST_INK * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    images = torch.where(images == 1, images - faint, images)
    blank = [position for position in range(PATCHES) if position not in (0, 1, 5)]
    order = torch.arange(PATCHES)
    order[blank] = torch.tensor(blank)[torch.randperm(len(blank), generator=torch.Generator().manual_seed(0))]
    shuffled = patches.cut(images).flatten(1, 2)[:, order].view(1, GRID, GRID, 1, SIDE, SIDE)
    shuffled = shuffled.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    assert not torch.equal(shuffled, images)
    with torch.inference_mode():
        torch.testing.assert_close(model(shuffled), model(images), rtol=0, atol=0)
        keep_inked(model, None, PLAIN)
        assert not torch.equal(model(shuffled), model(images))


def test_without_room_for_blank_patches_their_number_does_not_matter_either() -> None:
    # K is exactly the inked ones: the same drawing, at the same place of a grid whose rest is anything, is the same.
    model = keep_inked(make_model(), 3, PLAIN, eval_tokens=3)
    images = paper_with_ink([[0, 1, 5]])
    gray = images.clone()
    gray[gray == 1] = 1 - LEAST_INK / 2
    own = paper_with_ink([[0, 1, 5]])
    for position in (0, 1, 5):
        top, left = position // GRID * SIDE, position % GRID * SIDE
        gray[..., top : top + SIDE, left : left + SIDE] = own[..., top : top + SIDE, left : left + SIDE]
    with torch.inference_mode():
        torch.testing.assert_close(model(gray), model(images), rtol=0, atol=0)


# ----------------------------------------------------------------------------------------------- it stays timm's model


def test_it_is_saved_as_timms_own_model_and_evaluates_dense_there(tmp_path: Path, sketches: Tensor) -> None:
    model = make_model()
    keys = list(model.state_dict())
    with torch.inference_mode():
        dense = model(sketches)
    keep_inked(model, 7, PLAIN, eval_tokens=7)
    assert list(model.state_dict()) == keys
    save_model(model, tmp_path, Preprocess(SIZE, 0.0, 1.0), list("abcde"))
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert type(opened) is timm.models.VisionTransformer
    with torch.inference_mode():
        torch.testing.assert_close(opened(sketches), dense)
        again, _ = load_model(tmp_path)
        torch.testing.assert_close(again.eval()(sketches), model(sketches))  # sees seven as well


def test_a_deep_copy_is_one_of_its_own(sketches: Tensor) -> None:
    model = keep_inked(make_model(), 7, PLAIN, eval_tokens=7)
    average = copy.deepcopy(model)  # as a moving average of the weights is made
    with torch.inference_mode():
        expected = model(sketches)
        for parameter in model.parameters():
            parameter.zero_()
        torch.testing.assert_close(average(sketches), expected)


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "vit_small_patch16_rope_mixed_224"])
def test_progressive_resizing_resamples_the_positions_of_what_is_kept(name: str, sketches: Tensor) -> None:
    model = make_model(name, dynamic_img_size=True, depth=2)
    for size, tokens in ((64, 16), (48, 16), (48, 9), (32, 16)):  # at a size with fewer patches, all are kept
        images = sketches[..., :size, :size]
        with torch.inference_mode():
            keep_inked(model, None, PLAIN)
            expected = model(images)
            keep_inked(model, tokens, PLAIN, eval_tokens=tokens)
            torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)
    keep_inked(model, 3, PLAIN, eval_tokens=3)
    assert model(sketches[..., :48, :48]).isfinite().all()


def test_a_model_may_be_set_to_another_size(sketches: Tensor) -> None:
    model = keep_inked(make_model(dynamic_img_size=False), 12, PLAIN, eval_tokens=12)
    model.set_input_size((32, 32))
    with torch.inference_mode():
        ours = model(sketches[..., :32, :32])
        keep_inked(model, None, PLAIN)
        torch.testing.assert_close(ours, model(sketches[..., :32, :32]), rtol=1e-5, atol=1e-5)


def test_training_and_evaluation_keep_numbers_of_their_own(sketches: Tensor) -> None:
    model = keep_inked(make_model(), 5, PLAIN, eval_tokens=9)
    for training, expected in ((True, 5), (False, 9)):
        embedded = model.train(training).patch_embed(sketches)
        assert embedded.patches.shape == (3, expected, 64)
        assert embedded.kept.shape == (3, expected)


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_into_one_graph(training: bool, sketches: Tensor) -> None:
    torch._dynamo.reset()
    model = keep_inked(make_model(depth=1), 7, PLAIN, eval_tokens=7).train(training)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.manual_seed(0)
    expected = model(sketches)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(sketches), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_chooses_the_same_patches(dtype: torch.dtype, device: torch.device, sketches: Tensor) -> None:
    model, images = keep_inked(make_model(), 7, PLAIN, eval_tokens=7).to(device), sketches.to(device)
    expected = model.patch_embed(images)
    with torch.autocast(device.type, dtype):
        embedded = model.patch_embed(images)
        logits = model(images)
    assert embedded.patches.dtype == dtype
    torch.testing.assert_close(embedded.kept, expected.kept)
    torch.testing.assert_close(embedded.patches.float(), expected.patches, rtol=0.02, atol=0.02)
    assert torch.isfinite(logits).all()


def test_torch_export_takes_it(sketches: Tensor) -> None:
    model = keep_inked(make_model(), 7, PLAIN, eval_tokens=7)
    program = torch.export.export(model, (sketches,))
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(sketches), model(sketches))


@pytest.mark.gpu
def test_a_training_step_never_waits_for_the_host(sketches: Tensor) -> None:
    model = keep_inked(make_model(), 7, PLAIN).cuda().train()
    images = sketches.cuda()
    model(images).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(images).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ------------------------------------------------------------------------------------------------- numbers and errors


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "vit_tiny_r_s16_p8_224", "beit_base_patch16_224"])
def test_models_without_patches_to_choose_are_refused_with_those_that_fit(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, in_chans=1, num_classes=3)
    assert keep_inked(model, None, PLAIN) is model  # all is what they do anyway
    with pytest.raises(ConfigError, match="no grid of patches") as caught:
        keep_inked(model, 50, PLAIN)
    assert "vit_small" in str(caught.value.hint)


@pytest.mark.parametrize("number", [0, -1, 17])
@pytest.mark.parametrize("key", ["tokens", "eval_tokens"])
def test_a_number_that_the_grid_does_not_have_is_refused(key: str, number: int) -> None:
    numbers = {"tokens": 4, "eval_tokens": 4, key: number}
    with pytest.raises(ConfigError, match=rf"model\.{key} is {number}, .* 4 × 4 = 16 patches"):
        keep_inked(make_model(), preprocess=PLAIN, **numbers)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        keep_inked(make_model(dynamic_img_size=False), 4, PLAIN, eval_tokens=4)(torch.ones(1, 1, 32, 32))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 196), min_size=1, max_size=300), st.integers(0, 5))
def test_auto_covers_19_of_20_images_in_sequences_of_eights(counts: list[int], prefix: int) -> None:
    tokens = auto_tokens(np.array(counts), 196, prefix)
    if tokens is None:
        assert np.quantile(counts, 0.95, method="higher") > 196 * 0.9 - 8
    else:
        assert (tokens + prefix) % 8 == 0
        assert np.mean(np.array(counts) <= tokens) >= 0.95
        assert 1 <= tokens <= 196


def test_auto_takes_no_more_than_it_needs() -> None:
    assert auto_tokens(np.array([95] * 99 + [180]), 196, others=1) == 95
    assert auto_tokens(np.array([96] * 99 + [180]), 196, others=1) == 103
    assert auto_tokens(np.array([0]), 196, others=1) == 7
