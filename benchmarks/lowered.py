"""What Inductor makes of a graph for a pretended T4: kernels, what each moves and computes, and the memory it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .traced import Traced


class Launch(NamedTuple):
    """One kernel at work once.

    Attributes:
        name: Of a Triton kernel, or the operation of cuBLAS, cuDNN or ATen that is called.
        library: Whether it is one of theirs.
        bytes: Read and written, each buffer once.
        flops: Of its matrix products and convolutions; what else is computed hides behind the memory.
    """

    name: str
    library: bool
    bytes: int
    flops: int


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph as it would run.

    Attributes:
        launches: In order.
        sources: Triton's source of every kernel, by name.
        peak_bytes: The most that is alive at once, without inputs that stay alive (weights); gradients included.
    """

    launches: tuple[Launch, ...]
    sources: dict[str, str]
    peak_bytes: int


def lower(traced: Traced, fake: FakeTensorMode, options: Mapping[str, object] | None = None) -> Lowered:
    """Lower a graph, within `pretended_t4`; the steps are those of `torch._inductor.compile_fx`.

    Args:
        traced: The graph.
        fake: What `pretended_t4` gave.
        options: Inductor's.
    """
    from torch._inductor import config
    from torch._inductor.compile_fx import (
        _recursive_post_grad_passes,
        _recursive_record_original_output_strides,
    )
    from torch._inductor.debug import DebugContext
    from torch._inductor.fx_passes.post_grad import view_to_reshape
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    graph, inputs = traced.graph, list(traced.inputs)
    with (
        config.patch({**(options or {}), "fx_graph_cache": False, "compile_threads": 1}),
        V.set_fake_mode(fake),
        torch.no_grad(),
        DebugContext(),
    ):
        view_to_reshape(graph)  # type: ignore[no-untyped-call]
        FakeTensorProp(graph, mode=fake).propagate_dont_convert_inputs(*inputs)
        _recursive_record_original_output_strides(graph)
        _recursive_post_grad_passes(graph, is_inference=False)
        lowering = GraphLowering(graph, example_inputs=inputs, is_backward=traced.is_backward)
        with V.set_graph_handler(lowering):
            lowering.run(*inputs)
            code = lowering.codegen()[0]
            launches = tuple(_launches(lowering.scheduler.nodes))
            peak = _peak_bytes(lowering)
    sources = dict(re.findall(r"async_compile\.triton\('(\w+)', '''(.*?)'''", str(getattr(code, "value", code)), re.S))
    return Lowered(launches, sources, peak)


def _launches(nodes: Sequence[Any]) -> Iterator[Launch]:
    from torch._inductor.ir import MultiOutput
    from torch._inductor.scheduler import ExternKernelSchedulerNode, NopKernelSchedulerNode

    for node in nodes:
        if isinstance(node, NopKernelSchedulerNode):
            continue
        if isinstance(node, ExternKernelSchedulerNode):
            if not isinstance(node.node, MultiOutput):  # which names one output of a launch
                yield _library_launch(node.node)
        else:
            yield Launch(node.get_name(), False, node.get_read_write_buffers_sizes(), 0)


def _library_launch(kernel: Any) -> Launch:
    """A call of cuBLAS, cuDNN or ATen, by the operation of the graph that it comes from."""
    origin = kernel.get_origin_node()
    if origin is None:
        [origin] = [node for node in kernel.get_origins() if node.target in (kernel.op_overload,)]
    args, kwargs = map_arg((origin.args, origin.kwargs), _value)
    out = _value(origin)
    moved = sum(tensor.nbytes for tensor in tree_leaves((args, kwargs, out)) if isinstance(tensor, Tensor))
    return Launch(str(origin.target), True, moved, count_flops(origin.target, args, kwargs, out))


def _value(node: Node) -> Any:
    return node.meta["val"]


def count_flops(operation: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations of a matrix product, attention or convolution on tensors with or without content."""
    if operation is torch.ops.aten.convolution_backward.default:  # torch 2.15 forgets the groups (ResNeXt: 5 times)
        gradient, weight = args[0], args[2]
        asked = sum(each is not None for each in out[:2])
        return int(asked * 2 * gradient.numel() * math.prod(weight.shape[1:]))
    counted = flop_registry.get(operation.overloadpacket)
    return int(counted(*args, **kwargs, out_val=out)) if counted else 0


def _peak_bytes(lowering: Any) -> int:
    from torch._inductor import memory
    from torch.utils._ordered_set import OrderedSet

    scheduler = lowering.scheduler
    names = OrderedSet(lowering.graph_inputs)
    freeable = memory.get_freeable_input_buf(scheduler.nodes, names)
    memory.assign_memory_planning_info_for_scheduler_buffers(scheduler.nodes, scheduler.name_to_buf)
    peak, *_ = memory.estimate_peak_memory_allocfree(scheduler.nodes, freeable, OrderedSet(lowering.get_output_names()))
    return int(peak)
