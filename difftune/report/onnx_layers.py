"""Nodes of an ONNX graph, and the layers that all networks are made of."""

from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.models import MLP

# Activations that are one node of ONNX, with jax's constants.
_SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
}


class Graph:
    """Nodes and constants while they are put together."""

    def __init__(self, helper: Any, numpy_helper: Any):
        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        """Numbers as float32, or int64 or bool where they are such."""
        name = f"constant_{len(self.constants)}"
        array = np.asarray(values)
        kind = {"i": np.int64, "b": np.bool_}.get(array.dtype.kind, np.float32)
        self.constants.append(self._numpy_helper.from_array(array.astype(kind), name))
        return name

    def several(self, kind: str, *inputs: str, count: int, **options: Any) -> tuple[str, ...]:
        """A node of several outputs."""
        outputs = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(self._helper.make_node(kind, list(inputs), outputs, **options))
        return tuple(outputs)

    def __call__(self, kind: str, *inputs: str, output: str | None = None, **options: Any) -> str:
        """A node of one output, which it names."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [output], **options))
        return output


def dense(
    graph: Graph, state: Any, buffers: Any, own: MLP, x: str, fan_in: int, outputs: int
) -> str:
    """Hidden layers and the output of a member's own network.

    With submodels what comes out is `[submodels, events, outputs]`.
    """
    submodels = own.submodels
    if submodels > 1:
        x = graph("Unsqueeze", x, graph.constant([1]))
    for i, width in enumerate(own.hidden):
        if submodels > 1 and "input_scale" in state["linear"][i]:
            x = _adapted(graph, state["linear"][i], x, fan_in, width, submodels)
        elif submodels > 1:
            x = product(graph, state["linear"][i], x, fan_in, width)
        else:
            x = _linear(graph, state["linear"][i], x, fan_in, width)
        if own.normalisation == "batch":
            x = _batch_norm(graph, state["norm"][i], buffers["norm"][i], x, width)
        elif own.normalisation == "layer":
            x = layer_norm(graph, state["norm"][i], x, width)
        x = activation(graph, str(own.activation), x)
        fan_in = width
    if submodels == 1:
        return _linear(graph, state["output"], x, fan_in, outputs)
    heads = graph.constant(numbers_of(state["output"]["kernel"])[:, :fan_in])
    bias = graph.constant(numbers_of(state["output"]["bias"]).reshape(submodels, 1, outputs))
    apart = graph("Transpose", x, perm=[1, 0, 2])
    return graph("Add", graph("MatMul", apart, heads), bias)


def _adapted(graph: Graph, layer: Any, x: str, fan_in: int, width: int, submodels: int) -> str:
    """A layer whose matrix the submodels share, `[events, submodels, width]`."""

    def own(name: str, units: int) -> str:
        return graph.constant(numbers_of(layer[name]).reshape(submodels, -1)[:, :units])

    x = graph("Mul", x, own("input_scale", fan_in))
    if "output_scale" not in layer:
        return product(graph, layer, x, fan_in, width)
    x = graph("MatMul", x, graph.constant(numbers_of(layer["kernel"])[:fan_in, :width]))
    return graph("Add", graph("Mul", x, own("output_scale", width)), own("bias", width))


def product(graph: Graph, layer: Any, x: str, fan_in: int, width: int) -> str:
    """A linear layer of rows or submodels."""
    x = graph("MatMul", x, graph.constant(numbers_of(layer["kernel"])[:fan_in, :width]))
    if "bias" not in layer:
        return x
    return graph("Add", x, graph.constant(numbers_of(layer["bias"])[:width]))


def periodic(graph: Graph, embedding: Any, model: MLP, x: str, inputs: int) -> str:
    """The periodic embedding, `[events, inputs * outputs]`."""
    size = model.embedding_size
    frequency = numbers_of(embedding["frequency"]).reshape(inputs, 1, model.frequencies)
    # An input each: a column of events, to be multiplied by matrices of its own.
    column = graph("Unsqueeze", graph("Transpose", x, perm=[1, 0]), graph.constant([2]))
    angle = graph("Mul", column, graph.constant(2.0 * np.pi * frequency))
    waves = graph("Concat", graph("Cos", angle), graph("Sin", angle), axis=2)
    kernel = graph.constant(numbers_of(embedding["kernel"]).swapaxes(1, 2))
    bias = graph.constant(numbers_of(embedding["bias"]).reshape(inputs, 1, size))
    units = graph("Relu", graph("Add", graph("MatMul", waves, kernel), bias))
    side_by_side = graph("Transpose", units, perm=[1, 0, 2])
    return graph("Reshape", side_by_side, graph.constant([0, inputs * size]))


def numbers_of(variable: Any) -> Float[np.ndarray, "..."]:
    """What a variable of Flax holds."""
    return np.asarray(variable[...])


def _linear(graph: Graph, layer: Any, x: str, fan_in: int, width: int) -> str:
    kernel = graph.constant(numbers_of(layer["kernel"])[:fan_in, :width])
    return graph("Gemm", x, kernel, graph.constant(numbers_of(layer["bias"])[:width]))


# flax adds this to the variance in both normalisations.
_EPSILON = {"batch": 1e-5, "layer": 1e-6}


def _batch_norm(graph: Graph, layer: Any, statistics: Any, x: str, width: int) -> str:
    scale = numbers_of(layer["scale"]) / np.sqrt(numbers_of(statistics["var"]) + _EPSILON["batch"])
    shift = numbers_of(layer["bias"]) - numbers_of(statistics["mean"]) * scale
    scale, shift = scale[:width], shift[:width]
    return graph("Add", graph("Mul", x, graph.constant(scale)), graph.constant(shift))


def layer_norm(
    graph: Graph, layer: Any, x: str, width: int, *, epsilon: float = _EPSILON["layer"]
) -> str:
    """A layer's normalisation over its units."""
    centred = graph("Sub", x, graph("ReduceMean", x, axes=[-1]))
    variance = graph("ReduceMean", graph("Mul", centred, centred), axes=[-1])
    spread = graph("Sqrt", graph("Add", variance, graph.constant(epsilon)))
    scale, bias = (graph.constant(numbers_of(layer[name])[:width]) for name in ("scale", "bias"))
    return graph("Add", graph("Mul", graph("Div", centred, spread), scale), bias)


def activation(graph: Graph, name: str, x: str) -> str:
    """An activation, by its name."""
    if name in _SINGLE:
        kind, options = _SINGLE[name]
        return graph(kind, x, **options)
    if name == "silu":
        return graph("Mul", x, graph("Sigmoid", x))
    # gelu by its approximation with a tanh, as jax has it by default (arXiv 1606.08415).
    cubic = graph("Mul", graph.constant(0.044715), graph("Mul", x, graph("Mul", x, x)))
    inner = graph("Mul", graph.constant(np.sqrt(2 / np.pi)), graph("Add", x, cubic))
    gate = graph("Add", graph.constant(1.0), graph("Tanh", inner))
    return graph("Mul", graph("Mul", graph.constant(0.5), x), gate)


def ones(graph: Graph, columns: str) -> str:
    """A column of 1 for each event, of which there are as many as in other columns."""
    some = graph("Gather", columns, graph.constant([0]), axis=1)
    return graph("Add", graph("Mul", some, graph.constant(0.0)), graph.constant(1.0))
