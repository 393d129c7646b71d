"""What `torch.compile` is given: the forward and the backward pass of a training step, as graphs of a pretended T4.

Autograd does not run on tensors without content that lie on a GPU. So the step is traced on the CPU, by Dynamo and
AOTAutograd with Inductor's decompositions and its partition into two graphs, and nothing is computed; then the devices
in the graphs are exchanged, and the CPU's attention for the memory-efficient one, which is what a T4 has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
GPU = torch.device("cuda", 0)


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph of ATen operations on `cuda:0`.

    Attributes:
        graph: As Inductor takes it.
        inputs: Shape, strides and type of every input.
        is_backward: Whether it takes gradients back.
    """

    graph: GraphModule
    inputs: tuple[Any, ...]
    is_backward: bool = False


class _Traced(Exception):
    """There is all that was wanted: what was compiled is not to run."""


def trace_training(loss_of: Callable[..., Tensor], *inputs: object) -> list[Traced]:
    """Forward and backward pass of a loss, as they would be compiled; `inputs` lie on the CPU, as do the weights."""
    from torch._functorch import config as functorch_config
    from torch._inductor.compile_fx import compile_fx

    found: list[Traced] = []

    def capture(graph: GraphModule, given: Sequence[Any], *, is_backward: bool = False, **_: object) -> Any:
        found.append(Traced(_on_gpu(graph), tuple(given), is_backward))

        def stop(*_: object) -> None:
            raise _Traced

        stop._boxed_call = True  # type: ignore[attr-defined]
        return stop

    def backend(graph: GraphModule, given: Sequence[Any]) -> Any:
        return compile_fx(graph, given, inner_compile=capture)

    torch.compiler.reset()
    settings = {"force_non_lazy_backward_lowering": True, "enable_autograd_cache": False}
    with functorch_config.patch(settings), suppress(_Traced):
        torch.compile(loss_of, backend=backend, dynamic=False, fullgraph=True)(*inputs)
    if [each.is_backward for each in found] != [False, True]:
        raise RuntimeError(f"not one forward and one backward graph, but {len(found)} graphs")
    return found


def trace_forward(function: Callable[..., object], arguments: tuple[object, ...], fake: FakeTensorMode) -> Traced:
    """A function without gradients, on tensors like those among its arguments; within `pretended_t4`."""
    from torch._inductor.decomposition import select_decomp_table

    leaves, structure = tree_flatten(arguments)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    with fake:
        inputs = tuple(_like(leaves[place]) for place in places)

    def flat(*tensors: Tensor) -> list[Tensor]:
        given = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            given[place] = tensor
        outputs = tree_flatten(function(*tree_unflatten(given, structure)))[0]
        return [output for output in outputs if isinstance(output, Tensor)]

    with fake, torch.no_grad():
        graph = make_fx(torch.func.functionalize(flat), decomposition_table=select_decomp_table())(*inputs)
    return Traced(graph, inputs)


def on_gpu(traced: Traced, fake: FakeTensorMode) -> Traced:
    """The same with inputs on the pretended GPU."""
    with fake:
        inputs = tuple(_like(each) if isinstance(each, Tensor) else each for each in traced.inputs)
    return Traced(traced.graph, inputs, traced.is_backward)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tuple(tensor.shape), tensor.stride(), dtype=tensor.dtype, device=GPU)


def _on_gpu(graph: GraphModule) -> GraphModule:
    """Exchange, in place, every device and what a GPU has of its own."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function":
            exchange = _EXCHANGES.get(node.target)
            if exchange is not None:
                with graph.graph.inserting_before(node):
                    node.replace_all_uses_with(made := exchange(graph.graph, node))
                graph.graph.erase_node(node)
                node = made
            node.args, node.kwargs = map_aggregate((node.args, node.kwargs), _device)
    graph.recompile()
    return graph


def _device(value: Any) -> Any:
    return GPU if isinstance(value, torch.device) else value


def _attention(graph: Graph, node: Node) -> Node:
    query, key, value = node.args[:3]
    return graph.call_function(
        aten._scaled_dot_product_efficient_attention.default,
        (query, key, value, None, True),
        {"scale": node.kwargs.get("scale")},
    )


def _attention_backward(graph: Graph, node: Node) -> Node:
    gradient, query, key, value, out, logsumexp = node.args[:6]
    seed = graph.call_function(aten.full.default, ([], 0), {"dtype": torch.int64, "device": GPU})
    return graph.call_function(
        aten._scaled_dot_product_efficient_attention_backward.default,
        (gradient, query, key, value, None, out, logsumexp, seed, seed, 0.0, [True, True, True, False]),
        {"scale": node.kwargs.get("scale")},
    )


_EXCHANGES: dict[Any, Callable[[Graph, Node], Node]] = {
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward,
}
