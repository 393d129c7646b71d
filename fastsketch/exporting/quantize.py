"""Eight bits for weights and activations, by onnxruntime."""

from __future__ import annotations

import logging
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from fastsketch.exporting.files import require_onnx, save_onnx
from fastsketch.inference.description import Description
from fastsketch.inference.exported import require_onnxruntime

CALIBRATION = 128
"""Training sketches by which the ranges of activations are found."""

PERCENTILE = 99.99
"""Of an activation's values that its range holds. By the largest of all, EfficientNet-Lite0 lost 7 points of top-1, by
this one 1."""

OPERATORS = ["Conv", "MatMul", "Gemm"]
"""Where the time goes; all else stays in float32."""


def write_int8(source: Path, path: Path, description: Description, sketches: npt.NDArray[np.uint8]) -> None:
    """Quantise an exported ONNX file.

    Args:
        source: The file, in float32.
        path: What is written, atomically.
        description: Of the new file.
        sketches: uint8 [N, 1, S, S], of the training split.

    Raises:
        BackendMissing: onnxruntime or onnx is not installed.
    """
    require_onnxruntime()
    onnx = require_onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it logs its advice there
    try:
        with TemporaryDirectory(prefix="fastsketch-int8-") as folder, redirect_stdout(None):  # and prints its progress
            prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(made),
                _Reader(sketches),
                op_types_to_quantize=OPERATORS,
                calibrate_method=CalibrationMethod.Percentile,
                per_channel=True,
                reduce_range=True,  # seven bits of a weight: with eight, CPUs without VNNI overflow in silence
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"CalibPercentile": PERCENTILE},
            )
            save_onnx(onnx.load(made), path, description)
    finally:
        logging.root.setLevel(level)


class _Reader:
    """One sketch after the other, as onnxruntime's calibration wants them."""

    def __init__(self, sketches: npt.NDArray[np.uint8]) -> None:
        self._remaining = iter(sketches)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._remaining, None)
        return None if image is None else {"images": image[None]}
