"""Strokes: a rasteriser that can be trusted to the pixel, and a fit that keeps what it promises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastsketch.demo.curves import arc, blob, box, curve, garland, line, mirror, place, polar
from fastsketch.sources.strokes import Stroke, fit_to_canvas, rasterise

FACE = [arc(0.5, 0.5, 0.4), arc(0.35, 0.4, 0.05), arc(0.65, 0.4, 0.05), arc(0.5, 0.55, 0.2, 0.15, 20, 160)]

coordinates = st.floats(-1e4, 1e4, width=32)
one_stroke = arrays.arrays(np.float32, st.tuples(st.integers(0, 8), st.just(2)), elements=coordinates)
drawings = st.lists(one_stroke, max_size=6)
margins = st.floats(0, 0.45)


def ink(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """[size, size], 1 where the pixel is all ink."""
    return 1 - image / 255


def extent(strokes: list[Stroke]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    points = np.concatenate(strokes).astype(np.float64)
    return points.min(axis=0), points.max(axis=0)


class TestRasterise:
    @pytest.mark.parametrize("size", [1, 17, 64, 224, 500])
    def test_is_black_on_white_of_the_size_asked(self, size: int) -> None:
        image = rasterise(FACE, size, 0.02)
        assert image.shape == (size, size)
        assert image.dtype == np.uint8
        assert image.flags.writeable
        if size > 1:
            assert image.max() == 255
            assert np.median(image) >= 250
        if size >= 64:
            assert image.min() == 0

    def test_paper_stays_white(self) -> None:
        nothing = np.empty((0, 2), dtype=np.float32)
        assert (rasterise([], 32, 0.02) == 255).all()
        assert (rasterise([nothing, nothing], 32, 0.02) == 255).all()

    def test_x_is_right_and_y_is_down(self) -> None:
        image = rasterise([line((0.75, 0.25))], 64, 0.1)
        rows, columns = np.nonzero(image < 128)
        assert columns.mean() == pytest.approx(0.75 * 64 - 0.5, abs=0.25)
        assert rows.mean() == pytest.approx(0.25 * 64 - 0.5, abs=0.25)

    @pytest.mark.parametrize("size", [50, 64, 224, 640])
    @pytest.mark.parametrize("width", [0.05, 0.1, 0.3])
    def test_one_point_is_a_round_dot(self, size: int, width: float) -> None:
        image = rasterise([line((0.5, 0.5))], size, width)
        assert ink(image).sum() == pytest.approx(np.pi / 4 * (width * size) ** 2, rel=0.1, abs=1.5)
        assert np.abs(ink(image) - ink(image).T).max() < 0.05

    @pytest.mark.parametrize("repeats", [2, 5])
    def test_a_stroke_that_stays_where_it_is_is_a_dot(self, repeats: int) -> None:
        dot = rasterise([line((0.4, 0.6))], 64, 0.1)
        assert (rasterise([line(*[(0.4, 0.6)] * repeats)], 64, 0.1) == dot).all()

    @pytest.mark.parametrize("size", [64, 224, 700])
    def test_width_is_in_canvas_sides(self, size: int) -> None:
        for end in ((0.8, 0.2), (0.2, 0.8), (0.8, 0.8), (0.5, 0.8)):
            stroke = line((0.2, 0.2), end)
            length = float(np.hypot(*(stroke[1] - stroke[0])))
            area = ink(rasterise([stroke], size, 0.06)).sum() / size**2
            assert area == pytest.approx(0.06 * length + np.pi / 4 * 0.06**2, rel=0.1)

    def test_thin_lines_stay_visible(self) -> None:
        stroke = line((0.1, 0.48), (0.9, 0.53))
        image = rasterise([stroke], 40, 1e-4)
        assert (ink(image).max(axis=0)[5:35] > 0.45).all()
        assert ink(image).sum() == pytest.approx(0.8 * 40, rel=0.15)

    def test_ends_and_corners_are_round(self) -> None:
        size, width = 200, 0.2
        image = rasterise([line((0.3, 0.7), (0.3, 0.3), (0.7, 0.3))], size, width)
        at = (np.arange(size) + 0.5) / size
        x, y = np.meshgrid(at, at)
        from_end = np.hypot(x - 0.7, y - 0.3)
        from_corner = np.hypot(x - 0.3, y - 0.3)
        for distance, outside in ((from_end, x > 0.7), (from_corner, (x < 0.3) & (y < 0.3))):
            assert (image[outside & (distance > 0.11)] == 255).all()
            assert (image[outside & (distance < 0.09)] == 0).all()

    @pytest.mark.parametrize("size", [28, 64, 224])
    def test_edges_are_gray(self, size: int) -> None:
        assert len(np.unique(rasterise(FACE, size, 0.02))) >= 8

    @pytest.mark.parametrize("size", [56, 112, 300])
    def test_twice_the_size_reduced_is_the_same_image(self, size: int) -> None:
        small = rasterise(FACE, size, 0.03)
        large = rasterise(FACE, 2 * size, 0.03)
        reduced = large.reshape(size, 2, size, 2).mean(axis=(1, 3))
        difference = np.abs(reduced - small)
        drawn = difference[(small < 255) | (reduced < 255)]
        assert drawn.mean() < 20
        assert reduced.mean() == pytest.approx(small.mean(), abs=1.5)

    def test_what_leaves_the_canvas_is_cut_off(self) -> None:
        image = rasterise([line((-0.5, 0.5), (1.5, 0.5)), line((3, 3), (4, 4))], 50, 0.1)
        assert (image[24:26] == 0).all()
        assert (image[:20] == 255).all()
        assert (image[30:] == 255).all()

    def test_strokes_are_left_alone(self) -> None:
        before = [stroke.copy() for stroke in FACE]
        rasterise(FACE, 64, 0.02)
        assert all((was == now).all() for was, now in zip(before, FACE, strict=True))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 255.0, 1e30])
    def test_refuses_points_in_another_unit(self, value: float) -> None:
        with pytest.raises(ValueError, match="canvas sides"):
            rasterise([line((0.1, 0.1), (value, 0.5))], 32, 0.02)

    @pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 2, 2)])
    def test_refuses_what_is_no_stroke(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"\[points, 2\]"):
            rasterise([np.zeros(shape, dtype=np.float32)], 32, 0.02)

    @pytest.mark.parametrize(("size", "width"), [(0, 0.1), (-3, 0.1), (32, 0.0), (32, -1.0), (32, np.nan)])
    def test_refuses_size_and_width_out_of_range(self, size: int, width: float) -> None:
        with pytest.raises(ValueError, match=r"size|width"):
            rasterise(FACE, size, width)


class TestFitToCanvas:
    @given(drawings, margins)
    def test_centres_and_fills(self, strokes: list[Stroke], margin: float) -> None:
        assume(any(len(stroke) for stroke in strokes))
        low, high = extent(strokes)
        assume((high - low).max() > 0)
        fitted_low, fitted_high = extent(fit_to_canvas(strokes, margin))
        assert (fitted_high - fitted_low).max() == pytest.approx(1 - 2 * margin, abs=1e-5)
        assert (fitted_low + fitted_high) / 2 == pytest.approx(0.5, abs=1e-5)
        assert fitted_low.min() >= margin - 1e-5
        assert fitted_high.max() <= 1 - margin + 1e-5

    @given(drawings, margins)
    def test_keeps_strokes_points_and_aspect(self, strokes: list[Stroke], margin: float) -> None:
        fitted = fit_to_canvas(strokes, margin)
        assert [stroke.shape for stroke in fitted] == [stroke.shape for stroke in strokes]
        assert all(stroke.dtype == np.float32 and np.isfinite(stroke).all() for stroke in fitted)
        assume(any(len(stroke) for stroke in strokes))
        low, high = extent(strokes)
        assume((high - low).max() > 0)
        scale = (1 - 2 * margin) / (high - low).max()
        sides = np.subtract(*extent(fitted)[::-1])
        assert sides == pytest.approx((high - low) * scale, abs=1e-5)

    @given(drawings, margins)
    def test_again_changes_nothing(self, strokes: list[Stroke], margin: float) -> None:
        once = fit_to_canvas(strokes, margin)
        for first, second in zip(once, fit_to_canvas(once, margin), strict=True):
            np.testing.assert_allclose(first, second, atol=1e-5)

    @given(st.tuples(coordinates, coordinates), st.integers(1, 4), margins)
    def test_a_dot_lands_in_the_middle(self, point: tuple[float, float], points: int, margin: float) -> None:
        (dot,) = fit_to_canvas([line(*[point] * points)], margin)
        assert (dot == 0.5).all()

    def test_a_straight_line_fills_its_length(self) -> None:
        (across,) = fit_to_canvas([line((7, 3), (9, 3))], 0.1)
        np.testing.assert_allclose(across, [[0.1, 0.5], [0.9, 0.5]], atol=1e-6)
        (down,) = fit_to_canvas([line((3, -2), (3, 8))], 0.25)
        np.testing.assert_allclose(down, [[0.5, 0.25], [0.5, 0.75]], atol=1e-6)

    def test_nothing_stays_nothing(self) -> None:
        assert fit_to_canvas([], 0.1) == []
        (empty,) = fit_to_canvas([np.empty((0, 2), dtype=np.float32)], 0.1)
        assert empty.shape == (0, 2)

    def test_returns_new_arrays(self) -> None:
        stroke = line((0, 0), (1, 1))
        (fitted,) = fit_to_canvas([stroke], 0.0)
        fitted += 1
        assert (stroke == line((0, 0), (1, 1))).all()

    @pytest.mark.parametrize("margin", [-0.01, 0.5, 1.0, float("nan")])
    def test_refuses_margins_out_of_range(self, margin: float) -> None:
        with pytest.raises(ValueError, match="margin"):
            fit_to_canvas(FACE, margin)


class TestCurves:
    def test_smooth_curves_pass_through_their_points(self) -> None:
        points = [(0.0, 0.0), (1.0, 0.5), (0.5, 2.0), (-1.0, 1.0)]
        for stroke in (curve(*points), blob(*points)):
            for point in points:
                assert np.hypot(*(stroke - np.array(point)).T).min() < 1e-6

    def test_closed_shapes_end_where_they_begin(self) -> None:
        for stroke in (box(0, 0, 2, 1), blob((0, 0), (1, 0), (1, 1)), arc(3, 4, 2, 1)):
            np.testing.assert_allclose(stroke[0], stroke[-1], atol=1e-6)

    def test_angles_run_clockwise_from_the_right(self) -> None:
        quarter = arc(1, 1, 2, 1, 0, 90)
        np.testing.assert_allclose(quarter[[0, -1]], [[3, 1], [1, 2]], atol=1e-6)
        np.testing.assert_allclose(polar(2, 90), (0, 2), atol=1e-6)
        (turned,) = place([line((1, 0))], x=5, turn=90)
        np.testing.assert_allclose(turned, [[5, 1]], atol=1e-6)

    def test_a_garland_bulges_to_the_left(self) -> None:
        bulging = garland(line((0, 0), (1, 0), (2, 0)), 0.5)
        assert bulging[:, 1].max() == pytest.approx(0, abs=1e-6)
        assert bulging[:, 1].min() == pytest.approx(-0.5, abs=0.02)
        assert np.hypot(*(bulging - [1, 0]).T).min() < 1e-6

    def test_mirror_keeps_the_original_first(self) -> None:
        original, reflected = mirror(line((1, 2), (3, 4)))
        assert original.tolist() == [[1, 2], [3, 4]]
        assert reflected.tolist() == [[-1, 2], [-3, 4]]

    @pytest.mark.parametrize("stroke", [box(0, 0, 1, 1), curve((0, 0), (1, 1)), *FACE, garland(FACE[0], 0.3)])
    def test_all_are_strokes(self, stroke: Stroke) -> None:
        assert stroke.dtype == np.float32
        assert stroke.ndim == 2
        assert stroke.shape[1] == 2
        assert place([stroke], turn=30)[0].dtype == mirror(stroke)[1].dtype == np.float32
