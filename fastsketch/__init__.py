"""fastsketch: the fastest way to fine-tune an image classifier on sketches."""

from __future__ import annotations

__version__ = "0.1.0"
