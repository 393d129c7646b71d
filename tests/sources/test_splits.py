from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsketch.errors import ConfigError, DataError
from fastsketch.sources.splits import SplitSpec

NAMES = ("train", "val", "test")

names = st.text(min_size=1, max_size=20)
seeds = st.integers(0, 2**63)
counts = st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40)).filter(lambda parts: sum(parts) > 1)


@st.composite
def fractions(draw: st.DrawFn) -> tuple[float, ...]:
    """Two or three shares that add up to 1, the first above 0, as a user would write them."""
    thousandths = draw(st.lists(st.integers(0, 999), min_size=1, max_size=2).filter(lambda parts: sum(parts) < 1000))
    return tuple(part / 1000 for part in (1000 - sum(thousandths), *thousandths))


def written(parts: Sequence[float]) -> str:
    return "/".join(f"{part:g}" for part in parts)


@given(parts=counts, extra=st.integers(0, 50), name=names, seed=seeds)
def test_counts_are_exact_and_the_rest_is_left_over(parts: tuple[int, ...], extra: int, name: str, seed: int) -> None:
    assigned = SplitSpec.parse(written(parts)).assign(name, sum(parts) + extra, seed)
    # One entry a sample: a sample cannot be in two splits.
    assert len(assigned) == sum(parts) + extra
    assert Counter(assigned) == Counter({**dict(zip(NAMES, parts, strict=True)), None: extra})


@given(parts=fractions(), size=st.integers(1, 500), name=names, seed=seeds)
def test_fractions_take_every_sample_and_keep_to_their_share(
    parts: tuple[float, ...], size: int, name: str, seed: int
) -> None:
    found = Counter(SplitSpec.parse(written(parts)).assign(name, size, seed))
    assert None not in found
    assert found["train"] > 0
    for split, part in zip(NAMES[1:], parts[1:], strict=False):
        assert abs(found[split] - part * size) <= 1.5  # rounded, and one may be left to train on
    assert found.total() == size


@given(parts=fractions(), size=st.integers(1, 200), name=names, seed=seeds)
def test_a_split_depends_on_the_seed_the_class_and_its_size_alone(
    parts: tuple[float, ...], size: int, name: str, seed: int
) -> None:
    text = written(parts)
    assert SplitSpec.parse(text).assign(name, size, seed) == SplitSpec.parse(text).assign(name, size, seed)


def test_splits_do_not_change_from_release_to_release() -> None:
    # A data set converted again next year must have the same test images.
    assigned = SplitSpec.parse("4/2/2").assign("person walking", 10, seed=7)
    assert assigned == ["train", None, "val", "train", "test", "train", "test", "train", "val", None]


def test_another_seed_and_another_class_give_another_split() -> None:
    spec = SplitSpec.parse("48/9/23")
    first = spec.assign("airplane", 80, 0)
    assert first != spec.assign("airplane", 80, 1)
    assert first != spec.assign("alarm clock", 80, 0)


def test_the_report_s_split() -> None:
    assert Counter(SplitSpec.parse("48/9/23").assign("airplane", 80, 0)) == {"train": 48, "val": 9, "test": 23}


def test_two_numbers_mean_no_test_split() -> None:
    assert Counter(SplitSpec.parse("0.75/0.25").assign("a", 8, 0)) == {"train": 6, "val": 2}
    assert Counter(SplitSpec.parse("3/1").assign("a", 4, 0)) == {"train": 3, "val": 1}


def test_too_few_samples() -> None:
    with pytest.raises(DataError, match="class 'a b' has 79 samples, the split asks for 80"):
        SplitSpec.parse("48/9/23").assign("a b", 79, 0)


@pytest.mark.parametrize(
    "text",
    ["", "80", "0.8", "0.8/0.1", "0.8/0.3", "1/2/3/4", "-1/2", "0/1", "0/5/5", "1.5/2", "a/b", "48/9/23/", "nan/1",
     "inf/1", "48,9,23", "1e308/1e308/0", "1e10/0"],
)  # fmt: skip
def test_what_is_no_split(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a split") as caught:
        SplitSpec.parse(text)
    assert "48/9/23" in str(caught.value.hint)
