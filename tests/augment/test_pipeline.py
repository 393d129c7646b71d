from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sketches import ink_of, sketches
from torch import Tensor

from fastsketch.augment import SketchAugment, create_augment
from fastsketch.augment.apply import apply_params, apply_whole
from fastsketch.augment.boxes import inside
from fastsketch.augment.geometry import warp
from fastsketch.augment.mix import mix_images
from fastsketch.augment.params import AugmentParams
from fastsketch.augment.thickness import dilate, erode
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess
from fastsketch.training.loss import mixed_cross_entropy

SIZE = 48

REPORT = AugmentConfig(thickness=0.5, thickness_range=(2, 3), mixup=1, cutmix=1, mix_probability=0.7)
EVERYTHING = REPORT.model_copy(update={"perspective": 0.3, "elastic": 0.03, "thinning": 0.4, "erasing": 0.5})
CONFIGS = pytest.mark.parametrize("config", [AugmentConfig(), REPORT, EVERYTHING], ids=["affine", "report", "all"])


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 10


def flat(params: AugmentParams) -> list[Tensor]:
    return [part for part in (*params[:-1], *(params.mix or ())) if part is not None]


# -------------------------------------------------------------------------------------------------- properties


@given(
    seed=st.integers(0, 2**31),
    rotation=st.floats(0, 180),
    scale=st.tuples(st.floats(0.01, 2), st.floats(2, 100)),
    thickness=st.floats(0, 1),
    thinning=st.floats(0, 1),
    perspective=st.floats(0, 0.9),
    elastic=st.floats(0, 0.5),
    alpha=st.floats(0, 32),
)
@settings(deadline=None, max_examples=60)
def test_ink_stays_in_range_and_blank_paper_blank(
    seed: int,
    rotation: float,
    scale: tuple[float, float],
    thickness: float,
    thinning: float,
    perspective: float,
    elastic: float,
    alpha: float,
) -> None:
    config = AugmentConfig(
        rotation=rotation,
        scale=scale,
        thickness=thickness,
        thickness_range=(1, 4),
        thinning=thinning,
        perspective=perspective,
        elastic=elastic,
        erasing=0.3,
        mixup=alpha,
        cutmix=1,
    )
    augment = SketchAugment(config, Preprocess(SIZE))
    params = augment.sample_params(8, generator(seed))
    images, targets = augment(sketches(8, SIZE), labels(8), params)
    assert 0 <= images.min() <= images.max() <= 1
    assert ((targets.lam >= 0) & (targets.lam <= 1)).all()
    blank, _ = augment(torch.full((8, 1, SIZE, SIZE), 255, dtype=torch.uint8), labels(8), params)
    assert (blank == 1).all()


