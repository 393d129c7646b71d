"""Triton's kernels, compiled by the ptxas that Triton brings: does each compile, and what is dear in it?"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from fastsketch.training.execution.compile import first_line
from fastsketch.workers import available_cpus

CAPABILITIES = (75, 80, 90)
"""A T4, an A100 and an H100 or H200: their compute capabilities times ten."""


class Cubin(NamedTuple):
    """A kernel for a device.

    Attributes:
        kernel: Its name.
        capability: Times ten.
        bytes: Of the machine code, the largest of all block sizes that Inductor would try; 0 where it did not compile.
        spilled: Bytes a thread that do not fit the registers, likewise.
        float64: Whether anything is computed in double precision, at a 32nd of the speed on a T4.
        product: Whether there is a matrix product in it, for which Triton has no tensor cores on a T4.
        error: Why it did not compile.
    """

    kernel: str
    capability: int
    bytes: int = 0
    spilled: int = 0
    float64: bool = False
    product: bool = False
    error: str | None = None


def compile_kernels(sources: Iterable[str], capabilities: Iterable[int] = CAPABILITIES) -> list[Cubin]:
    """Compile every source, as Inductor wrote it, for every capability; in as many processes as there are cores."""
    sources, capabilities = list(dict.fromkeys(sources)), list(capabilities)
    with ProcessPoolExecutor(available_cpus(), mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(_compile, capabilities=capabilities), sources, chunksize=4)
        return [cubin for cubins in found for cubin in cubins]


def _compile(source: str, capabilities: list[int]) -> list[Cubin]:
    from torch._inductor.runtime.triton_helpers import skip_gpu_driver_setup

    from .pretended import pretended_t4

    with pretended_t4(), skip_gpu_driver_setup(), tempfile.TemporaryDirectory() as folder:
        kernel, name = _load(source, Path(folder))
        return [_cubin(kernel, name, capability) for capability in capabilities]


def _load(source: str, folder: Path) -> tuple[Any, str]:
    """Inductor's kernel, with the block sizes that it would try, and its name."""
    [name] = re.findall(r"^def (triton_\w+)\(", source, re.M)
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name), name


def _cubin(kernel: Any, name: str, capability: int) -> Cubin:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    code = spilled = 0
    double = product = False
    for config in kernel.configs:
        meta = kernel._create_compile_meta(config)
        source = ASTSource(kernel.fn, meta["signature"], meta["constants"], meta["configs"][0])
        options = kernel._create_compile_options(config, meta)
        try:
            made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        except Exception as error:  # Triton, LLVM and ptxas raise whatever they like
            return Cubin(name, capability, error=first_line(error))
        code = max(code, len(made.asm["cubin"]))
        spilled = max(spilled, _spilled(made.asm["ptx"], capability))
        double |= ".f64" in made.asm["ptx"]
        product |= "tt.dot" in made.asm["ttir"]
    return Cubin(name, capability, code, spilled, double, product)


def _spilled(ptx: str, capability: int) -> int:
    """Bytes a thread that ptxas stores and loads again."""
    from triton.backends.nvidia.compiler import get_ptxas

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.ptx")
        path.write_text(ptx)
        architecture = re.search(r"^\.target (sm_\w+)", ptx, re.M)
        assert architecture is not None
        command = [get_ptxas(capability).path, "-v", f"--gpu-name={architecture[1]}", path, "-o", f"{folder}/cubin"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return max((int(found) for found in re.findall(r"(\d+) bytes spill stores", said)), default=0)
