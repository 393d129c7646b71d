"""What happens to a training image by chance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fastsketch.config.section import BetaParameter, ElementSide, Probability, Scale, Section


class AugmentConfig(Section):
    """Random changes to each training image, drawn anew for every sample; in the order in which they are applied.

    Attributes:
        engine: `fused` is ours; `kornia` the same from Kornia's stock modules, the baseline of benchmarks and tests,
            which knows only affine, flip, thicker lines, MixUp and CutMix.
        rotation: Largest angle in degrees, either way.
        translation: Largest shift as a share of the side, either way, in x and in y.
        scale: Smallest and largest factor of size.
        shear: Largest shear angle in degrees, either way, in x and in y.
        flip: Probability of a horizontal flip.
        perspective: Largest inward shift of each corner, as a share of half the side; 0 is off.
        elastic: Standard deviation of a smooth random displacement (Ronneberger et al., 2015), as a share of the side;
            0 is off. U-Net's is 10 px on 512, 0.02.
        thickness: Probability that the lines change their thickness.
        thickness_range: Smallest and largest side, in pixels, of the square that the pen is widened by (dilation with
            a flat element). A line of 2 px becomes 3 px wide with side 2.
        thinning: Share of those samples whose lines get thinner instead (erosion). It deletes lines that are not
            wider than the square.
        erasing: Probability that a rectangle is erased to paper (Zhong et al., 2020).
        erasing_area: Smallest and largest share of the image that it covers.
        mixup: alpha of MixUp's Beta(alpha, alpha) (Zhang et al., 2018); 0 is off, 1 uniform.
        cutmix: alpha of CutMix's (Yun et al., 2019); 0 is off.
        mix_probability: Probability that a sample is mixed with another, if `mixup` or `cutmix` is on.
        cutmix_share: Share of CutMix among the mixed samples, if both are on.
        normalize: `unit` leaves [0, 1] (the report's best); `standard` uses the training split's mean and standard
            deviation; `pretrained` uses those of the model's pretrained weights.
    """

    engine: Literal["fused", "kornia"] = "fused"
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    translation: Annotated[float, Field(ge=0, le=1)] = 0.1
    # Far beyond these bounds a matrix has no inverse in float32, and NaN would enter the training.
    scale: tuple[Scale, Scale] = (0.9, 1.1)
    shear: Annotated[float, Field(ge=0, le=75)] = 10.0
    flip: Probability = 0.5
    perspective: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    thickness: Probability = 0.0
    thickness_range: tuple[ElementSide, ElementSide] = (2, 3)
    thinning: Probability = 0.0
    erasing: Probability = 0.0
    erasing_area: tuple[Probability, Probability] = (0.02, 0.33)
    mixup: BetaParameter = 0.0
    cutmix: BetaParameter = 0.0
    mix_probability: Probability = 1.0
    cutmix_share: Probability = 0.5
    normalize: Literal["unit", "standard", "pretrained"] = "unit"

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with each other."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0

    @field_validator("scale", "thickness_range", "erasing_area")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("the smallest comes first")
        return bounds

    @model_validator(mode="after")
    def _within_kornia(self) -> AugmentConfig:
        if self.engine == "kornia":
            beyond = [name for name in ("perspective", "elastic", "thinning", "erasing") if getattr(self, name)]
            if beyond:
                raise ValueError(f"engine kornia does not do {', '.join(beyond)}")
            if self.mixup not in (0, 1):
                raise ValueError("engine kornia mixes with a uniform share only: mixup is 0 or 1")
        return self