@CONFIGS
def test_same_seed_same_batch(config: AugmentConfig) -> None:
    augment = SketchAugment(config, Preprocess(SIZE))
    first, second, third = (augment.sample_params(8, generator(seed)) for seed in (5, 5, 6))
    for same, other, different in zip(flat(first), flat(second), flat(third), strict=True):
        assert torch.equal(same, other)
        assert same.is_floating_point() <= (not torch.equal(same, different))
    batches = [augment(sketches(8, SIZE), labels(8), params)[0] for params in (first, second, third)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_the_global_generator_is_left_alone() -> None:
    augment = SketchAugment(EVERYTHING, Preprocess(SIZE))
    before = torch.get_rng_state()
    augment(sketches(8, SIZE), labels(8), augment.sample_params(8, generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_sample_gets_its_own_parameters() -> None:
    config = EVERYTHING.model_copy(update={"thickness": 1.0, "thickness_range": (1, 4), "mix_probability": 1.0})
    params = SketchAugment(config, Preprocess(SIZE)).sample_params(256, generator())
    assert params.mix is not None
    assert len(params.sources.unique(dim=0)) == 256
    assert params.displacements is not None
    assert len(params.displacements.unique(dim=0)) == 256
    assert len(params.mix.lam.unique()) > 200
    assert params.thicker is not None
    assert params.thinner is not None
    assert params.thicker.unique().tolist() == [1, 2, 3, 4]
    assert params.thinner.unique().tolist() == [1, 2, 3, 4]
    assert ((params.thicker > 1) & (params.thinner > 1)).sum() == 0


def test_thickness_probability_and_range() -> None:
    params = SketchAugment(AugmentConfig(thickness=0.25, thickness_range=(2, 5)), Preprocess(SIZE)).sample_params(
        8000, generator()
    )
    assert params.thicker is not None
    counts = params.thicker.bincount(minlength=6) / 8000
    assert counts[1].item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(counts[2:], torch.full((4,), 0.25 / 4), rtol=0, atol=0.01)
    assert params.thinner is None


STEPS: dict[str, Callable[[Tensor, AugmentParams], Tensor]] = {
    "geometry": lambda ink, params: warp(ink, params.sources, params.displacements).clamp(max=1),
    "thickness": lambda ink, params: erode(dilate(ink, params.thicker, 3), params.thinner, 3),
    "erasing": lambda ink, params: torch.where(inside(params.erased, SIZE), 0, ink),
    "mixing": lambda ink, params: mix_images(ink, params.mix),
}
"""The parts that have tests of their own; here it is their order that is in question."""


@pytest.mark.parametrize("apply", [apply_params, apply_whole], ids=["on a CPU", "on a GPU"])
def test_order_is_geometry_thickness_erasing_mixing(apply: Callable[..., Tensor]) -> None:
    images = sketches(16, SIZE)
    always = {"thickness": 1.0, "thickness_range": (3, 3), "erasing": 1.0, "mix_probability": 1.0}
    config = EVERYTHING.model_copy(update=always)
    params = SketchAugment(config, Preprocess(SIZE)).sample_params(16, generator())
    found = apply(images, params, largest=3)
    orders = {}
    for order in permutations(STEPS):
        ink = ink_of(images)
        for step in order:
            ink = STEPS[step](ink, params)
        orders[order] = (found - (1 - ink)).abs().max().item()
    assert orders.pop(tuple(STEPS)) < 1e-6
    assert min(orders.values()) > 0.1, "every other order gives other pictures"


# ---------------------------------------------------------------------------------------------- normalisation


def test_normalisation_comes_last() -> None:
    images, params = sketches(8, SIZE), SketchAugment(REPORT, Preprocess(SIZE)).sample_params(8, generator())
    plain, _ = SketchAugment(REPORT, Preprocess(SIZE))(images, labels(8), params)
    normalised, _ = SketchAugment(REPORT, Preprocess(SIZE, mean=0.9, std=0.2))(images, labels(8), params)
    torch.testing.assert_close(normalised, (plain - 0.9) / 0.2)


# ------------------------------------------------------------------------------------------- compiled, autocast


@CONFIGS
def test_one_graph_without_a_break(config: AugmentConfig) -> None:
    torch._dynamo.reset()
    augment = SketchAugment(config, Preprocess(SIZE))
    found = torch._dynamo.explain(augment)(sketches(8, SIZE), labels(8), augment.sample_params(8, generator()))
    assert (found.graph_count, found.graph_break_count) == (1, 0)


@pytest.mark.slow
@CONFIGS
def test_compiled_gives_the_same_batch(config: AugmentConfig) -> None:
    torch._dynamo.reset()
    augment = SketchAugment(config, Preprocess(SIZE))
    compiled = torch.compile(augment, fullgraph=True)
    for seed in range(3):
        params = augment.sample_params(16, generator(seed))
        expected, targets = augment(sketches(16, SIZE), labels(16), params)
        images, compiled_targets = compiled(sketches(16, SIZE), labels(16), params)
        torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
        for one, other in zip(compiled_targets, targets, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@CONFIGS
def test_what_a_gpu_runs_gives_the_same_ink_as_the_cpu_operator(config: AugmentConfig) -> None:
    params = SketchAugment(config, Preprocess(SIZE)).sample_params(16, generator())
    images = sketches(16, SIZE)
    expected = apply_params(images, params, largest=3)
    torch.testing.assert_close(apply_whole(images, params, largest=3), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@CONFIGS
def test_what_a_gpu_runs_compiles_into_one_graph(config: AugmentConfig) -> None:
    torch._dynamo.reset()
    params = SketchAugment(config, Preprocess(SIZE)).sample_params(16, generator())
    images = sketches(16, SIZE)
    compiled = torch.compile(apply_whole, fullgraph=True)
    expected = apply_whole(images, params, largest=3)
    torch.testing.assert_close(compiled(images, params, largest=3), expected, rtol=0, atol=1e-4)


@CONFIGS
def test_autocast_changes_nothing(config: AugmentConfig) -> None:
    augment = SketchAugment(config, Preprocess(SIZE))
    params = augment.sample_params(8, generator())
    expected, _ = augment(sketches(8, SIZE), labels(8), params)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images, _ = augment(sketches(8, SIZE), labels(8), params)
        drawn = augment.sample_params(8, generator())
    assert images.dtype == torch.float32
    assert torch.equal(images, expected)
    for one, other in zip(flat(drawn), flat(params), strict=True):
        assert torch.equal(one, other)


# -------------------------------------------------------------------------------------------------------- GPU


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@CONFIGS
def test_a_training_step_never_waits_for_the_host(config: AugmentConfig, compiled: bool) -> None:
    torch._dynamo.reset()
    augment = SketchAugment(config, Preprocess(SIZE)).cuda()
    run = torch.compile(augment, fullgraph=True) if compiled else augment
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIZE**2, 10)).cuda()
    images, truth, rng = sketches(16, SIZE).cuda(), labels(16).cuda(), generator(device="cuda")

    def step() -> Tensor:
        with torch.autocast("cuda", dtype=torch.float16):
            inputs, targets = run(images, truth, augment.sample_params(16, rng))
            loss = mixed_cross_entropy(model(inputs), targets, 0.1)
        loss.backward()
        return loss

    step()  # compiles, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@pytest.mark.gpu
@needs_gpu
@CONFIGS
def test_gpu_and_cpu_give_the_same_batch(config: AugmentConfig) -> None:
    torch._dynamo.reset()
    augment = SketchAugment(config, Preprocess(SIZE))
    params = augment.sample_params(16, generator())
    expected, _ = augment(sketches(16, SIZE), labels(16), params)
    moved = params._replace(mix=params.mix and type(params.mix)(*(part.cuda() for part in params.mix)))
    moved = moved._replace(**{name: part.cuda() for name, part in params._asdict().items() if isinstance(part, Tensor)})
    for run in (augment.cuda(), torch.compile(augment.cuda(), fullgraph=True)):
        images, _ = run(sketches(16, SIZE).cuda(), labels(16).cuda(), moved)
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------------------------------- engine


def test_the_engine_is_a_matter_of_configuration() -> None:
    assert type(create_augment(AugmentConfig(), Preprocess(SIZE))) is SketchAugment
    stock = create_augment(AugmentConfig(engine="kornia"), Preprocess(SIZE))
    assert type(stock).__name__ == "KorniaAugment"


@pytest.mark.slow
def test_a_model_learns_from_mixed_and_thickened_sketches() -> None:
    """Every part of the augmentation together still tells an L with a dot from its mirror image."""
    torch.manual_seed(0)
    config = REPORT.model_copy(update={"flip": 0.0})
    augment, rng = SketchAugment(config, Preprocess(SIZE)), generator()
    originals = sketches(16, SIZE)
    images = torch.cat([originals, originals.flip(3)])
    truth = torch.arange(2).repeat_interleave(16)
    model = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear((SIZE // 4) ** 2, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        order = torch.randperm(32)
        inputs, targets = augment(images[order], truth[order], augment.sample_params(32, rng))
        loss = mixed_cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model(augment.preprocess(images)).argmax(dim=1)
    assert (found == truth).float().mean() > 0.9
