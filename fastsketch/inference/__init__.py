"""Ask a trained model what a sketch shows."""

from __future__ import annotations

from fastsketch.inference.classifier import Classifier as Classifier
from fastsketch.inference.classifier import Prediction as Prediction
