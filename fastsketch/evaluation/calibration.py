"""Whether a model that says 80 % is right in 80 of 100 cases, and the one number that mends most of it.

A temperature divides all logits, so that the order of the classes stays: Guo et al., *On Calibration of Modern Neural
Networks*, 2017.
"""

from __future__ import annotations

from typing import NamedTuple

from torchmetrics.functional.classification import multiclass_calibration_error

from fastsketch.evaluation.outputs import Outputs
from fastsketch.models.temperature import best_scale

BINS = 15
"""Of equal width, by the probability of the likeliest class; as in the paper."""

LOWEST, HIGHEST = 0.05, 20.0
"""Of a temperature: where every sample is recognised, none would be low enough."""


FEWEST = 20
"""Samples of which a temperature can be found at all."""


class Calibration(NamedTuple):
    """How far a model's probabilities can be believed.

    Attributes:
        temperature: What logits are divided by.
        before: Expected calibration error without it, in [0, 1]: how far confidence and accuracy lie apart.
        after: With it.
        fitted: Whether it was found on these samples, rather than stored with the model.
    """

    temperature: float
    before: float
    after: float
    fitted: bool

    @classmethod
    def of(cls, outputs: Outputs, temperature: float | None) -> Calibration:
        """Of a split, with a model's temperature, or the one that is best for it, if it has samples enough."""
        fitted = temperature is None and len(outputs.labels) >= FEWEST
        found = fit_temperature(outputs) if fitted else temperature or 1.0
        return cls(found, calibration_error(outputs, 1.0), calibration_error(outputs, found), fitted)


def fit_temperature(outputs: Outputs) -> float:
    """The temperature with the least cross-entropy, in [0.05, 20]."""
    best = best_scale(outputs.logits, outputs.labels)
    return HIGHEST if best <= 0 else min(max(1 / best, LOWEST), HIGHEST)


def calibration_error(outputs: Outputs, temperature: float) -> float:
    """The expected calibration error, in [0, 1]."""
    probabilities = outputs.probabilities(temperature)
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, outputs.labels, classes, BINS, "l1"))
