"""Progressive resizing: small images first, which is most of the way at a fraction of the price.

Howard et al. trained ImageNet so (DAWNBench, 2018); see also Touvron et al., Fixing the train-test resolution
discrepancy (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

from fastsketch.errors import ConfigError


def final_size(image_sizes: Sequence[int], size: int) -> int:
    """The side in pixels of validation and of the saved model: the last of `image_sizes`, or the data set's `size`.

    Raises:
        ConfigError: One of them is larger than the data set's images.
    """
    if max(image_sizes, default=0) > size:
        raise ConfigError(
            f"training.image_sizes has {max(image_sizes)} px, but the images of the data set have {size} px",
            hint=f"convert the originals with --size {max(image_sizes)}, or stay within {size}",
        )
    return image_sizes[-1] if image_sizes else size


def image_size_at(epoch: int, epochs: int, image_sizes: Sequence[int], size: int) -> int:
    """The side in pixels that an epoch trains at.

    Args:
        epoch: Counted from 0.
        epochs: All epochs of the run; before none it is the last size. What they leave over in equal parts goes to the
            later sizes.
        image_sizes: Sides in turn; none is `size` throughout.
        size: Side of the data set's images.
    """
    if not image_sizes:
        return size
    if not epochs:
        return image_sizes[-1]
    left = epochs - 1 - epoch
    return image_sizes[len(image_sizes) - 1 - left * len(image_sizes) // epochs]
