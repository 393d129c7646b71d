from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsketch.errors import ConfigError
from fastsketch.training.progressive_resize import final_size, image_size_at


def test_equal_parts_are_equal() -> None:
    assert [image_size_at(epoch, 6, (160, 192, 224), 256) for epoch in range(6)] == [160, 160, 192, 192, 224, 224]


def test_what_is_left_over_goes_to_the_later_sizes() -> None:
    assert [image_size_at(epoch, 5, (160, 192, 224), 224) for epoch in range(5)] == [160, 192, 192, 224, 224]


def test_a_run_too_short_for_all_sizes_ends_with_the_last() -> None:
    assert [image_size_at(epoch, 2, (128, 160, 224), 224) for epoch in range(2)] == [160, 224]
    assert image_size_at(0, 1, (128, 160, 224), 224) == 224


def test_no_sizes_are_the_data_sets() -> None:
    assert image_size_at(3, 9, (), 128) == final_size((), 128) == 128


@given(epochs=st.integers(1, 60), sizes=st.lists(st.integers(8, 256), min_size=1, max_size=6, unique=True))
def test_sizes_come_in_their_order_in_parts_that_differ_by_one_at_most(epochs: int, sizes: list[int]) -> None:
    course = [image_size_at(epoch, epochs, tuple(sizes), 256) for epoch in range(epochs)]
    assert course[-1] == final_size(sizes, 256) == sizes[-1]
    positions = [sizes.index(size) for size in course]
    assert positions == sorted(positions)
    counts = [course.count(size) for size in sizes]
    assert max(counts) - min(counts) <= 1


def test_a_size_above_the_data_sets_is_told() -> None:
    with pytest.raises(ConfigError, match="has 256 px, but the images of the data set have 224 px") as caught:
        final_size((160, 256, 224), 224)
    assert "--size 256" in str(caught.value.hint)


def test_where_there_are_no_epochs_it_is_the_last_size() -> None:
    assert image_size_at(0, 0, (160, 192), 224) == 192
    assert image_size_at(0, 0, (), 224) == 224
